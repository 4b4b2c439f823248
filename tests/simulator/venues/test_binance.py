"""Binance's face, frame by frame."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

Visit = Callable[..., Any]

BOTH = "/stream?streams=btcusdt@trade/btcusdt@aggTrade/btcusdt@bookTicker"


def test_market_frames_combined_in_microseconds(visit: Visit) -> None:
    assert visit("binance", BOTH + "&timeUnit=MICROSECOND").trades(3) == [
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1767225601500153,"s":"BTCUSDT","t":5600000003,'
        '"p":"86999.98000000","q":"0.39397000","T":1767225601500000,"m":true,"M":true}}',
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1767225601500154,"s":"BTCUSDT","t":5600000004,'
        '"p":"86999.98000000","q":"0.02685000","T":1767225601500000,"m":true,"M":true}}',
        '{"stream":"btcusdt@trade","data":{"e":"trade","E":1767225601500155,"s":"BTCUSDT","t":5600000005,'
        '"p":"86999.97000000","q":"0.00201000","T":1767225601500000,"m":true,"M":true}}',
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1767225601500154,"s":"BTCUSDT",'
        '"a":2800000002,"p":"86999.98000000","q":"0.42082000","f":5600000003,"l":5600000004,'
        '"T":1767225601500000,"m":true,"M":true}}',
        '{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1767225601500155,"s":"BTCUSDT",'
        '"a":2800000003,"p":"86999.97000000","q":"0.00201000","f":5600000005,"l":5600000005,'
        '"T":1767225601500000,"m":true,"M":true}}',
        '{"stream":"btcusdt@bookTicker","data":{"u":16800000022,"s":"BTCUSDT","b":"86999.97000000",'
        '"B":"1.74740000","a":"86999.98000000","A":"3.97914000"}}',
    ]


def test_market_frames_raw_in_milliseconds(visit: Visit) -> None:
    assert visit("binance", "/ws/btcusdt@trade").trades(1) == [
        '{"e":"trade","E":1767225601500,"s":"BTCUSDT","t":5600000003,"p":"86999.98000000",'
        '"q":"0.39397000","T":1767225601500,"m":true,"M":true}'
    ]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ('{"method":"SUBSCRIBE","params":["ethusdt@trade"],"id":1}', '{"result":null,"id":1}'),
        ('{"method":"UNSUBSCRIBE","params":["btcusdt@trade"],"id":"abc"}', '{"result":null,"id":"abc"}'),
        ('{"method":"LIST_SUBSCRIPTIONS","id":3}', '{"result":["btcusdt@trade"],"id":3}'),
        ('{"method":"SET_PROPERTY","params":["combined",false],"id":5}', '{"result":null,"id":5}'),
        ('{"method":"GET_PROPERTY","params":["combined"],"id":2}', '{"result":true,"id":2}'),
        ('{"method":"SET_PROPERTY","params":["other",1],"id":5}', '{"code":0,"msg":"Unknown property"}'),
        (
            '{"method":"SET_PROPERTY","params":["combined",1],"id":5}',
            '{"code":1,"msg":"Invalid value type: expected Boolean"}',
        ),
        (
            '{"method":"JUMP","id":5}',
            '{"code":2,"msg":"Invalid request: unknown variant `JUMP`, expected one of `SUBSCRIBE`, '
            '`UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 28"}',
        ),
        ("nothing", '{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}'),
    ],
)
def test_control_messages(visit: Visit, message: str, answer: str) -> None:
    assert visit("binance", "/stream?streams=btcusdt@trade").says(message) == [answer]


def test_an_unknown_symbol_is_success_and_silence(visit: Visit) -> None:
    client = visit("binance", "/stream")
    assert client.says('{"method":"SUBSCRIBE","params":["nosuch@trade"],"id":1}') == [
        '{"result":null,"id":1}'
    ]
    assert client.trades(3) == []


def test_unsubscribing_and_combined_are_obeyed(visit: Visit) -> None:
    client = visit("binance", BOTH)
    client.says('{"method":"UNSUBSCRIBE","params":["btcusdt@aggTrade","btcusdt@bookTicker"],"id":1}')
    client.says('{"method":"SET_PROPERTY","params":["combined",false],"id":2}')
    assert [json.loads(one)["e"] for one in client.trades(2)] == ["trade", "trade"]


def test_the_shutdown_notice_is_wrapped_on_combined_streams_only(visit: Visit) -> None:
    combined, raw = visit("binance", "/stream"), visit("binance", "/ws")
    assert combined.face.notice(combined.session, 1_770_123_456_789_000) == (
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    )
    assert raw.face.notice(raw.session, 1_770_123_456_789_000) == (
        b'{"e":"serverShutdown","E":1770123456789}'
    )


def test_history_begins_with_the_id_that_was_asked_for(visit: Visit) -> None:
    client = visit("binance", "/stream")
    client.trades(3)
    page = client.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId="5600000003", limit="2")
    assert page.body == (
        b'[{"id":5600000003,"price":"86999.98000000","qty":"0.39397000","quoteQty":"34275.3821206",'
        b'"time":1767225601500,"isBuyerMaker":true,"isBestMatch":true},'
        b'{"id":5600000004,"price":"86999.98000000","qty":"0.02685000","quoteQty":"2335.9494630",'
        b'"time":1767225601500,"isBuyerMaker":true,"isBestMatch":true}]'
    )
    assert page.headers == {"X-MBX-USED-WEIGHT": "25", "X-MBX-USED-WEIGHT-1M": "25"}
    micro = client.get("/api/v3/trades", {"x-mbx-time-unit": "MICROSECOND"}, symbol="BTCUSDT", limit="1")
    assert json.loads(micro.body)[0]["time"] == 1_767_225_601_500_000
    assert json.loads(micro.body)[0]["id"] == 5_600_000_005
    beyond = client.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId="5600000006")
    assert beyond.body == b"[]"


def test_aggregates_cover_the_raw_ids_without_a_hole(visit: Visit) -> None:
    client = visit("binance", "/stream")
    client.trades(400)
    rows = json.loads(client.get("/api/v3/aggTrades", symbol="BTCUSDT", fromId="2800000001").body)
    assert [row["a"] for row in rows] == list(range(2_800_000_001, 2_800_000_001 + len(rows)))
    assert rows[0]["f"] == 5_600_000_002
    assert rows[-1]["l"] == 5_600_000_402
    assert all(after["f"] == before["l"] + 1 for before, after in pairwise(rows))


def test_the_history_lags_where_the_rules_say_so(visit: Visit) -> None:
    client = visit("binance", "/stream", lag=1.0)
    client.trades(3)
    page = client.get("/api/v3/historicalTrades", symbol="BTCUSDT", fromId="5600000001")
    assert [row["id"] for row in json.loads(page.body)] == [5_600_000_001, 5_600_000_002]
    fresh = client.get("/api/v3/trades", symbol="BTCUSDT", limit="1")
    assert json.loads(fresh.body)[0]["id"] == 5_600_000_005


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"symbol": "NOSUCH"}, 400, -1121),
        ({}, 400, -1102),
        ({"symbol": "BTCUSDT", "limit": "many"}, 400, -1100),
    ],
)
def test_wrong_questions(visit: Visit, query: dict[str, str], status: int, code: int) -> None:
    answer = visit("binance", "/stream").get("/api/v3/historicalTrades", **query)
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)


def test_too_much_weight_is_refused_until_the_minute_ends(visit: Visit) -> None:
    client = visit("binance", "/stream", rest=(50, 60.0))
    answers = [client.get("/api/v3/trades", symbol="BTCUSDT") for _ in range(3)]
    assert [one.status for one in answers] == [200, 200, 429]
    assert answers[2].headers["Retry-After"] == "59"
    assert json.loads(answers[2].body)["code"] == -1003
    client.now += 58_000_000
    assert client.get("/api/v3/trades", symbol="BTCUSDT").headers["X-MBX-USED-WEIGHT-1M"] == "25"


def test_metadata_names_base_and_quote(visit: Visit) -> None:
    symbols = json.loads(visit("binance", "/stream").get("/api/v3/exchangeInfo").body)["symbols"]
    assert [(one["symbol"], one["baseAsset"], one["quoteAsset"], one["status"]) for one in symbols] == [
        ("BTCUSDT", "BTC", "USDT", "TRADING"),
        ("ETHUSDT", "ETH", "USDT", "TRADING"),
        ("BNBUSDT", "BNB", "USDT", "TRADING"),
        ("PEPEUSDT", "PEPE", "USDT", "TRADING"),
    ]
    tick, lot = symbols[0]["filters"]
    assert tick == {
        "filterType": "PRICE_FILTER",
        "minPrice": "0.01000000",
        "maxPrice": "1000000.00000000",
        "tickSize": "0.01000000",
    }
    assert lot == {
        "filterType": "LOT_SIZE",
        "minQty": "0.00001000",
        "maxQty": "9000000.00000000",
        "stepSize": "0.00001000",
    }
    tick, lot = symbols[3]["filters"]
    assert (tick["tickSize"], lot["stepSize"]) == ("0.00000001", "1.00000000")
