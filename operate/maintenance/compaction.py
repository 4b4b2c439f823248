"""Many small files become few large ones with the same rows in the order of their table.

An hour is compacted once it is over, a day once more when it is over. What is not written anew is not
touched; what is, is read back and compared before anybody is told.
"""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from connectors.catalog import LakeError
from connectors.failpoints import failpoint
from connectors.staging import DAY, ROW_GROUP_ROWS, Staged, data_file, fitted, parquet
from operate.maintenance.commits import replace
from operate.maintenance.contents import Held, held
from operate.maintenance.jobs import Job, Policy
from schemas import Trade
from schemas.iceberg import TABLES

HOUR = DAY // 24
# What comes late comes as files of its own, and is compacted when there is more of it.
SETTLED = 120_000_000
# What one rewriting holds in memory: at most half a gigabyte of trades.
FILE_BYTES_MAX, FILE_ROWS_MAX = 64 * 1024 * 1024, 500_000
# Groups of one commit: a day of hours, so that a crash costs a minute's work.
GROUPS_MAX = 24
# Who staged a file is in its name; nobody's shard is called so.
WRITER = "maintenance"
# Readers that know an id skip 99 of 100 row groups that do not have it.
BLOOM_FALSE = 0.01

Group = tuple[Held, ...]


def jobs(catalog: Catalog, record_type: type[Struct], policy: Policy) -> Iterator[Job]:
    """What is to be compacted in a table."""
    table = catalog.load_table(TABLES[record_type].name)
    groups = planned(held(table, record_type), policy.now)
    for start in range(0, len(groups), GROUPS_MAX):
        some = groups[start : start + GROUPS_MAX]
        files = [one for group in some for one in group]
        days = sorted({f"{group[0].exchange} {day_of(group[0].day)}" for group in some})
        yield Job(
            "compact",
            TABLES[record_type].name,
            f"{len(files)} files to {len(some)}: {', '.join(days)}",
            len(files),
            sum(one.rows for one in files),
            sum(one.bytes for one in files),
            partial(compact, catalog, record_type, some),
        )


def planned(files: Iterable[Held], now: int) -> list[Group]:
    """Which files are to become one: neighbours of one hour, and of a whole day once it is over."""
    spans: defaultdict[tuple[int, str, int], list[Held]] = defaultdict(list)
    for one in files:
        day_is_over = now >= (one.day + 1) * DAY + HOUR
        hour = -1 if day_is_over else one.begin // HOUR
        if day_is_over or now >= (hour + 1) * HOUR + SETTLED:
            spans[one.day, one.exchange, hour].append(one)
    return [group for _, span in sorted(spans.items()) for group in packed(span)]


def packed(files: list[Held]) -> Iterator[Group]:
    """Neighbours in time, as many as one file may hold; one that stands alone stays as it is."""
    group: list[Held] = []
    for one in sorted(files, key=lambda one: (one.begin, one.file.file_path)):
        if group and (
            sum(each.bytes for each in group) + one.bytes > FILE_BYTES_MAX
            or sum(each.rows for each in group) + one.rows > FILE_ROWS_MAX
        ):
            if len(group) > 1:
                yield tuple(group)
            group = []
        group.append(one)
    if len(group) > 1:
        yield tuple(group)


def compact(catalog: Catalog, record_type: type[Struct], groups: Sequence[Group]) -> str:
    """Write groups anew and exchange them in one commit."""
    name = TABLES[record_type].name
    table = catalog.load_table(name)
    added = [rewritten(table, record_type, group) for group in groups]
    failpoint("maintain.rewritten")
    gone = [one.file for group in groups for one in group]
    if not replace(catalog, name, gone, added):
        remove(table, added)
        return "left as it is: somebody else has rewritten some of it"
    return f"{len(gone)} files are {len(added)}, {sum(file.record_count for file in added):,} rows as before"


def remove(table: Table, files: Iterable[DataFile]) -> None:
    """Remove files that no table knows."""
    for file in files:
        table.io.delete(file.file_path)


