"""The hot tail: rows that are staged and not published, readable on this host at once, as provisional.

Each writer appends to files of its own: one for each table, shard, incarnation and part, named by them. A
file's end may be torn, which costs its last batch. Who reads opens the tails first and asks for the table
then: what is gone from the tails by that time is in the table.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from connectors.disk import make_folder
from connectors.failpoints import failpoint
from connectors.tokens import tokens_of
from schemas.iceberg import TABLES, arrow_schema

FOLDER = "tail"
SUFFIX = ".arrows"
# A quarter of the bytes: to write the others costs more than to compress them, and readers read any.
COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# How a stream of Arrow ends.
END_BYTES = 8
# A query reads one piece of memory sooner than many; to make one of so many costs little each time.
CHUNKS_MAX = 32


class Instant(NamedTuple):
    """A table as of one instant: what is published, and what is not yet; together each row once."""

    table: Table
    published: pa.Table
    provisional: pa.Table


class Tail:
    """What one incarnation of a shard's writer has staged for a table."""

    def __init__(self, directory: Path, record_type: type[Struct], shard: str, incarnation: int) -> None:
        self._record_type = record_type
        self._folder = directory / FOLDER / TABLES[record_type].name / shard
        self._incarnation = incarnation
        self._descriptor: int | None = None
        self._path = self._folder
        self._part = self._size = 0
        self._last = 0
        make_folder(self._folder)
        # What earlier incarnations left stays readable until it is published.
        self._closed = [(path, last_position(record_type, path)) for path in sorted(self._folder.iterdir())]

    def append(self, batch: pa.RecordBatch, last: int) -> None:
        """Add rows up to a position; readers see them on return."""
        failpoint("tail.append")
        data = message(batch)
        if self._descriptor is None:
            self._part += 1
            self._path = self._folder / f"{self._incarnation:010d}-{self._part:010d}{SUFFIX}"
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            self._size = 0
            data = pa.py_buffer(batch.schema.serialize().to_pybytes() + data.to_pybytes())
        # At the place that is known to be good: an append that a full disk cut short is written over.
        written = 0
        while written < data.size:
            written += os.pwrite(self._descriptor, memoryview(data)[written:], self._size + written)
        self._size += written
        self._last = last

    def part(self) -> None:
        """End a part; the next rows begin another."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._closed.append((self._path, self._last))
            self._descriptor = None

    def remove(self, position: int) -> None:
        """Remove the parts that are published up to their ends."""
        for path, last in self._closed:
            if last <= position:
                failpoint("tail.remove")
                path.unlink(missing_ok=True)
        self._closed = [(path, last) for path, last in self._closed if last > position]


def message(batch: pa.RecordBatch) -> pa.Buffer:
    """A batch as it stands in a stream, without the schema before it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=COMPRESSED) as stream:
        stream.write_batch(batch)
    whole, head = sink.getvalue(), batch.schema.serialize().size
    return whole.slice(head, whole.size - head - END_BYTES)


def as_of_now(catalog: Catalog, directory: Path, record_type: type[Struct]) -> Instant:
    """The table and the tails of this host, of one instant, with all rows: for small tables."""
    tails = Tails(directory, record_type)
    table, rows = tails.unpublished(lambda: catalog.load_table(TABLES[record_type].name))
    return Instant(table, table.scan().to_arrow(), rows)


class Read(NamedTuple):
    """What was read of a file: how its stream begins, its rows, and where the last of them end."""

    head: bytes
    rows: pa.Table
    end: int


