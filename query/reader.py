"""A store that is read: its tables now or as they were, and the database that answers queries about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors.catalog import LakeError
from connectors.errors import Unknown, unknown
from connectors.tail import Tails
from connectors.tokens import tokens_of
from query.database import DUCKDB, SETTINGS
from query.files import Between, Index
from query.view import Part, View
from schemas import Frame
from schemas.iceberg import TABLES, arrow_schema

# Every shard keeps a frame a second while it is captured: the last before a moment is not older than that.
QUIET = 60_000_000


class AsOf(Struct, frozen=True):
    """Which past is asked about: a snapshot of any table, a tag, or what was received until a moment."""

    snapshot: int | None = None
    tag: str | None = None
    received: int | None = None


class Reader:
    """Reads the tables of one store; may be used by several threads at once."""

    def __init__(self, catalog: Catalog, directory: Path, kind: Literal["live", "simulated"]) -> None:
        self.simulated = kind == "simulated"
        self._catalog, self.directory = catalog, directory
        self._indexes = {record_type: Index() for record_type in TABLES}
        self._tails = {record_type: Tails(directory, record_type) for record_type in TABLES}
        self._tables: dict[str, Table] = {}
        self.database = duckdb.connect(":memory:", config=DUCKDB)
        self.database.execute(SETTINGS)

    def at(self, record_type: type[Struct], as_of: AsOf | None = None) -> View:
        """A table now, or as it was."""
        name = TABLES[record_type].name
        try:
            table, tail = self._tails[record_type].unpublished(lambda: self.load(name))
        except NoSuchTableError as error:
            raise LakeError(f"{name} does not exist yet", hint="`make run` makes it and fills it") from error
        snapshot, cut = table.current_snapshot(), None
        if as_of is not None and as_of.received is not None:
            cut = self._received(as_of.received)
        elif as_of is not None:
            snapshot, tail = self._past(table, as_of), arrow_schema(record_type).empty_table()
        files = self._indexes[record_type].files(table, snapshot)
        return View(record_type, table, snapshot, files, tail, cut)

    def ask(
        self, sql: str, *parts: Part, sources: Mapping[str, Any] | None = None, **parameters: Any
    ) -> pa.Table:
        """The answer to a query about parts, Arrow tables and bound values, each by its name."""
        registered = dict(sources or {})
        for part in parts:
            parameters |= part.parameters
            registered |= part.sources
        cursor = self.database.cursor()
        try:
            for name, source in registered.items():
                cursor.register(name, source)
            return cursor.sql(sql, params=parameters).to_arrow_table()
        finally:
            cursor.close()

    def load(self, name: str) -> Table:
        """The newest of a table; read again only if somebody has committed to it."""
        known = self._tables.get(name)
        if known is None or known.metadata_location != self._pointer(name):
            known = self._tables[name] = self._catalog.load_table(name)
        return known

    def _pointer(self, name: str) -> str | None:
        """Where the newest metadata is, where that can be asked for alone."""
        if not isinstance(self._catalog, SqlCatalog):
            return None
        namespace, _, table = name.rpartition(".")
        with Session(self._catalog.engine) as session:
            return session.scalar(
                select(IcebergTables.metadata_location).where(
                    IcebergTables.catalog_name == self._catalog.name,
                    IcebergTables.table_namespace == namespace,
                    IcebergTables.table_name == table,
                )
            )

    def _past(self, table: Table, as_of: AsOf) -> Snapshot | None:
        """The snapshot that is meant; where it is another table's, the one that there was at its time."""
        if as_of.tag is not None:
            found = table.snapshot_by_name(as_of.tag)
            if found is None:
                raise unknown("tag", as_of.tag, table.metadata.refs)
            return found
        assert as_of.snapshot is not None
        own = table.snapshot_by_id(as_of.snapshot)
        if own is not None:
            return own
        for listed in TABLES.values():
            meant = self.load(listed.name).snapshot_by_id(as_of.snapshot)
            if meant is not None:
                before = [one for one in table.metadata.snapshots if one.timestamp_ms <= meant.timestamp_ms]
                return max(before, key=lambda one: one.timestamp_ms, default=None)
        raise Unknown("snapshot", str(as_of.snapshot), hint="`tape stats --snapshots` lists them")

    def _received(self, moment: int) -> Mapping[str, int]:
        """By shard: the position of the last frame that was received until then."""
        frames = self.at(Frame)
        known: dict[str, int] = {}
        for since in (moment - QUIET, None):
            part = frames.part({"received": Between(since, moment)}, columns=("shard", "position"))
            rows = self.ask(f"select shard, max(position) as last from ({part.sql}) group by shard", part)
            known = {row["shard"]: row["last"] for row in rows.to_pylist()} | known
            if known.keys() >= tokens_of(frames.table).keys():
                break
        return known
