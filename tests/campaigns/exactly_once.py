"""A sink that is exactly once, as simple as that can be: for tests of the flow, not for the product.

Each shard has one file of rows, appended when durable: a line per batch part, led by the position that it
ends at. The position of the last whole line is the token: rows at or below it are never written again.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
from bytewax.outputs import StatefulSinkPartition

from connectors.durable import Durable
from connectors.failpoints import failpoint
from connectors.sink import ShardSink
from connectors.slots import Slot
from dataflows.engine import Item
from dataflows.steps.batch import Batch
from schemas.run import records_of

Row = tuple[int, str, Any]  # position, kind of record, the record
# What one epoch staged: rows, and the position up to which they are all rows.
Pending = tuple[int, list[Row]]


def rows_of(batch: Batch) -> list[Row]:
    """Everything a batch has become, with the position that caused it."""
    return [
        (record.platform_sequence or 0, type(record).__name__, msgspec.to_builtins(record))
        for record in records_of(batch.records)
        if hasattr(record, "platform_sequence")
    ]


class FileSink(ShardSink[Item, Any]):
    """One file per shard, in the partition of the shard's slot."""

    def __init__(self, directory: Path, slots: tuple[Slot, ...], durable: Durable) -> None:
        super().__init__(slots)
        self.directory, self.durable = directory, durable
        self.partitions: list[FilePartition] = []

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "FilePartition":
        self.directory.mkdir(parents=True, exist_ok=True)
        shard = self._slots[for_part].shard
        partition = FilePartition(self.directory / f"{shard}.jsonl", resume_state)
        self.durable.tell(shard, partition.publish)
        self.partitions.append(partition)
        return partition


class FilePartition(StatefulSinkPartition[Item, Any]):
    """Stages rows in memory, freezes them at the epoch's end, appends them when that is durable."""

    def __init__(self, path: Path, state: list[Pending] | None) -> None:
        self.path = path
        self.staged: list[Row] = []
        self.last = 0
        self.pending: list[Pending] = list(state or [])
        self.token = recover(path)
        self.workers: set[int] = set()
        self.publish(0)

    def write_batch(self, items: list[Item]) -> None:
        failpoint("sink.write")
        for item in items:
            if isinstance(item, Batch):
                self.staged += rows_of(item)
                self.last = item.last

    def snapshot(self) -> list[Pending]:
        failpoint("sink.snapshot")
        if self.last:
            self.pending.append((self.last, self.staged))
            self.staged, self.last = [], 0
        return list(self.pending)

    def publish(self, position: int) -> None:
        """Append what is durable: all that was frozen, for nothing newer is frozen before this is called."""
        failpoint("sink.publish")
        for last, rows in self.pending:
            if last > self.token:
                line = msgspec.json.encode((last, [row for row in rows if row[0] > self.token])) + b"\n"
                with self.path.open("ab") as file:
                    file.write(line)
                self.token = last
        failpoint("sink.published")
        self.pending = []


def recover(path: Path) -> int:
    """The token; a torn last line is cut off, for it was never acknowledged."""
    if not path.exists():
        return 0
    whole = path.read_bytes().rpartition(b"\n")[0] + b"\n"
    os.truncate(path, len(whole) if len(whole) > 1 else 0)
    lines = whole.splitlines()
    return int(msgspec.json.decode(lines[-1])[0]) if lines and lines[-1] else 0


def published(directory: Path) -> dict[str, list[Any]]:
    """All rows of all shards, in order."""
    return {
        path.stem: [row for line in path.read_bytes().splitlines() for row in msgspec.json.decode(line)[1]]
        for path in sorted(directory.glob("*.jsonl"))
    }