class Tails:
    """All tails of a table on this host. What was read of a file is not read again as it grows."""

    def __init__(self, directory: Path, record_type: type[Struct]) -> None:
        self._folder, self._record_type = directory / FOLDER / TABLES[record_type].name, record_type
        self._nothing = Read(b"", arrow_schema(record_type).empty_table(), 0)
        self._read: dict[Path, Read] = {}
        self._turn = Lock()

    def unpublished(self, load: Callable[[], Table]) -> tuple[Table, pa.Table]:
        """The newest of the table that is loaded so, and the rows of the tails that are not in it."""
        tails = self.staged()
        table = load()
        published = {shard: token.position for shard, token in tokens_of(table).items()}
        above = [
            only_above(self._record_type, rows, published.get(shard, 0)) for shard, rows in tails.items()
        ]
        return table, pa.concat_tables([self._nothing.rows, *above])

    def staged(self) -> dict[str, list[pa.Table]]:
        """What the tails hold: by shard, a table for each incarnation, the newest first."""
        found: dict[str, dict[str, list[pa.Table]]] = {}
        for path, read in self._look().items():
            parts = found.setdefault(path.parent.name, {}).setdefault(path.name.partition("-")[0], [])
            parts.append(read.rows)
        return {
            shard: [pa.concat_tables(incarnations[each]) for each in sorted(incarnations, reverse=True)]
            for shard, incarnations in found.items()
        }

    def _look(self) -> dict[Path, Read]:
        """The files that there are, in order, each as far as it can be read."""
        with self._turn:
            while True:
                try:
                    self._read = {
                        path: self._grown(path) for path in sorted(self._folder.glob(f"*/*{SUFFIX}"))
                    }
                except FileNotFoundError:
                    continue  # published and removed since it was listed
                return self._read

    def _grown(self, path: Path) -> Read:
        """A file's rows: those that are known, and those behind them."""
        known = self._read.get(path, self._nothing)
        if path.stat().st_size == known.end:
            return known
        grown = self._continued(path, known)
        # Torn, or not the file that it was: it says so itself, from its beginning.
        return self._continued(path, self._nothing) if grown.end == known.end else grown

    def _continued(self, path: Path, known: Read) -> Read:
        """What is known of a file, and what stands behind it; columns that older releases lack are null."""
        with path.open("rb") as file:
            file.seek(known.end)
            data = known.head + file.read()
        begin, batches, end = whole(data)
        if not batches:
            return known
        rows = pa.concat_tables([known.rows, pa.Table.from_batches(batches)], promote_options="default")
        if rows.column(0).num_chunks > CHUNKS_MAX:
            rows = rows.combine_chunks()
        return Read(data[:begin], rows, known.end + end - len(known.head))


def only_above(record_type: type[Struct], incarnations: list[pa.Table], position: int) -> pa.Table:
    """The rows above a position, one copy of each position: a newer incarnation's where there are several."""
    column = TABLES[record_type].position
    chosen = [arrow_schema(record_type).empty_table()]
    taken = pa.chunked_array([], pa.int64())
    for rows in incarnations:
        positions = rows.column(column)
        wanted = pc.and_(pc.greater(positions, position), pc.invert(pc.is_in(positions, value_set=taken)))
        chosen.append(rows.filter(wanted))
        taken = pa.chunked_array([*taken.chunks, *chosen[-1].column(column).chunks], pa.int64())
    return pa.concat_tables(chosen)


def whole(data: bytes) -> tuple[int, list[pa.RecordBatch], int]:
    """Where the first batch of a stream begins, its batches up to a torn end, and where the last one ends."""
    source = pa.BufferReader(data)
    batches: list[pa.RecordBatch] = []
    begin = end = 0
    try:
        stream = pa.ipc.open_stream(source)
        begin = end = source.tell()
        while True:
            batches.append(stream.read_next_batch())
            end = source.tell()
    except (StopIteration, pa.ArrowInvalid, OSError, EOFError):
        return begin, batches, end


def last_position(record_type: type[Struct], path: Path) -> int:
    """The highest position in a file."""
    _, batches, _ = whole(path.read_bytes())
    highest = (pc.max(batch.column(TABLES[record_type].position)).as_py() for batch in batches)
    return max((position or 0 for position in highest), default=0)
