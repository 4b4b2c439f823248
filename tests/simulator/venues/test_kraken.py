"""Kraken's face, frame by frame."""

import json
from collections.abc import Callable
from typing import Any

import pytest

Visit = Callable[..., Any]

TIMES = '"time_in":"2026-01-01T00:00:00.000000Z","time_out":"2026-01-01T00:00:00.000048Z"'
TRADES = '{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD"]},"req_id":1}'
BEST = '{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"bbo"}}'


def test_the_venue_says_first_how_it_is(visit: Visit) -> None:
    client = visit("kraken", "/v2")
    assert client.texts(client.greeting) == [
        '{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online",'
        '"api_version":"v2","connection_id":12393906104898154345}]}'
    ]


def test_each_symbol_is_answered_for_itself(visit: Visit) -> None:
    request = '{"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD","XXX/USD"]},"req_id":9}'
    assert visit("kraken", "/v2").says(request) == [
        '{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD","snapshot":false},'
        f'"success":true,{TIMES},"req_id":9}}',
        '{"method":"subscribe","error":"Currency pair not supported XXX/USD","success":false,'
        f'"symbol":"XXX/USD",{TIMES},"req_id":9}}',
    ]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ('{"method":"ping","req_id":101}', f'{{"method":"pong",{TIMES},"req_id":101}}'),
        ("nothing", f'{{"error":"Malformed request","success":false,{TIMES}}}'),
        ('{"method":"jump"}', f'{{"error":"Unsupported method","success":false,{TIMES}}}'),
    ],
)
def test_other_messages(visit: Visit, message: str, answer: str) -> None:
    assert visit("kraken", "/v2").says(message) == [answer]


def test_the_trades_of_one_order_come_in_one_message(visit: Visit) -> None:
    client = visit("kraken", "/v2")
    client.says(TRADES)
    assert client.trades(2) == [
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":87000.2,'
        '"qty":0.45708257,"ord_type":"market","trade_id":92000003,'
        '"timestamp":"2026-01-01T00:00:01.500000Z"},{"symbol":"BTC/USD","side":"sell","price":87000.1,'
        '"qty":0.85094405,"ord_type":"limit","trade_id":92000004,'
        '"timestamp":"2026-01-01T00:00:01.500000Z"}]}'
    ]


def test_a_snapshot_of_trades_comes_when_asked_for(visit: Visit) -> None:
    request = json.loads(TRADES)
    request["params"]["snapshot"] = True
    frames = visit("kraken", "/v2").says(json.dumps(request))
    snapshot = json.loads(frames[1])
    assert (snapshot["channel"], snapshot["type"]) == ("trade", "snapshot")
    assert [one["trade_id"] for one in snapshot["data"]] == [92_000_001, 92_000_002]


def test_the_best_quote_is_a_ticker_triggered_by_it(visit: Visit) -> None:
    client = visit("kraken", "/v2")
    frames = client.says(BEST)
    assert json.loads(frames[1])["type"] == "snapshot"
    assert client.trades(3) == [
        '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":87000.0,'
        '"bid_qty":2.82675811,"ask":87000.2,"ask_qty":2.61406487,"last":87000.0,"volume":997.03898383,'
        '"vwap":87000.0,"low":43500.0,"high":174000.0,"change":0.0,"change_pct":0.17,'
        '"timestamp":"2026-01-01T00:00:01.500000Z"}]}'
    ]


def test_a_heartbeat_comes_after_a_second_of_silence(visit: Visit) -> None:
    client = visit("kraken", "/v2")
    tend = client.face.tend
    assert client.texts(tend(client.session, client.market, client.rules, client.now + 999_999)) == []
    due = tend(client.session, client.market, client.rules, client.now + 1_000_000)
    assert client.texts(due) == ['{"channel":"heartbeat"}']


def test_history_is_ascending_with_a_cursor_in_nanoseconds(visit: Visit) -> None:
    client = visit("kraken", "/v2", rest=(100, 1.0), rest_burst=100)
    client.trades(3)
    assert client.get("/0/public/Trades", pair="XBTUSD", count="3").body == (
        b'{"error":[],"result":{"XXBTZUSD":[["87000.20000","0.45708257",1767225601.5,"s","m","",92000003],'
        b'["87000.10000","0.85094405",1767225601.5,"s","l","",92000004],'
        b'["87000.00000","0.40943765",1767225601.5,"s","m","",92000005]],"last":"1767225601500000002"}}'
    )
    after = client.get("/0/public/Trades", pair="XXBTZUSD", since="1767225601500000001")
    assert json.loads(after.body)["result"] == {
        "XXBTZUSD": [["87000.00000", "0.40943765", 1767225601.5, "s", "m", "", 92000005]],
        "last": "1767225601500000002",
    }
    by_seconds = client.get("/0/public/Trades", pair="XBT/USD", since="1767225600", count="1")
    assert json.loads(by_seconds.body)["result"]["last"] == "1767225601500000000"


def test_metadata_has_the_old_names(visit: Visit) -> None:
    pairs = json.loads(visit("kraken", "/v2").get("/0/public/AssetPairs").body)["result"]
    assert {
        key: (one["altname"], one["wsname"], one["base"], one["quote"]) for key, one in pairs.items()
    } == {
        "XXBTZUSD": ("XBTUSD", "XBT/USD", "XXBT", "ZUSD"),
        "XETHZUSD": ("ETHUSD", "ETH/USD", "XETH", "ZUSD"),
        "XDGUSD": ("XDGUSD", "XDG/USD", "XXDG", "ZUSD"),
    }


def test_one_request_a_second(visit: Visit) -> None:
    client = visit("kraken", "/v2")
    answers = [client.get("/0/public/Trades", pair="XBTUSD") for _ in range(2)]
    assert answers[1].body == b'{"error":["EAPI:Rate limit exceeded"]}'
    assert client.get("/0/public/Trades", pair="ETHUSD").body.startswith(b'{"error":[],')
    client.now += 1_000_000
    assert client.get("/0/public/Trades", pair="XBTUSD").body.startswith(b'{"error":[],')


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        ("/0/public/Trades", {"pair": "NOSUCH"}, "EQuery:Unknown asset pair"),
        ("/0/public/Trades", {"pair": "XBTUSD", "count": "1001"}, "EGeneral:Invalid arguments"),
        ("/0/public/Nothing", {}, "EGeneral:Unknown method"),
    ],
)
def test_wrong_questions(visit: Visit, path: str, query: dict[str, str], error: str) -> None:
    answer = visit("kraken", "/v2").get(path, **query)
    assert (answer.status, json.loads(answer.body)) == (200, {"error": [error]})
