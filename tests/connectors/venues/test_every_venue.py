"""What every venue must do with its conformance table, tests/conformance/<venue>.json.

A table holds metadata, frames and pages of trade history, each of them with a verdict and why. A verdict is
the reason of a dead letter, or the list of records, each a reason or the fields that it must have. What no
venue may accept is in every.json. `<<x*1000>>` stands for a thousand x. A table only grows.
"""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from connectors.venues import VENUES as REGISTERED
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import Instrument, Instruments, PageHeader, Request, Venue
from connectors.venues.shipped import shipped_instruments
from operate.decode import plain
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.health import FrameKind, Reason
from schemas.run import records_of
from tests.conformance.tables import DOCUMENTED_FILE, VENUES, table

ROOT = Path(__file__).parents[3]
RECEIVED = 1_795_253_400_000_000

# Whose quotes we subscribe to; a venue may begin with trades.
QUOTING = {"binance", "kraken", "coinbase"}


def test_the_documented_venue_is_as_short_as_any() -> None:
    assert len(DOCUMENTED_FILE.splitlines()) < 200


def payload(row: dict[str, str]) -> bytes:
    """The bytes of a row's frame."""
    if "base64" in row:
        return base64.b64decode(row["base64"])
    return re.sub(r"<<(.)\*(\d+)>>", lambda run: run[1] * int(run[2]), row["frame"]).encode()


def frame(venue: Venue, payload: bytes, kind: FrameKind | None = None) -> Frame:
    return Frame(venue.name, f"{venue.name}-0", 7, 3, 5, RECEIVED, kind or venue.classify(payload), payload)


def market(name: str) -> Instruments:
    return VENUES[name].decode_metadata(json.dumps(table(name)["metadata"]).encode())


def rows(part: str) -> list[Any]:
    return [
        pytest.param(name, row, id=f"{name}: {row['why']}"[:60])
        for name in VENUES
        for row in table(name)[part]
    ]


def meets(record: Any, verdict: str | dict[str, Any]) -> None:
    """Fail unless the record is what the table says."""
    seen = plain(record)
    if isinstance(verdict, str):
        assert (seen["kind"], seen.get("reason")) == ("dead_letter", verdict), seen
        return
    if isinstance(seen.get("vendor_data"), msgspec.Raw):
        seen["vendor_data"] = json.loads(bytes(seen["vendor_data"]))
    assert {name: seen[name] for name in verdict} == verdict


@pytest.mark.parametrize(("name", "row"), rows("frames"))
def test_a_frame_becomes_what_its_table_says(name: str, row: dict[str, Any]) -> None:
    venue = VENUES[name]
    records = venue.decode(frame(venue, payload(row)), market(name))
    verdicts = [row["verdict"]] if isinstance(row["verdict"], str) else row["verdict"]
    assert len(records) == len(verdicts), records
    for record, verdict in zip(records, verdicts, strict=True):
        meets(record, verdict)


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("row", table("every")["frames"], ids=lambda row: row["why"][:60])
def test_no_venue_accepts_what_none_may(name: str, row: dict[str, Any]) -> None:
    venue, sent = VENUES[name], payload(row)
    (letter,) = venue.decode(frame(venue, sent), market(name))
    assert isinstance(letter, DeadLetter)
    verdict = row["verdict"]
    assert letter.reason in ([verdict] if isinstance(verdict, str) else verdict)
    assert letter.payload == sent


@pytest.mark.parametrize("name", VENUES)
def test_a_table_covers_what_a_venue_can_say(name: str) -> None:
    verdicts = [row["verdict"] for row in table(name)["frames"]]
    kinds = {record["kind"] for verdict in verdicts if not isinstance(verdict, str) for record in verdict}
    assert kinds >= ({"trade", "quote", "control"} if name in QUOTING else {"trade", "control"})
    reasons = {verdict for verdict in verdicts if isinstance(verdict, str)}
    assert reasons >= {
        "malformed",
        "missing_field",
        "wrong_type",
        "not_a_number",
        "precision",
        "time",
        "unknown_symbol",
        "unknown_message",
    }


def everything(name: str) -> Iterator[tuple[Frame, list[Any]]]:
    """Each frame of a venue's table and of the shared one, and the records it becomes."""
    venue, instruments = VENUES[name], market(name)
    for row in table(name)["frames"] + table("every")["frames"]:
        sent = frame(venue, payload(row))
        yield sent, venue.decode(sent, instruments)


@pytest.mark.parametrize("name", VENUES)
def test_records_keep_the_laws(name: str) -> None:
    for sent, records in everything(name):
        trades = [record for record in records if isinstance(record, Trade)]
        assert [trade.source_sequence for trade in trades] == sorted(
            trade.source_sequence or 0 for trade in trades
        )
        for place, record in enumerate(records):
            assert (record.exchange, record.shard, record.platform_sequence) == (name, f"{name}-0", 7)
            if isinstance(record, Trade):
                check_trade(record)
                assert sent.kind == "data"
            elif isinstance(record, Quote):
                check_quote(record)
                assert sent.kind == "data"
            elif isinstance(record, DeadLetter):
                check_letter(record, sent, place)
            else:
                assert isinstance(record, Control)
                assert record.received == RECEIVED


def check_trade(trade: Trade) -> None:
    assert trade.source_sequence == trade.first_sequence == trade.last_sequence == int(trade.trade_id)
    assert (
        trade.message_id == f"{trade.exchange}:{trade.market}:{trade.symbol}:{trade.series}:{trade.trade_id}"
    )
    assert trade.symbol == f"{trade.base_asset}-{trade.quote_asset}"
    assert (trade.currency, trade.series, trade.origin) == (trade.quote_asset, 0, "live")
    assert trade.side in ("BUY", "SELL")
    assert trade.ingestion_timestamp == RECEIVED
    check_words(trade)


