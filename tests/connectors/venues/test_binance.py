"""Binance: exact records, requests and limits; its conformance table holds the rest."""

import json

import pytest

from connectors.venues.binance import BINANCE
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import PageHeader, Request
from schemas import Control, Frame, Quote, Trade

INSTRUMENTS = BINANCE.decode_metadata(
    b'{"timezone":"UTC","symbols":[{"symbol":"BNBBTC","status":"TRADING","baseAsset":"BNB","quoteAsset":"BTC"},'
    b'{"symbol":"","baseAsset":"A","quoteAsset":"B"},{"symbol":"XY"},'
    b'{"symbol":"\xe5\xb8\x81USDT","baseAsset":"\xe5\xb8\x81","quoteAsset":"USDT"}]}'
)
RECEIVED = 1_672_515_782_200_000


def frame(payload: bytes) -> Frame:
    return Frame("binance", "binance-0", 7, 3, 5, RECEIVED, "data", payload)


def test_a_trade_has_all_its_fields() -> None:
    payload = (
        b'{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136123,"s":"BNBBTC","t":12345,'
        b'"p":"0.001","q":"100","T":1672515782136099,"m":true,"M":true}}'
    )
    assert BINANCE.decode(frame(payload), INSTRUMENTS) == [
        Trade(
            message_id="binance:spot:BNB-BTC:0:12345",
            trade_id="12345",
            symbol="BNB-BTC",
            exchange="binance",
            asset_class="crypto",
            timestamp=1_672_515_782_136_099,
            price="0.001",
            quantity="100",
            currency="BTC",
            side="SELL",
            trade_conditions=(),
            source_sequence=12345,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"BNB","quote_asset":"BTC","native_symbol":"BNBBTC",'
            '"event_type":"trade","event_time":"1672515782136123","trade_time":"1672515782136099",'
            '"is_buyer_maker":"true"}',
            market="spot",
            base_asset="BNB",
            quote_asset="BTC",
            native_symbol="BNBBTC",
            first_sequence=12345,
            last_sequence=12345,
            series=0,
            origin="live",
            shard="binance-0",
        )
    ]


def test_a_quote_has_all_its_fields_and_our_time() -> None:
    payload = (
        b'{"stream":"bnbbtc@bookTicker","data":{"u":400900217,"s":"BNBBTC","b":"25.35190000",'
        b'"B":"31.21000000","a":"25.36520000","A":"40.66000000"}}'
    )
    assert BINANCE.decode(frame(payload), INSTRUMENTS) == [
        Quote(
            message_id="binance:spot:BNB-BTC:400900217",
            quote_id="400900217",
            symbol="BNB-BTC",
            exchange="binance",
            asset_class="crypto",
            timestamp=RECEIVED,
            bid_price="25.35190000",
            bid_quantity="31.21000000",
            ask_price="25.36520000",
            ask_quantity="40.66000000",
            currency="BTC",
            source_sequence=400900217,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"BNB","quote_asset":"BTC","native_symbol":"BNBBTC",'
            '"event_type":"bookTicker"}',
            market="spot",
            base_asset="BNB",
            quote_asset="BTC",
            native_symbol="BNBBTC",
            origin="live",
            shard="binance-0",
        )
    ]


def test_a_shutdown_notice_is_heard() -> None:
    payload = b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}'
    assert BINANCE.decode(frame(payload), INSTRUMENTS) == [
        Control("binance", "binance-0", 7, RECEIVED, "shutdown", None, None, "serverShutdown")
    ]


def test_symbols_may_be_of_any_script() -> None:
    listed = INSTRUMENTS["\u5e01USDT"]
    assert (listed.symbol, listed.base) == ("\u5e01-USDT", "\u5e01")
    assert list(INSTRUMENTS) == ["BNBBTC", "\u5e01USDT"]


def test_it_asks_for_trades_and_for_best_offers() -> None:
    assert [json.loads(message) for message in BINANCE.subscribe([INSTRUMENTS["BNBBTC"]])] == [
        {"method": "SUBSCRIBE", "params": ["bnbbtc@trade", "bnbbtc@bookTicker"], "id": 1}
    ]
    messages = [json.loads(message) for message in BINANCE.subscribe([INSTRUMENTS["BNBBTC"]] * 250)]
    assert [len(message["params"]) for message in messages] == [200, 200, 100]
    assert [message["id"] for message in messages] == [1, 2, 3]


# As of the streams: a trade has one time, whichever way it comes.
MICRO = (("X-MBX-TIME-UNIT", "MICROSECOND"),)


def test_requests_are_within_a_page() -> None:
    listed = INSTRUMENTS["BNBBTC"]
    assert BINANCE.repair(listed, 5, 9, 0) == Request(
        "/api/v3/historicalTrades", (("symbol", "BNBBTC"), ("fromId", "5"), ("limit", "5")), 25, MICRO
    )
    assert BINANCE.repair(listed, 5, 5_000, 0).query[2] == ("limit", "1000")
    assert BINANCE.recent(listed) == Request(
        "/api/v3/trades", (("symbol", "BNBBTC"), ("limit", "1")), 25, MICRO
    )


@pytest.mark.parametrize("page_trades", [1, 3, 1_000])
@pytest.mark.parametrize(("first", "last"), [(100, 100), (100, 109), (100, 125)])
def test_pages_cover_a_hole_exactly(first: int, last: int, page_trades: int) -> None:
    """A venue with trades 90..119 answers pages until none is asked for."""
    request = BINANCE.repair(INSTRUMENTS["BNBBTC"], first, last, 0)
    found: list[int | None] = []
    for _ in range(100):
        asked = dict(request.query)
        start, count = int(asked["fromId"]), min(int(asked["limit"]), page_trades)
        rows = [
            {"id": number, "price": "1", "qty": "2", "time": 1_499_865_549_590, "isBuyerMaker": True}
            for number in range(start, min(start + count, 120))
        ]
        header = PageHeader("BNBBTC", first, last, 0, request, 200)
        page = BINANCE.decode_page(frame(pack_page(header, json.dumps(rows).encode())), INSTRUMENTS)
        found += [record.source_sequence for record in page.records if isinstance(record, Trade)]
        if page.next is None:
            break
        request = page.next
    else:
        pytest.fail("asks for ever")
    assert found == list(range(first, min(last, 119) + 1))


def test_a_ban_is_understood() -> None:
    assert BINANCE.throttled(418, b"")
    assert BINANCE.throttled(400, b'{"code":-1003,"msg":"Too much request weight used"}')
    assert not BINANCE.throttled(400, b'{"code":-1121,"msg":"Invalid symbol."}')
