"""A recording answers by REST what the venue itself would have answered, of what was recorded."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from connectors.journal import Journal
from connectors.venues import VENUES
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import Instrument, PageHeader, instrument
from schemas import Frame
from schemas.health import FrameKind
from simulator import recording
from simulator.market import Listing, Market
from simulator.recording import survey
from simulator.replay import ReplayedVenue
from simulator.venues import FACES
from simulator.venues.protocol import Allowance, Request

START = 1_767_225_600_000_000
TRADES = 40
FORM = (True, True)
# Every question spells its pair differently where the venue counts questions by pair.
QUESTIONS = {
    "binance": [
        "/api/v3/trades?symbol=BTCUSDT",
        "/api/v3/trades?symbol=BTCUSDT&limit=7",
        "/api/v3/historicalTrades?symbol=BTCUSDT&limit=3",
        "/api/v3/historicalTrades?symbol=BTCUSDT&limit=3&fromId=5600000020",
        "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=5600000039",
        "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=1",
        "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=9900000000",
        "/api/v3/exchangeInfo?symbol=BTCUSDT",
        "/api/v3/trades?symbol=NOSUCH",
    ],
    "kraken": [
        "/0/public/Trades?pair=XXBTZUSD",
        "/0/public/Trades?pair=BTC/USD&count=4",
        f"/0/public/Trades?pair=BTC-USD&count=5&since={START * 1_000 + 9_000_000_000}",
        "/0/public/AssetPairs?pair=XXBTZUSD",
    ],
    "coinbase": [
        "/products/BTC-USD/trades",
        "/products/BTC-USD/trades?limit=6",
        "/products/BTC-USD/trades?limit=6&after=910000020",
        "/products/BTC-USD/trades?after=910000001",
        "/products/BTC-USD/trades?before=910000035",
        "/products/BTC-USD/trades?after=990000000&limit=2",
        "/products/BTC-USD",
    ],
}


def traded(venue: str) -> tuple[Market, list[bytes]]:
    """A venue whose first symbol traded once a second, and what its stream said."""
    face = FACES[venue]
    market = Market(face.listings[:1], seed="1", start=START, rate=0)
    symbol = market.order[0]
    moments = [symbol.trade(START + second * 1_000_000, 1) for second in range(1, TRADES + 1)]
    live = face.render(FORM, face.streams(symbol.listing.native)[:1], moments)
    return market, [one.payload for one in live]


def described(listing: Listing, venue: str) -> Instrument:
    rest = listing.names[0] if listing.names else ""
    return instrument(venue, listing.native, listing.base, listing.quote, rest=rest)


def journalled(
    folder: Path, venue: str, listed: Instrument, payloads: Sequence[tuple[FrameKind, bytes]]
) -> Path:
    directory = folder / f"{venue}-0"
    journal = Journal.open(directory, exchange=venue, shard=directory.name, now=START)
    told: list[tuple[FrameKind, bytes]] = [("metadata", msgspec.json.encode([listed])), *payloads]
    journal.append([(START + number, START, number, kind, one) for number, (kind, one) in enumerate(told, 1)])
    journal.close()
    return directory


def answers(directory: Path, paths: Sequence[str]) -> list[tuple[int, bytes]]:
    async def ask() -> list[tuple[int, bytes]]:
        async with ReplayedVenue(directory) as replayed, httpx2.AsyncClient() as client:
            url = replayed.urls()[replayed.venue]["rest"]
            told = [await client.get(url + path) for path in paths]
            return [(one.status_code, one.content) for one in told]

    return asyncio.run(ask())


def truth(venue: str, market: Market, path: str) -> tuple[int, bytes]:
    face, url = FACES[venue], httpx2.URL(path)
    request = Request(url.path, dict(url.params), {})
    told = face.answer(market, Allowance(face.rules), face.rules, request, START)
    return told.status, told.body


def without_time(answer: tuple[int, bytes]) -> tuple[int, Any]:
    document = json.loads(answer[1])
    if isinstance(document, dict):
        document.pop("serverTime", None)
    return answer[0], document


@pytest.mark.parametrize("venue", list(FACES))
def test_it_answers_what_the_venue_would(tmp_path: Path, venue: str) -> None:
    market, live = traded(venue)
    listed = described(market.order[0].listing, venue)
    directory = journalled(tmp_path, venue, listed, [("data", one) for one in live])
    asked = QUESTIONS[venue]
    told = dict(zip(asked, map(without_time, answers(directory, asked)), strict=True))
    assert told == {path: without_time(truth(venue, market, path)) for path in asked}


def test_what_was_repaired_is_history_and_what_is_missing_is_left_out(tmp_path: Path) -> None:
    market, live = traded("binance")
    first = market.order[0].listing.first_id
    listed = described(market.order[0].listing, "binance")
    request = VENUES["binance"].repair(listed, first + 10, first + 14, START)
    header = PageHeader(listed.native, first + 10, first + 14, START, request, 200)
    status, body = truth(
        "binance", market, f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first + 10}&limit=5"
    )
    assert status == 200
    directory = journalled(
        tmp_path,
        "binance",
        listed,
        [
            *(("data", one) for one in [*live[:10], *live[15:20], *live[25:]]),
            ("repair", pack_page(header, body)),
        ],
    )
    path = f"/api/v3/historicalTrades?symbol=BTCUSDT&fromId={first + 8}&limit=15"
    (_, told), (_, behind) = answers(directory, [path, path.replace(f"{first + 8}", f"{first + 22}")])
    assert [one["id"] - first for one in json.loads(told)] == [*range(8, 20), 25, 26, 27]
    assert json.loads(behind)[0]["id"] - first == 25


def surveyed(payloads: Sequence[bytes]) -> Market:
    """What is made of frames of Binance in this order, without any metadata."""
    return survey(
        "binance",
        [Frame("binance", "binance-0", at, 1, at, START, "data", one) for at, one in enumerate(payloads, 1)],
    ).market()


def priced(identifier: int, second: int, price: str = "1.50") -> bytes:
    time = START + second * 1_000_000
    return (
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{identifier},'
        f'"p":"{price}","q":"2.000","T":{time},"m":true,"M":true}}}}'
    ).encode()


def test_ids_that_began_again_leave_both_series_to_be_asked_for() -> None:
    symbol = surveyed(
        [priced(5_000, 1), priced(5_001, 2), priced(1, 3), priced(5_001, 2), priced(2, 4)]
    ).order[0]
    assert [one.id for one in symbol.newest(9)] == [1, 2]
    assert [one.id for one in symbol.from_id(5_000, 9)] == [5_000, 5_001]
    assert [one.id for one in symbol.newest(9, below=5_001)] == [5_000]
    assert [one.id for one in symbol.since((START + 1_000_000) * 1_000, 2)] == [5_001, 1]


def test_ticks_are_as_fine_as_what_was_recorded_and_nonsense_is_nothing() -> None:
    prices = ["1.50", "1.0625000", "NaN", "-0.000001", "0", "9" * 40]
    symbol = surveyed([priced(one, one, price) for one, price in enumerate(prices)]).order[0]
    listing = symbol.listing
    assert (listing.price_decimals, listing.quantity_decimals, listing.price) == (4, 0, "1.0625000")
    assert [(one.id, one.price, one.quantity) for one in symbol.newest(9)] == [(0, 15_000, 2), (1, 10_625, 2)]


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "HISTORY_TRADES_MAX", 10)
    symbol = surveyed([priced(one, one) for one in range(1, 26)]).order[0]
    assert [one.id for one in symbol.newest(99)] == list(range(12, 26))


def test_an_empty_past_answers_nothing() -> None:
    quote = (
        b'{"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"1.25","B":"1","a":"1.5","A":"1"}}'
    )
    symbol = surveyed([quote]).order[0]
    assert symbol.listing.price_decimals == 2
    assert (symbol.newest(5), symbol.from_id(1, 5), symbol.since(0, 5), symbol.newest(5, 9)) == (
        [],
        [],
        [],
        [],
    )