def check_quote(quote: Quote) -> None:
    assert quote.message_id == f"{quote.exchange}:{quote.market}:{quote.symbol}:{quote.quote_id}"
    expected = f"{quote.shard}.7." if quote.source_sequence is None else str(quote.source_sequence)
    assert quote.quote_id.startswith(expected)
    check_words(quote)


def check_words(record: Trade | Quote) -> None:
    """vendor_data is a map of text with the native pair."""
    words = json.loads(record.vendor_data or "")
    assert all(isinstance(word, str) for word in words.values())
    assert (words["base_asset"], words["quote_asset"]) == (record.base_asset, record.quote_asset)
    assert words["native_symbol"] == record.native_symbol


def check_letter(letter: DeadLetter, sent: Frame, place: int) -> None:
    assert letter.payload == sent.payload
    assert (letter.connection, letter.number, letter.received) == (3, 5, RECEIVED)
    assert letter.index == place
    assert letter.message_id == f"{letter.exchange}:{letter.shard}:7:{place}"
    assert letter.reason in get_args(Reason)
    assert 0 < len(letter.detail) <= 200


@pytest.mark.parametrize("name", VENUES)
def test_the_same_frames_give_the_same_records_however_they_are_batched(name: str) -> None:
    venue, instruments = VENUES[name], market(name)
    sent, found = zip(*everything(name), strict=True)
    one_by_one = [record for records in found for record in records]
    assert records_of(venue.decode_many(sent, instruments)) == one_by_one
    assert records_of(venue.decode_many(sent, instruments)) == one_by_one


@pytest.mark.parametrize("name", VENUES)
def test_nothing_is_known_without_instruments(name: str) -> None:
    venue = VENUES[name]
    for row in table(name)["frames"]:
        records = venue.decode(frame(venue, payload(row)), {})
        assert not [record for record in records if isinstance(record, Trade | Quote)]


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("count", [1, 2, 199, 201, 450])
def test_subscriptions_name_every_market_within_the_limits(name: str, count: int) -> None:
    venue = VENUES[name]
    wanted = [
        Instrument(name, f"N{number}", f"S{number}-Q", f"S{number}", "Q", f"N{number}", "", "", "{")
        for number in range(count)
    ]
    messages = venue.subscribe(wanted)
    assert all(len(message) <= 65_536 for message in messages)
    assert len(messages) <= max(venue.limits.messages.count, venue.limits.subscriptions_max // 100)
    named = b" ".join(messages).lower()
    assert all(re.search(rb"\bn%d\b" % number, named) for number in range(count))
    assert all(isinstance(json.loads(message), dict) for message in messages)
    assert venue.subscribe([]) == []


@pytest.mark.parametrize(("name", "row"), rows("pages"))
def test_a_page_becomes_what_its_table_says(name: str, row: dict[str, Any]) -> None:
    venue, instruments = VENUES[name], market(name)
    native, first, last, since = row["ask"]
    listed = instruments.get(native)
    request = venue.repair(listed, first, last, since) if listed else Request("/")
    header = PageHeader(native, first, last, since, request, 200)
    page = venue.decode_page(frame(venue, pack_page(header, row["body"].encode()), "repair"), instruments)
    assert len(page.records) == len(row["verdict"]), page
    for place, (record, verdict) in enumerate(zip(page.records, row["verdict"], strict=True)):
        meets(record, verdict)
        if isinstance(record, DeadLetter):
            assert record.index == place
    following = page.next and {"path": page.next.path, "query": [list(pair) for pair in page.next.query]}
    assert following == row["next"]


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("body", [b"", b"no header", b"{}\n[]", b"[]\n[]", b"\xff\n[]", b'{"native":5}\n'])
def test_a_page_without_a_good_header_is_a_dead_letter(name: str, body: bytes) -> None:
    venue = VENUES[name]
    page = venue.decode_page(frame(venue, body, "repair"), market(name))
    assert page.next is None
    assert [type(record) for record in page.records] == [DeadLetter]


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff", b'{"symbols":[{}],"result":{"a":{}}}', b"[{}]"],
)
def test_metadata_that_names_no_instrument_is_refused(name: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        VENUES[name].decode_metadata(body)


# Whose markets are known without a network; for others their own answer must come first.
SHIPPED = sorted(name for name in REGISTERED if shipped_instruments(name))


def test_the_first_three_venues_are_known_without_a_network() -> None:
    assert {"binance", "coinbase", "kraken"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_is_captured_by_default_is_shipped(name: str) -> None:
    shipped = shipped_instruments(name)
    assert set(VENUES[name].symbols) <= {listed.symbol for listed in shipped.values()}
    assert all(native == listed.native and listed.exchange == name for native, listed in shipped.items())


@pytest.mark.parametrize("name", REGISTERED)
def test_a_name_that_spells_its_assets_says_what_metadata_says(name: str) -> None:
    venue = VENUES[name]
    for native, listed in shipped_instruments(name).items():
        spelled = venue.spelled(native)
        if spelled is not None:
            assert msgspec.structs.replace(spelled, rest=listed.rest) == listed
    for nothing in ("", "-", "/", "BTC", "BTC-", "/USD", "BTC/USD/EUR", "A-B-C", "btc-usd", "A" * 50 + "-B"):
        assert venue.spelled(nothing) is None


@pytest.mark.parametrize("name", VENUES)
def test_a_venue_that_asks_us_to_slow_down_is_heard(name: str) -> None:
    venue = VENUES[name]
    assert venue.throttled(429, b"")
    assert not venue.throttled(200, b"[]")
    assert not venue.throttled(500, b"")
