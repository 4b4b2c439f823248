"""The hot tail: rows that are staged and not published, readable on this host at once, as provisional.

Each writer appends to files of its own: one for each table, shard, incarnation and part, named by them. A
file's end may be torn, which costs its last batch. Who reads opens the tails first and asks for the table
then: what is gone from the tails by that time is in the table.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
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
    table, rows = unpublished(lambda: catalog.load_table(TABLES[record_type].name), directory, record_type)
    return Instant(table, table.scan().to_arrow(), rows)


def unpublished(
    load: Callable[[], Table], directory: Path, record_type: type[Struct]
) -> tuple[Table, pa.Table]:
    """The newest of the table that is loaded so, and the rows of this host's tails that are not in it."""
    tails = staged(directory, record_type)
    table = load()
    published = {shard: token.position for shard, token in tokens_of(table).items()}
    above = [only_above(record_type, parts, published.get(shard, 0)) for shard, parts in tails.items()]
    return table, pa.concat_tables([arrow_schema(record_type).empty_table(), *above])


def staged(directory: Path, record_type: type[Struct]) -> dict[str, list[pa.Table]]:
    """What all tails of a table hold: by shard, a table for each incarnation, the newest first."""
    while True:
        found: dict[str, dict[str, list[pa.Table]]] = {}
        try:
            for path in sorted((directory / FOLDER / TABLES[record_type].name).glob(f"*/*{SUFFIX}")):
                incarnation = path.name.partition("-")[0]
                parts = found.setdefault(path.parent.name, {}).setdefault(incarnation, [])
                parts += map(pa.Table.from_batches, ([batch] for batch in batches(path)))
        except FileNotFoundError:
            continue  # published and removed since it was listed
        return {
            shard: [grown(record_type, incarnations[each]) for each in sorted(incarnations, reverse=True)]
            for shard, incarnations in found.items()
        }


def grown(record_type: type[Struct], parts: list[pa.Table]) -> pa.Table:
    """The parts as one; columns that an older release did not write are null."""
    return pa.concat_tables([arrow_schema(record_type).empty_table(), *parts], promote_options="default")


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


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The batches of one file, up to a torn end."""
    data = path.read_bytes()
    try:
        yield from pa.ipc.open_stream(data)
    except (pa.ArrowInvalid, OSError, EOFError):
        return


def last_position(record_type: type[Struct], path: Path) -> int:
    """The highest position in a file."""
    highest = 0
    for batch in batches(path):
        highest = max(highest, pc.max(batch.column(TABLES[record_type].position)).as_py() or 0)
    return highest
