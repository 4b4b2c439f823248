"""The lake as a sink of the engine, exactly once: rows are staged, frozen with the epoch, and published when
the epoch is durable.

A shard is told apart by its position alone: rows at or below its token in a table are there already and are
dropped. What cannot be written now makes us wait, which in time makes the source wait, and never capture.
"""

import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import pyarrow as pa
from bytewax.outputs import StatefulSinkPartition
from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.callbacks import said_first
from connectors.catalog import LakeError, make_tables
from connectors.closing import Life
from connectors.courier import Courier
from connectors.durable import Durable
from connectors.failpoints import failpoint
from connectors.publishing import LakeTable, Pending
from connectors.sink import ShardSink
from connectors.slots import Slot, Store
from connectors.source import Pulse
from connectors.staging import Staged, stage
from connectors.tail import Tail
from connectors.tokens import Token
from schemas import DeadLetter, Frame, Trade
from schemas.iceberg import TABLES, to_arrow
from schemas.run import Run, joined
from schemas.run_arrow import run_to_arrow

VERSION = 1

# Converting a row costs half of what it does among 200; more rows at once gain little.
FLUSH_ROWS = 2_000
# Rows of one table and shard that wait in memory for the epoch's end; beyond it they become a file.
ROLL_BYTES = 32 * 1024 * 1024

POSITION = attrgetter("position")

State = tuple[int, int, tuple[tuple[str, int], ...], tuple[Any, ...]]  # version, last, counts, pending


class Batch(Protocol):
    """What the sink needs of the flow's batches."""

    shard: str
    first: int
    last: int
    frames: list[Frame]
    records: list[Any]
    counts: dict[str, int]


class Lake(ShardSink[Any, State]):
    """All tables, written by the shards of a process, each in the partition of its slot."""

    def __init__(
        self,
        opened: Callable[[], Catalog],
        store: Store,
        directory: Path,
        own: Sequence[str],
        *,
        durable: Durable,
        stop: Event,
        commit_seconds: float,
        logger: Any,
        rebuilding: bool = False,
    ) -> None:
        super().__init__(store.slots)
        self._rebuilding = rebuilding  # state is made again from all frames: to know nothing yet is right
        self._opened, self._store, self._directory, self.durable = opened, store, directory, durable
        self.courier = Courier(own, commit_seconds=commit_seconds, stop=stop, logger=logger)
        self.partitions: list[LakePartition] = []

    def start(self) -> None:
        """Begin to take over; the engine need not wait for it."""
        self.courier.start(self._tables)

    def _tables(self) -> list[LakeTable]:
        catalog, writer = self._opened(), str(uuid.uuid4())
        make_tables(catalog, self._store, self._directory)
        return [LakeTable(catalog, record_type, self._store, writer) for record_type in TABLES]

    def close(self, seconds: float) -> bool:
        """The engine has returned: publish all, and leave no tail; whether that worked within the time."""
        if not self.courier.close(seconds):
            return False
        for partition in self.partitions:
            partition.remove_tails()
        return True

    @said_first
    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> "LakePartition":
        """One shard's."""
        slot = self._slots[for_part]
        partition = LakePartition(
            slot, self.courier, self._directory, resume_state, rebuilding=self._rebuilding
        )
        self.durable.tell(slot.shard, partial(self.courier.reached, slot.shard))
        self.partitions.append(partition)
        return partition

    name = "lake"


