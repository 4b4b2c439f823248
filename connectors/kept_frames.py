"""The frames of a shard that are kept, in order: those of bronze.frames, then what its journal has beyond.

The table's token says up to where it has every frame; whether the journal still has them too is no matter.
"""

from collections.abc import Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions.parser import parse
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.table import FileScanTask, Table

from connectors.journal_reader import JournalReader
from connectors.tokens import tokens_of
from schemas import Frame
from schemas.iceberg import TABLES
from schemas.shards import exchange_of

# Frames of one shard that are in memory at a time: some 60 MB.
READ_POSITIONS = 100_000

POSITION = TABLES[Frame].position
POSITION_MAX = 2**63 - 1


class KeptFrames:
    """Reads as a journal's reader does, behind a position or from the oldest frame that is kept on."""

    def __init__(self, table: Table, journal: Path, shard: str, position: int = 0) -> None:
        token = tokens_of(table).get(shard)
        end = token.position if token else 0
        self.position = position
        self._published = published(table, shard, end, position + 1)
        beyond = max(end, position)
        self._journal = JournalReader(journal, exchange=exchange_of(shard), shard=shard, position=beyond)

    def read(self, frames_max: int) -> list[Frame]:
        """The next frames, at most so many; of the table and of the journal never at once."""
        frames = list(islice(self._published, frames_max))
        if frames:
            self.position = frames[-1].position
            return frames
        frames = self._journal.read(frames_max)
        self.position = self._journal.position
        return frames

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()


def published(table: Table, shard: str, end: int, begin: int = 1) -> Iterator[Frame]:
    """The frames of a shard that the table has between these positions, in order, some at a time."""
    wanted = table.schema().select(*Frame.__struct_fields__)
    files = extents(table, shard)
    first = max(begin, min((lower for lower, _, _ in files), default=end + 1))
    while first <= end:
        last = min(end, first + READ_POSITIONS - 1)
        near = [task for lower, upper, task in files if lower <= last and upper >= first]
        within = parse(f"{own(shard)} and {POSITION} >= {first} and {POSITION} <= {last}")
        yield from frames_of(ArrowScan(table.metadata, table.io, wanted, within).to_table(near))
        first = max(last + 1, min((lower for lower, upper, _ in files if upper > last), default=end + 1))


def frames_of(rows: pa.Table) -> Iterator[Frame]:
    """Rows of the table as the frames that they were, in order."""
    ordered = rows.sort_by(POSITION)
    columns = [ordered.column(name) for name in Frame.__struct_fields__]
    plain = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in columns]
    return map(Frame, *(column.to_pylist() for column in plain))


def oldest(table: Table, shard: str) -> int | None:
    """The position of the oldest frame of a shard that the table has; None where there is none."""
    found = None
    for lower, _, task in sorted(extents(table, shard), key=itemgetter(0)):
        if found is not None and lower >= found:
            break
        scan = ArrowScan(table.metadata, table.io, table.schema().select(POSITION), parse(own(shard)))
        lowest = pc.min(scan.to_table([task]).column(POSITION)).as_py()
        found = lowest if found is None else min(found, lowest or found)
    return found


def extents(table: Table, shard: str) -> list[tuple[int, int, FileScanTask]]:
    """The files that may have frames of a shard, and between which positions their rows are.

    Other shards of the venue may be in them too, or alone: files are not told apart by shard.
    """
    number = table.schema().find_field(POSITION).field_id
    found = []
    for task in table.scan(row_filter=own(shard)).plan_files():
        lower, upper = (
            (bounds or {}).get(number) for bounds in (task.file.lower_bounds, task.file.upper_bounds)
        )
        if lower is None or upper is None:
            found.append((1, POSITION_MAX, task))  # written by somebody else, who keeps no bounds
        else:
            found.append((whole(lower), whole(upper), task))
    return found


def whole(bound: bytes) -> int:
    """A bound as the number that it is."""
    return int.from_bytes(bound, "little", signed=True)


def own(shard: str) -> str:
    """The filter for a shard's rows."""
    return f"exchange = '{exchange_of(shard)}' and shard = '{shard}'"
