"""Which data files of a table can hold the rows that are asked for. Each manifest is read once: a commit adds
one, and what the others say never changes.

What a file's bounds do not say, it may hold.
"""

from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any, NamedTuple

from msgspec import Struct
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import PrimitiveType

# By which files are told apart; the writers keep their bounds in full.
BOUNDED = {"timestamp", "received", "found", "window_start", "platform_sequence", "position", "trade_id"} | {
    "symbol",
    "exchange",
}
# Beyond what a snapshot has: as many as the commits of a day, merged a hundred at a time.
MANIFESTS_KEPT_MAX = 1_000
# The newest, and a few that somebody travels to.
SNAPSHOTS_KEPT_MAX = 8


class Between(NamedTuple):
    """What a column may be: both ends included, none where it is None."""

    low: Any = None
    high: Any = None


def only(value: Any) -> Between:
    """One value."""
    return Between(value, value)


# Conditions by column; all of them hold.
Wanted = Mapping[str, Between]


class Scope(Struct, frozen=True):
    """What a question is about: one venue or all, one symbol or all, and when, its end excluded."""

    exchange: str | None = None
    symbol: str | None = None
    since: int | None = None
    until: int | None = None

    def wanted(self, time: str) -> Wanted:
        """As conditions, on rows that say by this column when they happened."""
        named = {"exchange": self.exchange, "symbol": self.symbol}
        wanted = {column: only(value) for column, value in named.items() if value is not None}
        if self.since is not None or self.until is not None:
            wanted[time] = Between(self.since, None if self.until is None else self.until - 1)
        return wanted


class File(NamedTuple):
    """What the table says of one data file."""

    path: str
    rows: int
    size: int
    bounds: Mapping[str, Between]

    def can_hold(self, wanted: Wanted) -> bool:
        """Whether a row in it can be as wanted."""
        for column, (low, high) in wanted.items():
            known = self.bounds.get(column)
            if known is not None and (
                (low is not None and known.high < low) or (high is not None and known.low > high)
            ):
                return False
        return True


class Files(NamedTuple):
    """All data files of a snapshot."""

    all: tuple[File, ...] = ()
    has_deletes: bool = False  # some of the rows in them are no longer part of the table

    def holding(self, wanted: Wanted) -> list[File]:
        """Those that can hold rows as wanted."""
        return [file for file in self.all if file.can_hold(wanted)]

    def bound(self, column: str, wanted: Wanted) -> Between:
        """The lowest and highest value of a column in those files."""
        known = [file.bounds[column] for file in self.holding(wanted) if column in file.bounds]
        if not known:
            return Between()
        return Between(min(one.low for one in known), max(one.high for one in known))


class Index:
    """The data files of one table, of its snapshots that were asked for lately."""

    def __init__(self) -> None:
        self._manifests: dict[str, tuple[File, ...]] = {}
        self._snapshots: dict[int, Files] = {}
        self._turn = Lock()

    def files(self, table: Table, snapshot: Snapshot | None) -> Files:
        """The files of a snapshot; only manifests that were never seen are read."""
        if snapshot is None:
            return Files()
        with self._turn:
            known = self._snapshots.pop(snapshot.snapshot_id, None)
            if known is None:
                known = self._read(table, snapshot)
            self._snapshots[snapshot.snapshot_id] = known  # the last used comes last
            while len(self._snapshots) > SNAPSHOTS_KEPT_MAX:
                del self._snapshots[next(iter(self._snapshots))]
            return known

    def _read(self, table: Table, snapshot: Snapshot) -> Files:
        found: list[File] = []
        has_deletes = False
        paths = set()
        for manifest in snapshot.manifests(table.io):
            if manifest.content == ManifestContent.DELETES:
                has_deletes = True
                continue
            paths.add(manifest.manifest_path)
            if manifest.manifest_path not in self._manifests:
                self._manifests[manifest.manifest_path] = tuple(entries(table, manifest))
            found += self._manifests[manifest.manifest_path]
        if len(self._manifests) > len(paths) + MANIFESTS_KEPT_MAX:
            self._manifests = {path: files for path, files in self._manifests.items() if path in paths}
        return Files(tuple(found), has_deletes)


def entries(table: Table, manifest: ManifestFile) -> Iterator[File]:
    """The files that a manifest adds or keeps."""
    listed = [
        (field.field_id, field.name, field.field_type)
        for field in table.schema().fields
        if field.name in BOUNDED and isinstance(field.field_type, PrimitiveType)
    ]
    for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
        file = entry.data_file
        lower, upper = file.lower_bounds or {}, file.upper_bounds or {}
        bounds = {
            name: Between(from_bytes(kind, lower[number]), from_bytes(kind, upper[number]))
            for number, name, kind in listed
            if number in lower and number in upper
        }
        yield File(file.file_path, file.record_count, file.file_size_in_bytes, bounds)
