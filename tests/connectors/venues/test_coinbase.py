"""Coinbase Exchange: exact records, requests and limits; its conformance table holds the rest."""

import json

import pytest

from connectors.venues.coinbase import COINBASE
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import PageHeader, Request, instrument
from schemas import Control, Frame, Quote, Trade

INSTRUMENTS = COINBASE.decode_metadata(
    b'[{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD","status":"online"},'
    b'{"id":"BAND-GBP","base_currency":"BAND","quote_currency":"GBP"},{"id":5},{"id":"X-Y"}]'
)
RECEIVED = 1_618_677_811_000_000


def frame(payload: bytes) -> Frame:
    return Frame("coinbase", "coinbase-0", 7, 3, 5, RECEIVED, "data", payload)


def test_a_trade_has_all_its_fields_and_the_takers_side() -> None:
    payload = (
        b'{"type":"match","trade_id":881613,"maker_order_id":"27fff20b-af29-4f45-8744-56dd1ef57dc0",'
        b'"taker_order_id":"1da6ce16-c8da-4732-9f71-6049f4c6aaf8","side":"sell","size":"0.04",'
        b'"price":"14.7775","product_id":"BAND-GBP","sequence":333938798,"time":"2021-04-17T16:43:30.244075Z"}'
    )
    assert COINBASE.decode(frame(payload), INSTRUMENTS) == [
        Trade(
            message_id="coinbase:spot:BAND-GBP:0:881613",
            trade_id="881613",
            symbol="BAND-GBP",
            exchange="coinbase",
            asset_class="crypto",
            timestamp=1_618_677_810_244_075,
            price="14.7775",
            quantity="0.04",
            currency="GBP",
            side="BUY",
            trade_conditions=(),
            source_sequence=881613,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"BAND","quote_asset":"GBP","native_symbol":"BAND-GBP",'
            '"event_type":"match","maker_side":"sell",'
            '"maker_order_id":"27fff20b-af29-4f45-8744-56dd1ef57dc0",'
            '"taker_order_id":"1da6ce16-c8da-4732-9f71-6049f4c6aaf8","sequence":"333938798",'
            '"time":"2021-04-17T16:43:30.244075Z"}',
            market="spot",
            base_asset="BAND",
            quote_asset="GBP",
            native_symbol="BAND-GBP",
            first_sequence=881613,
            last_sequence=881613,
            series=0,
            origin="live",
            shard="coinbase-0",
        )
    ]


def test_a_ticker_is_a_quote_and_never_a_trade() -> None:
    payload = (
        b'{"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775",'
        b'"best_bid":"14.7550","best_bid_size":"3.5","best_ask":"14.8060","best_ask_size":"0.25",'
        b'"side":"buy","time":"2021-04-17T16:43:30.244075Z","trade_id":881613,"last_size":"0.04"}'
    )
    assert COINBASE.decode(frame(payload), INSTRUMENTS) == [
        Quote(
            message_id="coinbase:spot:BAND-GBP:333938798",
            quote_id="333938798",
            symbol="BAND-GBP",
            exchange="coinbase",
            asset_class="crypto",
            timestamp=1_618_677_810_244_075,
            bid_price="14.7550",
            bid_quantity="3.5",
            ask_price="14.8060",
            ask_quantity="0.25",
            currency="GBP",
            source_sequence=333938798,
            ingestion_timestamp=RECEIVED,
            platform_sequence=7,
            vendor_data='{"base_asset":"BAND","quote_asset":"GBP","native_symbol":"BAND-GBP",'
            '"event_type":"ticker","time":"2021-04-17T16:43:30.244075Z"}',
            market="spot",
            base_asset="BAND",
            quote_asset="GBP",
            native_symbol="BAND-GBP",
            origin="live",
            shard="coinbase-0",
        )
    ]


def test_a_heartbeat_says_the_newest_id() -> None:
    payload = (
        b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD",'
        b'"time":"2014-11-07T08:19:28.464459Z"}'
    )
    assert COINBASE.decode(frame(payload), INSTRUMENTS) == [
        Control("coinbase", "coinbase-0", 7, RECEIVED, "heartbeat", "BTC-USD", 20, "")
    ]


def test_a_listing_that_cannot_be_read_costs_only_itself() -> None:
    assert list(INSTRUMENTS) == ["BTC-USD", "BAND-GBP"]


def test_it_asks_for_matches_heartbeats_and_tickers() -> None:
    assert [json.loads(message) for message in COINBASE.subscribe(list(INSTRUMENTS.values()))] == [
        {
            "type": "subscribe",
            "channels": ["matches", "heartbeat", "ticker"],
            "product_ids": ["BTC-USD", "BAND-GBP"],
        }
    ]
    assert COINBASE.keep_alive(17) is None


def test_requests_name_the_product_whatever_it_is_called() -> None:
    listed = INSTRUMENTS["BTC-USD"]
    assert COINBASE.repair(listed, 5, 9, 0) == Request(
        "/products/BTC-USD/trades", (("limit", "5"), ("after", "10"))
    )
    assert COINBASE.repair(listed, 5, 5_000, 0).query[0] == ("limit", "1000")
    assert COINBASE.recent(listed) == Request("/products/BTC-USD/trades", (("limit", "1"),))
    nasty = instrument("coinbase", "../../etc?x#y", "A", "B")
    assert COINBASE.recent(nasty).path == "/products/..%2F..%2Fetc%3Fx%23y/trades"


@pytest.mark.parametrize("page_trades", [1, 3, 1_000])
@pytest.mark.parametrize(("first", "last"), [(100, 100), (100, 109), (85, 109)])
def test_pages_cover_a_hole_exactly(first: int, last: int, page_trades: int) -> None:
    """A venue with trades 90..119 answers pages, newest first, until none is asked for."""
    request = COINBASE.repair(INSTRUMENTS["BTC-USD"], first, last, 0)
    found: list[int | None] = []
    for _ in range(100):
        asked = {name: int(value) for name, value in request.query}
        numbers = range(min(119, asked["after"] - 1), 89, -1)[: min(asked["limit"], page_trades)]
        time = "2014-11-07T22:19:28.578544Z"
        rows = [
            {"trade_id": number, "side": "sell", "size": "1", "price": "2", "time": time}
            for number in numbers
        ]
        header = PageHeader("BTC-USD", first, last, 0, request, 200)
        page = COINBASE.decode_page(frame(pack_page(header, json.dumps(rows).encode())), INSTRUMENTS)
        found += [record.source_sequence for record in page.records if isinstance(record, Trade)]
        if page.next is None:
            break
        request = page.next
    else:
        pytest.fail("asks for ever")
    assert sorted(number or 0 for number in found) == list(range(max(first, 90), last + 1))