def rewritten(table: Table, record_type: type[Struct], group: Group) -> DataFile:
    """One file with the rows of some, read back and found the same."""
    listed = TABLES[record_type]
    before = pa.concat_tables(
        fitted(table, read(table, one.file.file_path)) for one in group
    ).combine_chunks()
    if before.num_rows != sum(one.rows for one in group):
        raise LakeError(
            f"files of {listed.name} hold {before.num_rows:,} rows, the table says "
            f"{sum(one.rows for one in group):,}",
            hint="`tape audit` says which; nothing was changed",
        )
    keys = dict.fromkeys((*listed.sort, listed.position))
    order = pc.sort_indices(before, [(key, "ascending") for key in keys])
    bounds = pc.min_max(before.column(listed.position)).as_py()
    path = table.location_provider().new_data_location(
        f"{listed.time}_day={day_of(group[0].day)}/{WRITER}-{bounds['min']}-{uuid.uuid4()}.parquet"
    )
    more: dict[str, Any] = {}
    if record_type is Trade:
        ids = min(before.num_rows, ROW_GROUP_ROWS)
        more["bloom_filter_options"] = {"trade_id": {"ndv": ids, "fpp": BLOOM_FALSE}}
    with (
        table.io.new_output(path).create() as stream,
        parquet(stream, record_type, before.schema, **more) as writer,
    ):
        for part in parts(before, order):
            writer.write_table(part, row_group_size=ROW_GROUP_ROWS)
        failpoint("maintain.datafile")
    if not is_same(table, record_type, before, order, path):
        table.io.delete(path)
        raise LakeError(
            f"a file of {listed.name} came back with other rows than were written",
            hint="look at the disk and the memory of this machine; nothing was changed",
        )
    return data_file(table, Staged(listed.name, path, bounds["min"], bounds["max"], before.num_rows))


def parts(rows: pa.Table, order: pa.Array) -> Iterator[pa.Table]:
    """Rows in an order, a row group at a time: whole they would be in memory twice."""
    for start in range(0, len(order), ROW_GROUP_ROWS):
        yield rows.take(order.slice(start, ROW_GROUP_ROWS))


def is_same(table: Table, record_type: type[Struct], before: pa.Table, order: pa.Array, path: str) -> bool:
    """Whether a file holds each value as it was put into its place, and each row of those before once."""
    found: list[pa.Table] = []
    with table.io.new_input(path).open() as stream, pq.ParquetFile(stream) as file:
        if file.metadata.num_rows != before.num_rows:
            return False
        for number, part in enumerate(parts(before, order)):
            back = file.read_row_group(number).cast(part.schema)
            if not back.equals(part):
                return False
            found.append(back.select(proving(record_type, back)))
    return proof(record_type, pa.concat_tables(found)) == proof(record_type, before)


def proving(record_type: type[Struct], rows: pa.Table) -> list[str]:
    """Shard, id and position: the columns that tell rows apart."""
    position = TABLES[record_type].position
    identity = "message_id" if "message_id" in rows.column_names else position
    return list(dict.fromkeys(("shard", identity, position)))


class Proof(NamedTuple):
    """What of the rows of a shard no rewriting changes."""

    shard: str
    rows: int
    ids: int  # different ones
    positions: int  # their sum


def proof(record_type: type[Struct], rows: pa.Table) -> list[Proof]:
    """By shard: how many rows, how many ids, and the sum of the positions."""
    shard, identity, *_, position = [*proving(record_type, rows), TABLES[record_type].position]
    found = rows.group_by(shard).aggregate(
        [(position, "count"), (identity, "count_distinct"), (position, "sum")]
    )
    names = (shard, f"{position}_count", f"{identity}_count_distinct", f"{position}_sum")
    columns = [found.column(name).to_pylist() for name in names]
    return sorted(map(Proof._make, zip(*columns, strict=True)))


def read(table: Table, location: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of one file."""
    with table.io.new_input(location).open() as stream:
        return pq.read_table(stream, columns=columns)


def day_of(day: int) -> str:
    """A day as people write it."""
    text: str = pa.scalar(day, pa.int32()).cast(pa.date32()).as_py().isoformat()
    return text
