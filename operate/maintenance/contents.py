"""What a table holds: the files of its newest snapshot, all that its snapshots name, all that is there."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct
from pyarrow.fs import FileSelector
from pyiceberg.conversions import from_bytes
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import NestedField, PrimitiveType

from connectors.staging import DAY
from schemas.iceberg import TABLES


class Held(NamedTuple):
    """A data file of the newest snapshot."""

    file: DataFile
    day: int  # since 1970
    exchange: str
    begin: int  # the time of its first row
    end: int  # and of its last
    rows: int
    bytes: int


def held(table: Table, record_type: type[Struct]) -> list[Held]:
    """All data files of the table that are partitioned as it is now."""
    head = table.current_snapshot()
    if head is None:
        return []
    field = table.schema().find_field(TABLES[record_type].time)
    spec = table.metadata.default_spec_id
    found = []
    for manifest in head.manifests(table.io):
        if not manifest.has_added_files() and not manifest.has_existing_files():
            continue
        for entry in manifest.fetch_manifest_entry(table.io):
            file = entry.data_file
            if file.spec_id != spec:
                continue
            day, exchange = file.partition[0], file.partition[1]
            begin = _bound(field, file.lower_bounds, day * DAY)
            end = _bound(field, file.upper_bounds, (day + 1) * DAY - 1)
            found.append(Held(file, day, exchange, begin, end, file.record_count, file.file_size_in_bytes))
    return found


def _bound(field: NestedField, bounds: Mapping[int, bytes] | None, otherwise: int) -> int:
    """A bound of a column, if whoever wrote the file has said it."""
    assert isinstance(field.field_type, PrimitiveType)
    found = (bounds or {}).get(field.field_id)
    return int(from_bytes(field.field_type, found)) if found else otherwise


def manifests_of(table: Table, snapshots: Iterable[Snapshot]) -> dict[str, ManifestFile]:
    """The manifests of snapshots, by location."""
    return {
        manifest.manifest_path: manifest
        for snapshot in snapshots
        for manifest in snapshot.manifests(table.io)
    }


def data_of(table: Table, manifests: Iterable[ManifestFile]) -> set[str]:
    """The locations of the files that manifests hold."""
    return {
        entry.data_file.file_path
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(table.io)
    }


def named(table: Table) -> set[str]:
    """All that the metadata of a table names, each by its path in its store."""
    metadata = table.metadata
    manifests = manifests_of(table, metadata.snapshots)
    locations = {table.metadata_location, *(entry.metadata_file for entry in metadata.metadata_log)}
    locations |= {snapshot.manifest_list for snapshot in metadata.snapshots}
    locations |= {file.statistics_path for file in (*metadata.statistics, *metadata.partition_statistics)}
    locations |= manifests.keys() | data_of(table, manifests.values())
    return {path_of(location) for location in locations}


def path_of(location: str) -> str:
    """Where a location is in its store."""
    return PyArrowFileIO.parse_location(location)[2]


class Stored(NamedTuple):
    """A file that is there, whoever knows it."""

    path: str
    bytes: int
    modified: int


def stored(table: Table) -> Iterator[Stored]:
    """Every file below the location of a table."""
    scheme, netloc, path = PyArrowFileIO.parse_location(table.location())
    io = table.io
    assert isinstance(io, PyArrowFileIO)
    found = io.fs_by_scheme(scheme, netloc).get_file_info(
        FileSelector(path, recursive=True, allow_not_found=True)
    )
    for info in found:
        if info.is_file:
            yield Stored(info.path, info.size, info.mtime_ns // 1_000)
