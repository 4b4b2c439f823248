"""Bars of windows that the flow had forgotten are summed up again from the trades, and added as revisions.

How far a shard's marks are dealt with is a property of the table of bars, changed in the commit that adds
them: whatever happens to us, each mark is answered once.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from connectors.publishing import CachedTransaction
from connectors.staging import stage
from connectors.tokens import Token, as_properties, tokens_of
from connectors.venues import VENUES
from dataflows.steps.windows import INTERVALS, NAMES, Traded, Window, bar_of, fold, market_of
from operate.maintenance.commits import change
from operate.maintenance.compaction import WRITER, remove
from operate.maintenance.jobs import Job
from schemas import Bar, Gap, StaleWindow, Trade
from schemas.iceberg import TABLES, to_arrow
from schemas.money import plain, units

PREFIX = "tape.recomputed."
# Windows that are summed up at once: each is some hundred bytes, and all are one commit.
WINDOWS_MAX = 100_000

Place = tuple[str, int]  # interval and start


class Market(NamedTuple):
    """Whose windows are marked."""

    exchange: str
    market: str
    symbol: str


def jobs(catalog: Catalog) -> Iterator[Job]:
    """The windows that are marked and not dealt with."""
    bars = catalog.load_table(TABLES[Bar].name)
    waiting = marks(catalog.load_table(TABLES[StaleWindow].name), through(bars))
    if waiting:
        what = f"{len(waiting)} windows to be summed up again"
        yield Job("bars", TABLES[Bar].name, what, 0, len(waiting), 0, partial(recompute, catalog))


def through(bars: Table) -> dict[str, int]:
    """By shard, the position up to which marks are dealt with."""
    return {
        name.removeprefix(PREFIX): int(value)
        for name, value in bars.properties.items()
        if name.startswith(PREFIX)
    }


def marks(table: Table, done: Mapping[str, int]) -> list[StaleWindow]:
    """The marks above these positions, oldest first."""
    tokens = tokens_of(table)
    behind = [done.get(shard, 0) for shard, token in tokens.items() if token.position > done.get(shard, 0)]
    if not behind:
        return []
    rows = table.scan(row_filter=f"platform_sequence > {min(behind)}").to_arrow()
    found = [one for one in records(StaleWindow, rows) if one.platform_sequence > done.get(one.shard, 0)]
    found.sort(key=place_of)
    if len(found) > WINDOWS_MAX:  # all marks of a frame are dealt with together
        found = [one for one in found if place_of(one) < place_of(found[WINDOWS_MAX])]
    return found


def place_of(mark: StaleWindow) -> tuple[int, str]:
    """Which frame set a mark."""
    return mark.platform_sequence, mark.shard


def records(record_type: type[Any], rows: pa.Table) -> Iterator[Any]:
    """Rows as the records that they were."""
    columns = [
        [plain(units(format(value, "f"))) if isinstance(value, Decimal) else value for value in column]
        for column in (_plain(rows.column(name)).to_pylist() for name in record_type.__struct_fields__)
    ]
    for values in zip(*columns, strict=True):
        yield record_type(*values)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as whole microseconds."""
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def recompute(catalog: Catalog) -> str:
    """Add a bar for each marked window that has trades, and say how far the marks are dealt with."""
    name = TABLES[Bar].name
    table = catalog.load_table(name)
    done, present = through(table), tokens_of(table)
    waiting = marks(catalog.load_table(TABLES[StaleWindow].name), done)
    # Caused by nothing that the table of bars does not have: while it was idle its tokens stayed behind.
    bars = [
        msgspec.structs.replace(
            bar, platform_sequence=min(bar.platform_sequence or 0, present[bar.shard].position)
        )
        for market, some in by_market(waiting).items()
        for bar in revised(catalog, market, some)
    ]
    rows = pa.Table.from_batches([to_arrow(Bar, bars)])
    files = [file for _, file in stage(table, Bar, WRITER, rows)] if bars else []
    counts = Counter(bar.shard for bar in bars)

    def edit(attempt: CachedTransaction) -> Any:
        if not waiting or through(attempt._table) != done:
            return None
        said = told(tokens_of(attempt._table), counts, waiting)
        producer = attempt.update_snapshot(snapshot_properties=said).merge_append()
        for file in files:
            producer.append_data_file(file)
        producer.commit()
        attempt.set_properties(said)
        return producer

    if change(catalog, name, edit):
        return f"{len(bars)} bars are added"
    remove(table, files)
    return "somebody else has done it"


def told(
    tokens: Mapping[str, Token], counts: Mapping[str, int], waiting: Iterable[StaleWindow]
) -> dict[str, str]:
    """What a commit says of each shard: how many bars it adds, and how far the marks are dealt with."""
    grown = {
        shard: msgspec.structs.replace(tokens[shard], added=tokens[shard].added + count)
        for shard, count in counts.items()
    }
    return as_properties(grown) | {f"{PREFIX}{one.shard}": str(one.platform_sequence) for one in waiting}


