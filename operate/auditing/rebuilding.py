"""A12: the newest bar of each window is what the trades in silver add up to, by the flow's own sum.

A day of a venue at a time, and some of its symbols: what is in memory is bounded however long the tape is.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from pyiceberg.catalog import Catalog

from dataflows.steps.windows import NAMES, SIZES, Window, bar_of, fold, key, market_of
from operate.auditing.facts import Facts
from operate.auditing.findings import Finding, Offences, judged
from operate.auditing.reading import File, Opened, batches
from schemas import Bar, StaleWindow, Trade
from schemas.iceberg import TABLES
from schemas.money import plain, units

T = TypeVar("T")

# A symbol has some 90,000 windows a day, of a kilobyte each.
SYMBOLS_MAX = 5
# Trades that are records at a time.
TRADES_MAX = 100_000


class Place(NamedTuple):
    """One window."""

    symbol: str
    level: int
    start: int


@dataclass
class Day:
    """The bars of some symbols on one day, and what their trades add up to."""

    bars: dict[Place, Bar] = field(default_factory=dict)  # of the highest revision
    sums: dict[Place, Window] = field(default_factory=dict)
    late: dict[Place, Trade] = field(default_factory=dict)  # the newest trade behind the bar
    without: dict[Place, Trade] = field(default_factory=dict)  # the oldest trade of a window that has no bar
    issued: dict[tuple[str, int], Bar] = field(default_factory=dict)  # the last window that was closed
    any_trade: dict[str, Trade] = field(default_factory=dict)

    def take_bar(self, bar: Bar) -> None:
        """Keep it if it is newer."""
        place = Place(bar.symbol, NAMES.index(bar.interval), bar.window_start)
        if place not in self.bars or bar.revision > self.bars[place].revision:
            self.bars[place] = bar
        last = self.issued.get(place[:2])
        if not bar.revision and (last is None or bar.window_start > last.window_start):
            self.issued[place[:2]] = bar

    def take_trades(self, trades: Sequence[Trade]) -> None:
        """Add each to the windows whose bars were issued after it."""
        groups: defaultdict[Place, list[Trade]] = defaultdict(list)
        for trade in trades:
            position = trade.platform_sequence or 0
            for level, size in enumerate(SIZES):
                place = Place(trade.symbol, level, trade.timestamp - trade.timestamp % size)
                bar = self.bars.get(place)
                if bar is None:
                    self.without[place] = min(self.without.get(place, trade), trade, key=position_of)
                elif position > bar.platform_sequence:
                    self.late[place] = max(self.late.get(place, trade), trade, key=position_of)
                else:
                    groups[place].append(trade)
        for place, group in groups.items():
            group.sort(key=key)
            self.any_trade[place.symbol] = group[0]
            window = fold(group)
            if place in self.sums:
                self.sums[place].merge(window)
            else:
                self.sums[place] = window


def position_of(trade: Trade) -> int:
    """Where in its journal."""
    return trade.platform_sequence or 0


def rebuilt(catalog: Catalog, facts: Facts, tables: Mapping[type[Struct], Opened | None]) -> Finding:
    """A12."""
    trades, bars, marks = tables[Trade], tables[Bar], tables[StaleWindow]
    offences = Offences()
    looked = waiting = 0
    days = sorted({(file.exchange, file.day) for file in trades.files}) if trades and bars else []
    for day in days:
        own, others, marked = (
            [file for file in each.files if (file.exchange, file.day) == day] if each else []
            for each in (trades, bars, marks)
        )
        assert trades is not None
        assert bars is not None
        for symbols in some(symbols_of(catalog, trades, own), SYMBOLS_MAX):
            one, stale = Day(), set[Place]()
            for bar in records(catalog, facts, bars, others, symbols):
                one.take_bar(bar)
            for mark in records(catalog, facts, marks, marked, symbols) if marks else ():
                stale.add(Place(mark.symbol, NAMES.index(mark.interval), mark.window_start))
            for group in some(records(catalog, facts, trades, own, symbols), TRADES_MAX):
                one.take_trades(group)
            looked += len(one.bars)
            waiting += judge(facts, one, stale, offences)
    return judged("A12", looked, "bars", offences, f"{waiting:,} wait to be issued again" if waiting else "")


def judge(facts: Facts, day: Day, stale: set[Place], offences: Offences) -> int:
    """Compare each bar with its trades; how many are still to follow trades that came later."""
    waiting = 0
    for place, bar in day.bars.items():
        late = day.late.get(place)
        if late is not None and place in stale:
            waiting += 1
        elif late is not None and has_ticked(facts, bar.shard, position_of(late)):
            offences.add(f"{bar.message_id} lacks {late.message_id}")
        elif late is not None:
            waiting += 1
        elif place not in day.sums:
            offences.add(f"{bar.message_id} has no trades")
        else:
            different = differences(bar, place, day)
            if different:
                offences.add(f"{bar.message_id}: {different}")
    for place, trade in day.without.items():
        later = day.issued.get(place[:2])
        # Windows of a symbol are closed in their order, with all trades that had come by then.
        if later and place.start < later.window_start and position_of(trade) < later.platform_sequence:
            offences.add(
                f"{trade.exchange}:spot:{place.symbol}:{NAMES[place.level]}:{place.start} has no bar"
            )
    return waiting


def has_ticked(facts: Facts, shard: str, position: int) -> bool:
    """Whether the second in which bars are issued again is over, and what it brought is published."""
    token = facts.table(Bar).tokens.get(shard)
    return token is not None and facts.rows.frames.ticks_after(shard, position, upto=token.position) > 0


def differences(bar: Bar, place: Place, day: Day) -> str:
    """What a bar says and its trades do not; nothing where they agree."""
    window = day.sums[place]
    window.revision, window.missing = bar.revision, bar.missing
    trade = day.any_trade[place.symbol]
    made = bar_of(market_of(trade), place.level, place.start, window, bar.platform_sequence)
    return ", ".join(
        f"{name} {getattr(bar, name)} instead of {getattr(made, name)}"
        for name in Bar.__struct_fields__
        if name != "shard" and getattr(bar, name) != getattr(made, name)
    )


def symbols_of(catalog: Catalog, found: Opened, files: Sequence[File]) -> list[str]:
    """The symbols in some files."""
    symbols: set[str] = set()
    for file in files:
        for rows in batches(catalog, found, file, ("symbol",)):
            symbols.update(pc.unique(rows.column("symbol")).to_pylist())
    return sorted(symbols)


def records(
    catalog: Catalog, facts: Facts, found: Opened, files: Sequence[File], symbols: Sequence[str]
) -> Iterator[Any]:
    """The rows of some symbols as records, up to their tokens."""
    record_type = found.record_type
    names = record_type.__struct_fields__
    tokens = facts.table(record_type).tokens
    wanted = pa.array(symbols, pa.string())
    for file in files:
        for rows in batches(catalog, found, file, names):
            chosen = rows.filter(pc.is_in(rows.column("symbol").cast(pa.string()), value_set=wanted))
            columns = [as_fields(chosen.column(name)) for name in names]
            for values in zip(*columns, strict=True):
                record = record_type(*values)
                token = tokens.get(record.shard)  # type: ignore[attr-defined]
                if token is not None and getattr(record, TABLES[record_type].position) <= token.position:
                    yield record


def some(items: Iterable[T], count: int) -> Iterator[list[T]]:
    """The items, so many at a time."""
    rest = iter(items)
    while part := list(islice(rest, count)):
        yield part


def as_fields(column: pa.ChunkedArray) -> list[Any]:
    """The values of a column as records have them."""
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_decimal(column.type):
        return [None if one is None else plain(units(f"{one:f}")) for one in column.to_pylist()]
    return column.to_pylist()  # type: ignore[no-any-return]
