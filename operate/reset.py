"""`tape reset`: a fresh start: what a store holds is shown, removed when told so, and looked for once more.

Nothing of another store is ever touched: a table is ours by the store's id in its properties. Tables may be
outside of the store's directory: they are noted before they go, so that a reset that was cut short can go on.
"""

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from connectors.failpoints import failpoint
from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from connectors.mode import Kind
    from connectors.settings import Settings
    from operate.cli import Session

# In the store's directory: the tables whose removal began.
BEGUN = "reset.jsonl"

# Requests to an object store at a time: one takes some ten milliseconds.
REQUESTS = 16

COLUMNS = ("what", "place", "rows", "bytes")


class Ours(msgspec.Struct, frozen=True):
    """A table of the store."""

    store: str
    name: str
    uuid: str
    location: str


@click.command("reset")
@click.option("--live", is_flag=True, help="The live store; without, the simulated one.")
@click.option("--yes", is_flag=True, help="Remove it; without, only what would be removed is shown.")
@json_option
@click.pass_context
def command(context: click.Context, live: bool, yes: bool, as_json: bool) -> None:
    """Show what a store holds, and remove it: a fresh start.

    Journals, recovery files, tables with their data, and the remembered mode. No flow may be running.
    """
    from connectors.slots import held

    session: Session = context.obj
    reset = Reset(session.settings(), "live" if live else "simulated")
    journals = reset.directory / "journal"
    shards = sorted(path.name for path in journals.iterdir()) if journals.is_dir() else []
    with held(reset.directory, shards, time.time_ns() // 1_000):
        rows = list(reset.rows())
        print_rows(rows, as_json=as_json, columns=COLUMNS)
        for line in reset.foreign():
            click.echo(line, err=True)
        if not yes:
            words = "tape reset --live --yes" if live else "tape reset --yes"
            promise = f"would remove all of this, for ever: `{words}` does it"
            click.echo(promise if rows else f"there is no {reset.kind} store", err=True)
            return
        reset.remove()
    if left := list(reset.rows()):
        click.echo("this is left:", err=True)
        print_rows(left, as_json=as_json)
        context.exit(1)
    click.echo(f"nothing is left of the {reset.kind} store: the next start begins anew", err=True)


class Reset:
    """One store, and all that belongs to it."""

    def __init__(self, settings: "Settings", kind: "Kind") -> None:
        from connectors.disk import lines
        from connectors.mode import store
        from connectors.slots import read

        self.kind = kind
        self._settings = settings.lake
        self._mode = settings.data_dir / "mode"
        self.directory = store(settings.data_dir, kind)
        self._begun = {table.uuid: table for table in lines(self.directory / BEGUN, Ours)}
        found = read(self.directory)
        self._access: dict[str, Any] = {}  # how to get at files, as the table loaded last said
        self._store = found.store_id if found else next((each.store for each in self._begun.values()), "")

    def rows(self) -> Iterator[dict[str, object]]:
        """All that is there, with rows and bytes; a folder without the tables in it."""
        catalog = self._catalog()
        counted: dict[Path, int] = {}
        for table in self._tables(catalog):
            rows, size = rows_of(catalog, table), sum(file.size for file in self._files(table))
            if rows is not None or size:
                counted[Path(table.location.removeprefix("file://"))] = size
                yield dict(zip(COLUMNS, (f"table {table.name}", table.location, rows, size), strict=True))
        for path in sorted(self.directory.iterdir()) if self.directory.is_dir() else ():
            inside = (size for place, size in counted.items() if place.is_relative_to(path.absolute()))
            size = bytes_of(path) - sum(inside)
            yield dict(zip(COLUMNS, (path.name, str(path), None, size), strict=True))
        if self._is_remembered():
            values = "mode", str(self._mode), None, bytes_of(self._mode)
            yield dict(zip(COLUMNS, values, strict=True))

    def foreign(self) -> Iterator[str]:
        """What is left alone, because it is not this store's."""
        for table in self._listed(self._catalog()):
            if not self._is_ours(table):
                yield f"left alone: table {table.name} of store {table.store or '?'} in {table.location}"

    def remove(self) -> None:
        """Remove the tables, then everything else; may be cut short anywhere and done again."""
        from connectors.disk import append_line

        catalog = self._catalog()
        tables = self._tables(catalog)
        for table in tables:
            self._refuse_shared(table)
        for table in tables:
            self._begun[table.uuid] = table
            append_line(self.directory / BEGUN, table)
            if rows_of(catalog, table) is not None:
                assert catalog is not None
                catalog.drop_table(table.name)
            failpoint("reset.dropped")
            files, path = self._place(table)
            if files.type_name == "local":
                shutil.rmtree(path, ignore_errors=True)
            else:  # one by one: a key for the table's own files need not open what is above them
                with ThreadPoolExecutor(REQUESTS) as requests:
                    list(requests.map(files.delete_file, [file.path for file in self._files(table)]))
        if self.directory.exists():
            shutil.rmtree(self.directory)
        if self._is_remembered():
            self._mode.unlink()

    def _is_remembered(self) -> bool:
        return self._mode.is_file() and self._mode.read_text().strip() == self.kind

    def _catalog(self) -> "Catalog | None":
        """The catalog, if there is one: none is made by looking."""
        from connectors.catalog import at_once, open_catalog

        chosen = self._settings
        if not chosen.catalog and not (self.directory / "catalog.db").exists():
            return None
        access = chosen.access()
        catalog = at_once(partial(open_catalog, self.directory, chosen.catalog, chosen.warehouse, **access))
        self._access |= catalog.properties
        return catalog

    def _tables(self, catalog: "Catalog | None") -> list[Ours]:
        """The tables of the store, those included whose removal was begun."""
        listed = {table.uuid: table for table in self._listed(catalog) if self._is_ours(table)}
        return list((self._begun | listed).values())

    def _is_ours(self, table: Ours) -> bool:
        """Whether a table that the catalog has is this store's."""
        if self._settings.catalog or self._settings.warehouse:
            return table.store == self._store
        # A catalog that was copied with its store still names the files of the one that it was copied from.
        return Path(table.location.removeprefix("file://")).is_relative_to(self.directory.absolute())

    def _listed(self, catalog: "Catalog | None") -> Iterator[Ours]:
        """The tables of the catalog under names of ours, whosever they are."""
        from connectors.catalog import LakeError
        from schemas.iceberg import TABLES

        for name in sorted(table.name for table in TABLES.values()):
            try:
                table = loaded(catalog, name)
            except FileNotFoundError as error:
                if not self._settings.catalog:
                    continue  # it goes with the catalog's own file
                raise LakeError(
                    f"whose table {name} is cannot be told: its metadata is gone ({error})",
                    hint="drop it by the means of the catalog, and reset again",
                ) from error
            if table is not None:
                store, uuid = table.properties.get("tape.store", ""), str(table.metadata.table_uuid)
                self._access |= table.io.properties
                yield Ours(store, name, uuid, table.location())

    def _refuse_shared(self, table: Ours) -> None:
        """Refuse a folder that is another table's as well: two catalogs with one warehouse do that."""
        from connectors.catalog import LakeError

        files, _ = self._place(table)
        for file in self._files(table):
            if not file.path.endswith(".metadata.json"):
                continue
            with files.open_input_stream(file.path) as stream:
                uuid = msgspec.json.decode(stream.read(), type=dict[str, Any])["table-uuid"]
            if uuid != table.uuid:
                raise LakeError(
                    f"{table.location} holds files of another table too, which {file.path} describes",
                    hint=f"drop {table.name} by the means of the catalog, and reset again",
                )

    def _files(self, table: Ours) -> list[Any]:
        """All files of a table, whoever knows them."""
        from pyarrow.fs import FileSelector

        files, path = self._place(table)
        found = files.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
        return [info for info in found if info.is_file]

    def _place(self, table: Ours) -> tuple[Any, str]:
        """The file system that a table is in, and its path there."""
        from pyiceberg.io.pyarrow import PyArrowFileIO

        scheme, place, path = PyArrowFileIO.parse_location(table.location)
        return PyArrowFileIO(self._access).fs_by_scheme(scheme, place), path


def loaded(catalog: "Catalog | None", name: str) -> "Table | None":
    """The table, if the catalog has it; FileNotFoundError where only its metadata is gone."""
    from pyiceberg.exceptions import NoSuchTableError

    try:
        return catalog.load_table(name) if catalog else None
    except NoSuchTableError:
        return None


def rows_of(catalog: "Catalog | None", table: Ours) -> int | None:
    """How many rows a table has; None where the catalog has it no more."""
    try:
        found = loaded(catalog, table.name)
    except FileNotFoundError:
        return None
    if found is None or str(found.metadata.table_uuid) != table.uuid:
        return None
    head = found.current_snapshot()
    return int(head.summary["total-records"] or 0) if head and head.summary else 0


def bytes_of(path: Path) -> int:
    """What a file holds, or all files in a folder."""
    paths = path.rglob("*") if path.is_dir() else [path]
    return sum(each.stat().st_size for each in paths if each.is_file())