def by_market(waiting: Iterable[StaleWindow]) -> dict[Market, dict[Place, StaleWindow]]:
    """The newest mark of each window."""
    found: defaultdict[Market, dict[Place, StaleWindow]] = defaultdict(dict)
    for one in waiting:
        found[Market(one.exchange, one.market, one.symbol)][one.interval, one.window_start] = one
    return found


def revised(catalog: Catalog, market: Market, marked: Mapping[Place, StaleWindow]) -> Iterator[Bar]:
    """The bars of the windows as the tables have them now."""
    since = min(start for _, start in marked)
    until = max(start + INTERVALS[interval] for interval, start in marked)
    trades = catalog.load_table(TABLES[Trade].name).scan(
        row_filter=_within_times(market, "timestamp", since, until)
    )
    sums, traded = folded(trades.to_arrow_batch_reader(), market, marked)
    revisions = highest_revisions(catalog.load_table(TABLES[Bar].name), market, since, until)
    gaps = standing(catalog.load_table(TABLES[Gap].name), market)
    for (interval, start), one in sorted(sums.items()):
        mark = marked[interval, start]
        assert traded is not None
        window = one.window
        window.revision = revisions.get((interval, start), -1) + 1
        window.missing = missing(one.ids, gaps) if _is_provable(market.exchange) else None
        yield bar_of(
            traded._replace(shard=mark.shard), NAMES.index(interval), start, window, mark.platform_sequence
        )


def _is_provable(exchange: str) -> bool:
    venue = VENUES.get(exchange)
    return venue is not None and venue.continuity.value in ("contiguous", "range")


def _within_times(market: Market, time: str, since: int, until: int) -> str:
    """The rows of a market within a range of times."""
    return f"{_of(market)} AND {time} >= '{_iso(since)}' AND {time} < '{_iso(until)}'"


def _of(market: Market) -> str:
    """The rows of a market; neither name can hold a quote."""
    return f"exchange = '{market.exchange}' AND symbol = '{market.symbol}'"


def _iso(time: int) -> str:
    text: str = pa.scalar(time, pa.timestamp("us", "UTC")).as_py().isoformat()
    return text


class Sum:
    """A window, and which ids its trades have, by series."""

    def __init__(self) -> None:
        self.window: Window
        self.ids: dict[int, tuple[int, int]] = {}

    def add(self, trades: Sequence[Trade]) -> None:
        """Add trades in the order of their times."""
        window = fold(trades)
        if hasattr(self, "window"):
            self.window.merge(window)
        else:
            self.window = window
        for trade in trades:
            first, last = trade.first_sequence or 0, trade.last_sequence or 0
            low, high = self.ids.get(trade.series or 0, (first, last))
            self.ids[trade.series or 0] = min(low, first), max(high, last)


def folded(
    batches: Iterable[pa.RecordBatch], market: Market, marked: Mapping[Place, StaleWindow]
) -> tuple[dict[Place, Sum], Traded | None]:
    """The marked windows' trades summed up, a batch at a time, and what their bars have in common."""
    sums: defaultdict[Place, Sum] = defaultdict(Sum)
    intervals = {interval for interval, _ in marked}
    traded = None
    for batch in batches:
        groups: defaultdict[Place, list[Trade]] = defaultdict(list)
        for trade in records(Trade, pa.Table.from_batches([batch])):
            if (trade.market or "spot") != market.market:
                continue
            traded = traded or market_of(trade)
            for interval in intervals:
                place = interval, trade.timestamp - trade.timestamp % INTERVALS[interval]
                if place in marked:
                    groups[place].append(trade)
        for place, trades in groups.items():
            sums[place].add(trades)
    return sums, traded


def highest_revisions(bars: Table, market: Market, since: int, until: int) -> dict[Place, int]:
    """By window, the revision that was issued last."""
    rows = bars.scan(row_filter=_within_times(market, "window_start", since, until)).to_arrow()
    found: dict[Place, int] = {}
    for bar in records(Bar, rows):
        if bar.market == market.market:
            place = bar.interval, bar.window_start
            found[place] = max(bar.revision, found.get(place, -1))
    return found


def standing(gaps: Table, market: Market) -> list[Gap]:
    """The gaps of a market that nothing has closed."""
    rows = gaps.scan(row_filter=_of(market)).to_arrow()
    found = [one for one in records(Gap, rows) if one.market == market.market]
    closed = {one.gap_id for one in found if one.status in ("repaired", "split")}
    return list({one.gap_id: one for one in found if one.gap_id not in closed}.values())


def missing(ids: Mapping[int, tuple[int, int]], gaps: Iterable[Gap]) -> int:
    """How many ids are missing between the trade before a window's first and the one after its last.

    Ids grow with time: so a gap overlaps the window where it lies between or beside the window's ids.
    """
    return sum(
        one.last_missing - one.first_missing + 1
        for one in gaps
        if one.series in ids
        and one.first_missing - 1 <= ids[one.series][1]
        and one.last_missing + 1 >= ids[one.series][0]
    )
