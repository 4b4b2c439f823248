"""Kraken: exact records, requests and limits; its conformance table holds the rest."""

import json

import pytest

from connectors.venues.decoding import pack_page
from connectors.venues.kraken import KRAKEN
from connectors.venues.protocol import PageHeader, Request
from schemas import Control, Frame, Quote, Trade

INSTRUMENTS = KRAKEN.decode_metadata(
    b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD"},'
    b'"XDGEUR":{"altname":"XDGEUR","wsname":"XDG/EUR"},"XXBTZUSD.d":{"altname":"XBTUSD.d"},'
    b'"ETHUSDT":{"altname":"ETHUSDT","wsname":"ETH/USDT"}}}'
)
RECEIVED = 1_695_628_178_000_000


def frame(payload: bytes) -> Frame:
    return Frame("kraken", "kraken-0", 7, 3, 5, RECEIVED, "data", payload)


def test_a_trade_has_all_its_fields() -> None:
    payload = (
        b'{"channel":"trade","type":"update","data":[{"symbol":"ETH/USDT","side":"sell","price":0.5117,'
        b'"qty":40.0,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}'
    )
    assert KRAKEN.decode(frame(payload), INSTRUMENTS) == [
        Trade(
            message_id="kraken:spot:ETH-USDT:0:4665906",
            trade_id="4665906",
            symbol="ETH-USDT",
            exchange="kraken",
            asset_class="crypto",
            timestamp=1_695_628_177_708_706,
            price="0.5117",
            quantity="40.0",
            currency="USDT",
            side="SELL",
            trade_conditions=(),
            source_sequence=4665906,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"ETH","quote_asset":"USDT","native_symbol":"ETH/USDT",'
            '"side":"sell","ord_type":"market","timestamp":"2023-09-25T07:49:37.708706Z"}',
            market="spot",
            base_asset="ETH",
            quote_asset="USDT",
            native_symbol="ETH/USDT",
            first_sequence=4665906,
            last_sequence=4665906,
            series=0,
            origin="live",
            shard="kraken-0",
        )
    ]


def test_a_quote_has_all_its_fields() -> None:
    payload = (
        b'{"channel":"ticker","type":"update","data":[{"symbol":"ETH/USDT","bid":0.10025,"bid_qty":740.0,'
        b'"ask":0.10035,"ask_qty":1.5e-3,"last":0.10035}]}'
    )
    assert KRAKEN.decode(frame(payload), INSTRUMENTS) == [
        Quote(
            message_id="kraken:spot:ETH-USDT:kraken-0.7.0",
            quote_id="kraken-0.7.0",
            symbol="ETH-USDT",
            exchange="kraken",
            asset_class="crypto",
            timestamp=RECEIVED,
            bid_price="0.10025",
            bid_quantity="740.0",
            ask_price="0.10035",
            ask_quantity="0.0015",
            currency="USDT",
            source_sequence=None,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"ETH","quote_asset":"USDT","native_symbol":"ETH/USDT"}',
            market="spot",
            base_asset="ETH",
            quote_asset="USDT",
            native_symbol="ETH/USDT",
            origin="live",
            shard="kraken-0",
        )
    ]


def test_an_acknowledgement_names_the_symbol() -> None:
    payload = b'{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}'
    assert KRAKEN.decode(frame(payload), INSTRUMENTS) == [
        Control("kraken", "kraken-0", 7, RECEIVED, "subscribed", "BTC-USD", None, "trade")
    ]


def test_the_old_names_of_rest_become_the_names_of_the_stream() -> None:
    assert {native: (one.symbol, one.rest) for native, one in INSTRUMENTS.items()} == {
        "BTC/USD": ("BTC-USD", "XBTUSD"),
        "DOGE/EUR": ("DOGE-EUR", "XDGEUR"),
        "ETH/USDT": ("ETH-USDT", "ETHUSDT"),
    }


def test_it_asks_for_trades_and_for_best_offers() -> None:
    assert [json.loads(message) for message in KRAKEN.subscribe(list(INSTRUMENTS.values()))] == [
        {
            "method": "subscribe",
            "params": {"channel": "trade", "snapshot": True, "symbol": ["BTC/USD", "DOGE/EUR", "ETH/USDT"]},
        },
        {
            "method": "subscribe",
            "params": {
                "channel": "ticker",
                "event_trigger": "bbo",
                "symbol": ["BTC/USD", "DOGE/EUR", "ETH/USDT"],
            },
        },
    ]
    assert json.loads(KRAKEN.keep_alive(17) or b"") == {"method": "ping", "req_id": 17}


def test_a_repair_asks_from_a_second_before_the_last_good_trade() -> None:
    listed = INSTRUMENTS["BTC/USD"]
    assert KRAKEN.repair(listed, 5, 9, 1_688_669_597_827_736) == Request(
        "/0/public/Trades", (("pair", "XBTUSD"), ("since", "1688669596827736000"), ("count", "1000"))
    )
    # Without a trade before the hole, the venue's first trades ever would be the answer to since=0.
    assert KRAKEN.repair(listed, 5, 9, 0) == Request(
        "/0/public/Trades", (("pair", "XBTUSD"), ("count", "1000"))
    )
    assert KRAKEN.recent(listed) == Request("/0/public/Trades", (("pair", "XBTUSD"), ("count", "1")))


@pytest.mark.parametrize("page_trades", [1, 3, 7])
@pytest.mark.parametrize(("first", "last"), [(100, 100), (100, 109), (95, 120)])
def test_pages_cover_a_hole_exactly(first: int, last: int, page_trades: int) -> None:
    """A venue with trades 90..119, one a millisecond, answers pages until none is asked for."""
    listed = INSTRUMENTS["BTC/USD"]
    start = 1_688_669_597_000_000
    history = {number: start + (number - 90) * 1_000 for number in range(90, 120)}
    request = KRAKEN.repair(listed, first, last, history[first - 1])
    found: list[int | None] = []
    for _ in range(100):
        since = int(dict(request.query)["since"])
        rows = [
            ["1.5", "2", f"@{at / 1e6:.6f}@", "b", "m", "", number]
            for number, at in history.items()
            if at * 1_000 > since
        ][:page_trades]
        newest = history[rows[-1][-1]] * 1_000 if rows else since  # type: ignore[index]
        body = json.dumps({"error": [], "result": {"XXBTZUSD": rows, "last": str(newest)}})
        header = PageHeader("BTC/USD", first, last, history[first - 1], request, 200)
        packed = pack_page(header, body.replace('"@', "").replace('@"', "").encode())
        page = KRAKEN.decode_page(frame(packed), INSTRUMENTS)
        found += [record.source_sequence for record in page.records if isinstance(record, Trade)]
        if page.next is None:
            break
        request = page.next
    else:
        pytest.fail("asks for ever")
    assert found == list(range(first, min(last, 119) + 1))


def test_too_many_questions_are_answered_with_200() -> None:
    assert KRAKEN.throttled(200, b'{"error":["EAPI:Rate limit exceeded"]}')
    assert not KRAKEN.throttled(200, b'{"error":["EQuery:Unknown asset pair"]}')
