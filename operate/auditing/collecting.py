"""What is kept of the rows of each table while they are read: as little as the checks need, never the rows.

Each class names the columns that it wants besides shard and position, and takes one shard's rows at a time.
"""

from collections import Counter
from typing import ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from connectors.kept_frames import POSITION_MAX
from connectors.venues import VENUES
from connectors.venues.protocol import Continuity
from operate.auditing.runs import Runs
from schemas import Bar, DeadLetter, Frame, Gap, Quote, StaleWindow, Trade

# Every row has its shard, and under this name the position of the frame that caused it.
SHARD, POSITION = "shard", "position"

# Stages that refuse a message whose id the step before has counted as received.
AFTER_GAPS = ("detect_gaps", "validate")

Ids = tuple[str, str, str, int]  # shard, exchange, symbol, series


class Frames:
    """Bronze."""

    columns: ClassVar = ("connection", "number", "kind", "received")

    def __init__(self) -> None:
        self.positions = Runs()
        self.numbers = Runs()
        self.kinds: Counter[tuple[str, str]] = Counter()
        self._ticks: dict[str, tuple[int, list[pa.ChunkedArray]]] = {}

    def take(self, shard: str, rows: pa.Table) -> None:
        self.positions.add(rows, (), POSITION, POSITION, of=(shard,))
        self.numbers.add(rows, ("connection",), "number", "number", of=(shard,))
        for counted in pc.value_counts(rows.column("kind")):
            self.kinds[shard, counted["values"].as_py()] += counted["counts"].as_py()
        ticks = rows.filter(pc.equal(rows.column("kind"), "tick"))
        if ticks.num_rows:
            life = pc.max(ticks.column("connection")).as_py()
            newest, found = self._ticks.get(shard, (0, []))
            if life >= newest:
                own = ticks.filter(pc.equal(ticks.column("connection"), life)).column(POSITION)
                self._ticks[shard] = life, [*(found if life == newest else ()), own]

    def ticks_after(self, shard: str, position: int, *, upto: int = POSITION_MAX) -> int:
        """Seconds that the newest life of the shard's capture has lasted behind a position."""
        found = self._ticks.get(shard, (0, []))[1]
        within = (pc.and_(pc.greater(each, position), pc.less_equal(each, upto)) for each in found)
        return sum(pc.sum(each).as_py() or 0 for each in within)


class Trades:
    """Silver: ids, where the venue numbers its trades."""

    columns: ClassVar = ("exchange", "symbol", "series", "first_sequence", "last_sequence")
    _keys: ClassVar = ("exchange", "symbol", "series")

    def __init__(self) -> None:
        self.ids = Runs()
        self._begun: dict[Ids, tuple[int, int]] = {}  # the first in the order of the journal

    def take(self, shard: str, rows: pa.Table) -> None:
        numbered = pa.array([name for name, venue in VENUES.items() if venue.continuity in PROVABLE])
        counted = pc.and_(
            pc.is_in(rows.column("exchange"), value_set=numbered), pc.is_valid(rows.column("first_sequence"))
        )
        rows = rows.filter(counted)
        series = pc.fill_null(rows.column("series"), 0)
        rows = rows.set_column(rows.schema.get_field_index("series"), "series", series)
        self.ids.add(rows, self._keys, "first_sequence", "last_sequence", of=(shard,))
        for found in rows.group_by(list(self._keys)).aggregate([(POSITION, "min")]).to_pylist():
            ids: Ids = (shard, found["exchange"], found["symbol"], found["series"])
            position = found[f"{POSITION}_min"]
            if ids not in self._begun or position < self._begun[ids][0]:
                first = rows.filter(pc.equal(rows.column(POSITION), position))
                for key, value in zip(self._keys, ids[1:], strict=True):
                    first = first.filter(pc.equal(first.column(key), value))
                self._begun[ids] = position, pc.min(first.column("first_sequence")).as_py()

    def begin(self, ids: Ids) -> int:
        """The id that was received first: what is missing before it nobody claims."""
        return self._begun[ids][1]


# A range may be stored that overlaps another: of those only the count is compared.
PROVABLE = (Continuity.CONTIGUOUS,)


class Counted:
    """Quotes, whose ids prove nothing, and marks of windows: their number is all."""

    columns: ClassVar = ()

    def take(self, shard: str, rows: pa.Table) -> None:
        pass


class DeadLetters:
    """Silver: by reason and by stage."""

    columns: ClassVar = ("index", "stage", "reason", "symbol")

    def __init__(self) -> None:
        self.indexes = Runs()
        self.reasons: Counter[tuple[str, str]] = Counter()
        self.stages: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()  # by shard and symbol, of those that had been seen

    def take(self, shard: str, rows: pa.Table) -> None:
        self.indexes.add(rows, (POSITION,), "index", "index", of=(shard,))
        found = (rows.column(name).to_pylist() for name in ("stage", "reason", "symbol"))
        for stage, reason, symbol in zip(*found, strict=True):
            self.reasons[shard, reason] += 1
            self.stages[shard, stage] += 1
            self.refused[shard, symbol] += stage in AFTER_GAPS


class GapRow(NamedTuple):
    """One row of a gap."""

    shard: str
    position: int
    gap_id: str
    status: str
    ids: Ids
    first: int
    last: int


class Gaps:
    """Silver: all rows, for there are few."""

    columns: ClassVar = (
        "gap_id", "status", "exchange", "symbol", "series", "first_missing", "last_missing",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rows: list[GapRow] = []

    def take(self, shard: str, rows: pa.Table) -> None:
        columns = (rows.column(name).to_pylist() for name in (POSITION, *self.columns))
        for position, gap_id, status, exchange, symbol, series, first, last in zip(*columns, strict=True):
            ids = shard, exchange, symbol, series
            self.rows.append(GapRow(shard, position, gap_id, status, ids, first, last))


class Bars:
    """Gold: which windows, at which revision."""

    columns: ClassVar = ("exchange", "symbol", "interval", "window_start", "window_end", "revision")

    def __init__(self) -> None:
        self.windows = Runs()

    def take(self, shard: str, rows: pa.Table) -> None:
        start = rows.column("window_start").cast(pa.int64())
        end = pc.subtract(rows.column("window_end").cast(pa.int64()), 1)
        rows = rows.append_column("start", start).append_column("end", end)
        self.windows.add(rows, ("exchange", "symbol", "interval", "revision"), "start", "end")


class Collected(NamedTuple):
    """What was kept of all tables."""

    frames: Frames
    trades: Trades
    quotes: Counted
    dead_letters: DeadLetters
    gaps: Gaps
    bars: Bars
    stale_windows: Counted

    def of(self, record_type: type[Struct]) -> "Frames | Trades | Counted | DeadLetters | Gaps | Bars":
        """The part of one table."""
        return self[(Frame, Trade, Quote, DeadLetter, Gap, Bar, StaleWindow).index(record_type)]


def collected() -> Collected:
    """Nothing yet."""
    return Collected(Frames(), Trades(), Counted(), DeadLetters(), Gaps(), Bars(), Counted())