class LakePartition(StatefulSinkPartition[Any, State]):
    """One shard's rows, on their way into all tables."""

    def __init__(
        self, slot: Slot, courier: Courier, directory: Path, state: State | None, *, rebuilding: bool = False
    ) -> None:
        self.name = slot.partition
        self._rebuilding = rebuilding
        self._before: dict[str, int] = {}  # what was counted when this process began
        self._known: Token | None = None  # of the frames, where their counts are taken from
        self._shard, self._courier, self._directory = slot.shard, courier, directory
        self._state = state
        self._shelves: dict[type, Shelf] = {}
        self._early: list[Any] = []  # what came before we were the writer; an epoch at most
        self._last = self._frozen = 0
        self._counts: Counter[str] = Counter()
        if state is not None:
            self._resume(state)  # also where nothing will come: what waits is published all the same
        self._begin(wait=False)

    def _begin(self, *, wait: bool) -> bool:
        """Go on where the tables and the state are, once we are the writer."""
        if self._shelves:
            return True
        if not self._courier.has_begun(wait=wait):
            return False
        self._shelves = {
            table.record_type: Shelf(table, self._shard, self._directory, self._courier.outlast)
            for table in self._courier.tables
        }
        published = max(shelf.floor for shelf in self._shelves.values())
        if self._state is None and self._rebuilding:
            self._known = next(
                each.tokens[self._shard] for each in self._courier.tables if each.record_type is Frame
            )
            self._last, self._counts = self._known.position, Counter(self._known.counts)
        elif self._state is None and published:
            raise LakeError(
                f"{self._shard} has published up to {published}, but its recovery knows nothing of it",
                hint="`tape recover` makes the recovery files again from what the tables have",
            )
        if self._state is not None:
            self._refuse_older(self._shelves[Frame].floor)
        early, self._early = self._early, []
        self.write_batch(early)
        return True

    def _refuse_older(self, floor: int) -> None:
        """LakeError where the table of frames lacks what this shard had published when its state was made."""
        assert self._state is not None
        _, last, _, pending = self._state
        files = [Staged._make(file) for file in pending[0][2]] if pending else []
        lowest = [file.lower for file in files if file.table == self._shelves[Frame].name]
        published = min(lowest) - 1 if lowest else last
        if floor < published:
            raise LakeError(
                f"{self._shard} has published up to {published}, but the table of frames ends at {floor}",
                hint="an older copy of the catalog or tables? put back the newest; `tape recover` goes on "
                "from these, if the journals still have what they lack",
            )

    def _resume(self, state: State) -> None:
        version, last, counts, pending = state
        if version != VERSION:
            raise ValueError(f"{self.name}: a snapshot of version {version}, this release knows {VERSION}")
        self._last = self._frozen = last
        self._counts.update(dict(counts))
        self._before = dict(counts)
        for epoch in map(Pending._make, pending):
            files = tuple(map(Staged._make, epoch.files))
            self._courier.freeze(self._shard, epoch._replace(files=files))
        self._courier.reached(self._shard, last)

    @said_first
    def write_batch(self, items: list[Any]) -> None:
        """Stage the rows of each batch; a pulse makes them readable."""
        self._courier.check()
        if not self._begin(wait=False):
            self._early += items
            return
        for item in items:
            if isinstance(item, Pulse):
                self._flush()
            else:
                self._take(item)
                if self._known is not None and item.last <= self._known.position:
                    # Retention may have left less than was counted.
                    self._counts = Counter(self._known.counts)

    def _take(self, batch: Batch) -> None:
        self._last = batch.last
        self._counts.update(batch.counts)
        shelves = self._shelves
        shelves[Frame].rows += batch.frames
        letters: list[DeadLetter] = []
        for record in batch.records:
            shelf = shelves.get(type(record))
            if type(record) is Run:
                shelves[Trade].runs.append(record)
            elif type(record) is DeadLetter:
                letters.append(record)
            elif shelf is not None:
                shelf.rows.append(record)
        # Those of quotes stand behind those of the trades that came with them, and how is the cut's doing.
        shelves[DeadLetter].rows += sorted(letters, key=attrgetter("platform_sequence", "index"))
        for shelf in shelves.values():
            self._counts[f"rows_{shelf.name}"] += shelf.settle(batch.first)
        if any(shelf.waiting >= FLUSH_ROWS for shelf in shelves.values()):
            self._flush()

    def _flush(self) -> None:
        for shelf in self._shelves.values():
            shelf.flush(self._last)

    @said_first
    def snapshot(self) -> State:
        """Freeze what is staged, durable as it is; what of it will be published is part of the state."""
        self._begin(wait=True)
        self._flush()
        files = tuple(file for shelf in self._shelves.values() for file in shelf.freeze())
        failpoint("iceberg.staged")
        counts = tuple(sorted(self._counts.items()))
        if self._last > self._frozen:
            self._courier.freeze(self._shard, Pending(self._last, counts, files))
            self._frozen = self._last
        waiting = self._courier.waiting(self._shard)
        failpoint("iceberg.frozen")
        plain = tuple((epoch.last, epoch.counts, tuple(map(tuple, epoch.files))) for epoch in waiting)
        return VERSION, self._last, counts, plain

    def life(self) -> tuple[str, Life]:
        """What became of the shard while this process had it."""
        return self._shard, Life(self._last, self._before)

    def remove_tails(self) -> None:
        """Leave no tail of what is published, not even of a life before in which nothing came."""
        if self._state is not None:
            self._begin(wait=False)
        for shelf in self._shelves.values():
            shelf.remove_tail()


