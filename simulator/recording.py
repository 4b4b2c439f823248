"""What a journal recorded of a venue: its symbols, their ticks, and the trades that its REST service has."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import NamedTuple

import msgspec

from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, Venue, instrument
from dataflows.steps.numbers import all_positive
from schemas import Frame, Quote, Record
from schemas import Trade as RecordedTrade
from schemas.fields import MONEY_SCALE
from schemas.money import units
from schemas.run import records_of
from simulator.market import Listing, Market, SymbolMarket, Trade
from simulator.progress import Course
from simulator.rewriting import rewritten

# Of a symbol, the newest: fifty of the largest pages; 20 MB.
HISTORY_TRADES_MAX = 50_000
RESTARTS_MAX = 8  # of a symbol's ids, the newest; venues restart them once in years
DECODED_FRAMES = 500  # at once

ID = attrgetter("id")
_instruments = msgspec.json.Decoder(list[Instrument]).decode


class Row(NamedTuple):
    """A trade before it is known how many decimals its symbol has."""

    time: int
    price: str
    quantity: str
    taker_buys: bool


class Past:
    """All that was recorded of one symbol's trades, whichever way they came."""

    def __init__(self) -> None:
        self.course = Course()
        self.series: list[dict[int, Row]] = [{}]
        self.price = "1"
        self.price_decimals = self.quantity_decimals = 0

    def add(self, trade: RecordedTrade) -> None:
        if not all_positive((trade.price, trade.quantity)):
            return
        restarts, place = self.course.restarts, self.course.place(trade)
        if place == "gone":
            return
        if self.course.restarts > restarts:
            self.series = [*self.series[1 - RESTARTS_MAX :], {}]
        row = Row(trade.timestamp, trade.price, trade.quantity, trade.side == "BUY")
        series = self.series[-1]
        series.setdefault(int(trade.trade_id), row)
        if len(series) > 2 * HISTORY_TRADES_MAX:
            self.series = [dict(sorted(series.items())[-HISTORY_TRADES_MAX:])]
        self.price = trade.price
        self.measure(trade.price, trade.quantity)

    def measure(self, price: str | None, quantity: str | None) -> None:
        """Let the ticks be as fine as what was recorded."""
        if price and quantity and all_positive((price, quantity)):
            self.price_decimals = max(self.price_decimals, decimals(price))
            self.quantity_decimals = max(self.quantity_decimals, decimals(quantity))

    def trades(self) -> list[list[Trade]]:
        """Each series in the order of its ids, in ticks."""
        price, quantity = self.price_decimals, self.quantity_decimals
        return [
            [
                Trade(
                    identifier,
                    row.time * 1_000,
                    ticks(row.price, price),
                    ticks(row.quantity, quantity),
                    row.taker_buys,
                )
                for identifier, row in sorted(series.items())
            ]
            for series in self.series
            if series
        ]


class RecordedSymbol(SymbolMarket):
    """A symbol with the past that was recorded, in which ids may be missing; nothing more happens to it."""

    def __init__(self, listing: Listing, past: Past) -> None:
        super().__init__(listing, "", 0)
        self.past = past.trades()

    def from_id(self, identifier: int, count: int) -> list[Trade]:
        holding = [one for one in reversed(self.past) if one[0].id <= identifier <= one[-1].id]
        for series in holding or self.past[-1:]:
            place = bisect_left(series, identifier, key=ID)
            return series[place : place + count]
        return []

    def newest(self, count: int, below: int | None = None) -> list[Trade]:
        latest = self.past[-1] if self.past else []
        if below is None:
            return latest[-count:]
        holding = [one for one in reversed(self.past) if one[0].id < below <= one[-1].id + 1]
        for series in holding or ([latest] if latest and below > latest[-1].id else []):
            place = bisect_left(series, below, key=ID)
            return series[max(0, place - count) : place]
        return []

    def since(self, time: int, count: int) -> list[Trade]:
        return list(islice((one for one in chain.from_iterable(self.past) if one.time > time), count))


class Survey(NamedTuple):
    """What a journal holds."""

    instruments: dict[str, Instrument]  # by native symbol, those that frames were of
    pasts: dict[str, Past]
    began: int  # when its first frame was received

    def listings(self) -> list[Listing]:
        return [
            Listing(
                one.native,
                one.base,
                one.quote,
                self.pasts[one.native].price,
                self.pasts[one.native].price_decimals,
                self.pasts[one.native].quantity_decimals,
                1,
                names=(one.rest,),
            )
            for one in self.instruments.values()
        ]

    def market(self) -> Market:
        """The venue's symbols with all their recorded trades."""
        return Market(
            self.listings(),
            seed="",
            start=self.began,
            rate=0,
            made=lambda listing, *_: RecordedSymbol(listing, self.pasts[listing.native]),
        )


def survey(venue: str, frames: Iterable[Frame]) -> Survey:
    """Which symbols were recorded, what the venue's own metadata said of them, and what they traded."""
    described: dict[str, Instrument] = {}
    found = Survey({}, {}, 0)
    remaining = iter(frames)
    while some := list(islice(remaining, DECODED_FRAMES)):
        for frame in some:
            if frame.kind == "metadata":
                described |= {one.native: one for one in _instruments(frame.payload)}
            elif (stream := rewritten(venue, frame, ())) is not None:
                native = stream[0][1]
                found = found._replace(began=found.began or frame.received)
                found.instruments[native] = described.get(native) or unknown_to(venue, native)
                found.pasts.setdefault(native, Past())
        for record in decoded(VENUES[venue], some, found.instruments):
            past = found.pasts.get(getattr(record, "native_symbol", None) or "")
            if past and isinstance(record, RecordedTrade):
                past.add(record)
            elif past and isinstance(record, Quote):
                past.measure(record.bid_price, record.bid_quantity)
                past.measure(record.ask_price, record.ask_quantity)
    return found


def unknown_to(venue: str, native: str) -> Instrument:
    """A symbol that no recorded metadata describes."""
    return VENUES[venue].spelled(native) or instrument(venue, native, native, "")


def decoded(venue: Venue, frames: Sequence[Frame], known: dict[str, Instrument]) -> list[Record]:
    """The records of live frames and of pages of history, in the order in which they came."""
    live = [one for one in frames if one.kind == "data"]
    pages = [venue.decode_page(one, known).records for one in frames if one.kind == "repair"]
    return records_of([*venue.decode_many(live, known), *chain.from_iterable(pages)])


def ticks(text: str, shown: int) -> int:
    unit: int = 10 ** (MONEY_SCALE - shown)
    return units(text) // unit


def decimals(text: str) -> int:
    """How many decimals a plain number needs."""
    return len(text.partition(".")[2].rstrip("0"))
