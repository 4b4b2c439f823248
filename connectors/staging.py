"""Rows become data files of a table: sorted, durable, and not part of the table until they are published.

Nothing here knows a catalog's state or a shard's token.
"""

import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from connectors.catalog import LakeError, bounded
from connectors.failpoints import failpoint
from schemas.iceberg import TABLES

DAY = 86_400_000_000

# Readers skip row groups by their bounds and bloom filters; smaller ones cost them more than they skip.
ROW_GROUP_ROWS = 65_536


# Texts that hardly two rows share.
UNIQUE = {"message_id", "trade_id", "quote_id", "gap_id", "vendor_data", "detail"}


class Staged(NamedTuple):
    """A data file that is no part of its table yet."""

    table: str
    path: str
    lower: int  # positions of its shard's journal that its rows come from
    upper: int
    rows: int


def stage(
    table: Table, record_type: type[Struct], shard: str, rows: pa.Table
) -> list[tuple[Staged, DataFile]]:
    """Write rows of one shard as files of the table, one a day; durable on return."""
    ordered = in_order(record_type, fitted(table, rows))
    return [write(table, record_type, shard, part) for part in by_day(record_type, ordered)]


def fitted(table: Table, rows: pa.Table) -> pa.Table:
    """The rows in the columns and with the ids that the table has; what we do not know is null."""
    target = table.schema().as_arrow()
    known = set(rows.schema.names)
    columns = [
        rows.column(field.name).cast(field.type)
        if field.name in known
        else pa.nulls(rows.num_rows, field.type)
        for field in target
    ]
    return pa.Table.from_arrays(columns, schema=target)


def in_order(record_type: type[Struct], rows: pa.Table) -> pa.Table:
    """The rows in the order of the table; of one shard they come in the order of its journal."""
    listed = TABLES[record_type]
    if listed.sort[-1] == listed.position:
        return rows
    return rows.take(pc.sort_indices(rows, [(name, "ascending") for name in listed.sort]))


def by_day(record_type: type[Struct], rows: pa.Table) -> Iterator[pa.Table]:
    """The rows of each day; nearly always all of them."""
    times = rows.column(TABLES[record_type].time).cast(pa.int64())
    bounds = pc.min_max(times).as_py()
    if bounds["min"] // DAY == bounds["max"] // DAY:
        yield rows
        return
    days = pa.array([time // DAY for time in times.to_pylist()])
    for day in pc.unique(days):
        yield rows.filter(pc.equal(days, day))


def write(table: Table, record_type: type[Struct], shard: str, rows: pa.Table) -> tuple[Staged, DataFile]:
    """Write one file."""
    listed = TABLES[record_type]
    bounds = pc.min_max(rows.column(listed.position)).as_py()
    day = rows.column(listed.time)[0].as_py().date()
    name = f"{listed.time}_day={day}/{shard}-{bounds['min']}-{uuid.uuid4()}.parquet"
    path = table.location_provider().new_data_location(name)
    with table.io.new_output(path).create() as stream, parquet(stream, record_type, rows.schema) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        failpoint("iceberg.datafile")
    staged = Staged(listed.name, path, bounds["min"], bounds["max"], rows.num_rows)
    return staged, data_file(table, staged)


def parquet(stream: Any, record_type: type[Struct], schema: pa.Schema, **more: Any) -> pq.ParquetWriter:
    """A writer of files as all of ours are."""
    return pq.ParquetWriter(
        stream,
        schema,
        compression="zstd",
        use_dictionary=[field.name for field in schema if repeats(field)],
        write_statistics=bounded(record_type),
        **more,
    )


def repeats(field: pa.Field) -> bool:
    """Whether rows share values of a column: of others a dictionary is built in vain."""
    return field.type in (pa.large_string(), pa.string()) and field.name not in UNIQUE


def data_file(table: Table, staged: Staged) -> DataFile:
    """What the table will say of a staged file, from its footer: a file that is cut short has none."""
    written = table.io.new_input(staged.path)
    try:
        with written.open() as stream:
            footer = pq.read_metadata(stream)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise lost(staged) from error
    assert footer.num_rows == staged.rows
    schema, metadata = table.schema(), table.metadata
    statistics = data_file_statistics_from_parquet_metadata(
        footer, compute_statistics_plan(schema, metadata.properties), parquet_path_to_id_mapping(schema)
    )
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=staged.path,
        file_format=FileFormat.PARQUET,
        partition=statistics.partition(metadata.spec(), schema),
        file_size_in_bytes=len(written),
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
        equality_ids=None,
        key_metadata=None,
        **statistics.to_serialized_dict(),
    )


def trim(
    table: Table, record_type: type[Struct], shard: str, staged: Staged, position: int
) -> list[DataFile]:
    """What a staged file holds above a position, as files of their own."""
    try:
        with table.io.new_input(staged.path).open() as stream:
            rows = pq.read_table(stream)
    except (FileNotFoundError, pa.ArrowInvalid) as error:
        raise lost(staged) from error
    above = rows.filter(pc.greater(rows.column(TABLES[record_type].position), position))
    return [file for _, file in stage(table, record_type, shard, above)] if above.num_rows else []


def lost(staged: Staged) -> LakeError:
    """The error for a file that recovery knows and the store does not have whole."""
    return LakeError(
        f"the staged rows {staged.lower} to {staged.upper} of {staged.table} cannot be read: {staged.path}",
        hint="restore the file; or `tape recover`, which makes it again from the frames",
    )