class Shelf:
    """What one shard has for one table and has not frozen."""

    def __init__(
        self, table: LakeTable, shard: str, directory: Path, outlast: Callable[[str, Callable[[], Any]], Any]
    ) -> None:
        self.name = table.name
        self.rows: list[Struct] = []
        self.runs: list[Run] = []
        self.waiting = 0  # rows that were looked at
        self.floor = table.tokens[shard].position
        self._table, self._shard, self._outlast = table, shard, outlast
        self._column = TABLES[table.record_type].position
        self._settled = self._settled_runs = 0
        self._batches: list[pa.RecordBatch] = []
        self._bytes = 0
        self._files: list[Staged] = []
        self._tail = Tail(directory, table.record_type, shard, table.tokens[shard].incarnation)
        self._published = self.floor

    def settle(self, first: int) -> int:
        """Look at the rows of a batch that begins there: drop those that the table has, count all."""
        rows, runs = self.rows[self._settled :], self.runs[self._settled_runs :]
        new = len(rows) + sum(map(len, runs))
        if new and first <= self.floor:
            rows = [row for row in rows if getattr(row, self._column) > self.floor]
            runs = [run.cut(bisect_right(run.frames, self.floor, key=POSITION), len(run)) for run in runs]
            runs = [run for run in runs if len(run)]
            self.rows[self._settled :], self.runs[self._settled_runs :] = rows, runs
        self.waiting += len(rows) + sum(map(len, runs))
        self._settled, self._settled_runs = len(self.rows), len(self.runs)
        return new

    def flush(self, last: int) -> None:
        """Make the rows readable on this host; they come from frames up to that position."""
        if not self.waiting:
            return
        batch = self._converted()
        self._outlast(f"stage rows of {self.name}", partial(self._tail.append, batch, last))
        self._batches.append(batch)
        self._bytes += batch.nbytes
        self.rows, self.runs = [], []
        self.waiting = self._settled = self._settled_runs = 0
        if self._bytes > ROLL_BYTES:
            self._roll()

    def _converted(self) -> pa.RecordBatch:
        """All rows that wait, as one batch."""
        parts = [run_to_arrow(joined(self.runs))] if self.runs else []
        if self.rows:
            parts.append(to_arrow(self._table.record_type, self.rows))
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

    def _roll(self) -> None:
        rows = pa.Table.from_batches(self._batches)
        assert self._table.form is not None
        write = partial(stage, self._table.form, self._table.record_type, self._shard, rows)
        for staged, file in self._outlast(f"stage files of {self.name}", write):
            self._table.keep(staged, file)
            self._files.append(staged)
        self._batches, self._bytes = [], 0
        self._tail.part()

    def freeze(self) -> list[Staged]:
        """The files of the epoch that ends; the tail of the one before the last publication goes."""
        if self._batches:
            self._roll()
        files, self._files = self._files, []
        self._tail.remove(self._published)
        self._published = self._table.tokens[self._shard].position
        return files

    def remove_tail(self) -> None:
        """Remove all of it that is published."""
        self._tail.part()
        self._tail.remove(self._table.tokens[self._shard].position)
