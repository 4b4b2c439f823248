"""A16: files in a table's folder that no snapshot needs, and that nobody can still be about to publish.

A crash may leave a file that was staged and not published, which is no damage: only one that is older than
any commit under way counts. Nothing is removed here.
"""

import re
from collections.abc import Iterator
from typing import Any

from pyarrow.fs import FileSelector
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table

from operate.auditing.damage import noted
from operate.auditing.facts import Facts
from operate.auditing.reading import Opened, entries, refuse_changed

# Beyond the longest outage in which staged files wait, and the longest query that began before an expiry.
GRACE_SECONDS = 24 * 3_600
MICROSECONDS = 1_000_000

# How staged files are named: shard, and the first position of their rows.
STAGED = re.compile(r"/(?P<shard>[^/]+)-(?P<first>\d+)-[0-9a-f-]{36}\.parquet\Z")


def look(facts: Facts, found: Opened, now: int) -> None:
    """Note the files of one table that lie about."""
    table = found.table
    old = [path for path, time in listed(table) if now - time > GRACE_SECONDS * MICROSECONDS]
    needed = {place(table, file.path) for file in found.files}
    unknown = [path for path in old if path not in needed]
    if not unknown:
        return
    needed |= {place(table, path) for path in referenced(found)}
    refuse_changed(table, found.broken)
    for path in unknown:
        if path not in needed and not is_waiting(facts, found, path):
            facts.orphans.add(path)


def listed(table: Table) -> Iterator[tuple[str, int]]:
    """Every file below the table's folder, and when it was written."""
    io, root = files_of(table)
    scheme, authority, path = io.parse_location(root, io.properties)
    for file in io.fs_by_scheme(scheme, authority).get_file_info(FileSelector(path, recursive=True)):
        if file.is_file:
            yield file.path, file.mtime_ns // 1_000


def files_of(table: Table) -> tuple[PyArrowFileIO, str]:
    """How the files of a table are read, and where they are."""
    assert isinstance(table.io, PyArrowFileIO)
    return table.io, table.location()


def place(table: Table, location: str) -> str:
    """A location as a listing gives it."""
    io, _ = files_of(table)
    path: str = io.parse_location(location, io.properties)[2]
    return path


def referenced(found: Opened) -> Iterator[str]:
    """Every file that some snapshot, or the table itself, still names."""
    table, seen = found.table, set[str]()
    metadata: Any = table.metadata
    yield table.metadata_location
    yield from (entry.metadata_file for entry in metadata.metadata_log)
    yield from (each.statistics_path for each in (*metadata.statistics, *metadata.partition_statistics))
    for snapshot in metadata.snapshots:
        yield snapshot.manifest_list
        manifests: list[ManifestFile] = []
        with noted(found.broken, snapshot.manifest_list):
            manifests = [each for each in snapshot.manifests(table.io) if each.manifest_path not in seen]
        seen.update(manifest.manifest_path for manifest in manifests)
        yield from (manifest.manifest_path for manifest in manifests)
        for entry in entries(table, manifests, found.broken, discard_deleted=False):
            yield entry.data_file.file_path


def is_waiting(facts: Facts, found: Opened, path: str) -> bool:
    """Whether a file is staged and its rows are not published yet."""
    named = STAGED.search(path)
    token = facts.table(found.record_type).tokens.get(named["shard"]) if named else None
    return bool(named and token and int(named["first"]) > token.position)
