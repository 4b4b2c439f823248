"""The catalog of the lake: how it is opened, and how our tables are made or grown before we write to them.

A table is never narrowed and a column never changed: what this release does not know is left as it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    CommitStateUnknownException,
    NoSuchNamespaceError,
    NoSuchTableError,
    NotInstalledError,
    RESTError,
    ServerError,
    ServiceUnavailableError,
    TableAlreadyExistsError,
    TooManyRequestsError,
)
from pyiceberg.io import load_file_io
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from sqlalchemy.exc import DatabaseError, IntegrityError, InterfaceError, OperationalError

from connectors import files
from connectors.errors import TapeError
from connectors.servers import catalog_properties, refusal, store_properties, words
from connectors.slots import Store, locked
from schemas.iceberg import TABLES, iceberg_schema, partition_spec, sort_order

# The name under which SQL catalogs keep our tables: other engines give it as the catalog's name.
NAME = "tape"

# What passes by itself: the catalog or store is away, full, locked or busy. Anything else ends the process.
OUTAGES = (
    OSError,  # disks, object stores and, by inheritance, every failed request
    OperationalError,
    InterfaceError,
    CommitFailedException,
    CommitStateUnknownException,
    ServerError,
    ServiceUnavailableError,
    TooManyRequestsError,
)

PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    "commit.manifest-merge.enabled": "true",  # or planning costs 1.6 ms more with every commit
    "write.metadata.previous-versions-max": "10",
    "write.metadata.delete-after-commit.enabled": "true",  # or the folder grows with the square of commits
    "commit.retry.num-retries": "0",  # an automatic retry lets a writer that was replaced commit again
    "write.delete.isolation-level": "snapshot",  # or compaction always loses to a stream
    "write.update.isolation-level": "snapshot",
    "write.metadata.metrics.default": "none",
    "history.expire.min-snapshots-to-keep": "100",
}

# Two processes that start together may each be first, once for each step that both take.
ATTEMPTS_MAX = 5


class LakeError(TapeError):
    """The lake cannot be used as asked."""


class Refused(LakeError):
    """A server said no: somebody must do something about it."""


def is_outage(error: BaseException) -> bool:
    """Whether waiting helps; to be refused does not pass by itself."""
    return isinstance(error, OUTAGES) and refusal(error) is None


@contextmanager
def explained() -> Iterator[None]:
    """What somebody must do something about is an error of ours; what passes by itself stays what it is."""
    try:
        yield
    except (*OUTAGES, RESTError, NotInstalledError, DatabaseError) as error:
        hint = refusal(error)
        if hint is None:
            raise
        raise Refused(f"the lake cannot be used: {words(error)}", hint=hint) from error


def open_catalog(
    directory: Path, uri: str = "", warehouse: str = "", *, secret: str = "", **s3: str
) -> Catalog:
    """The catalog at a URI, SQL or REST; without one a SQLite file beside the lake in the store's directory.

    What PyIceberg finds of its own in the environment adds to it.
    """
    directory = directory.absolute()
    if not uri:
        directory.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{directory / 'catalog.db'}"
    properties = catalog_properties(uri, warehouse, secret, directory) | store_properties(**s3)
    properties["py-io-impl"] = files.NAME
    for attempt in range(ATTEMPTS_MAX):
        try:
            with explained():
                return load_catalog(NAME, **properties)
        except DatabaseError as error:
            # Several may be the first that look at a database, and then each makes its tables.
            if "already exists" not in str(error) or attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def at_once(opened: Callable[[], Catalog]) -> Catalog:
    """The catalog for somebody who has never had it: what is mistyped must not look like an outage."""
    try:
        catalog = opened()
        with explained():
            catalog.list_namespaces()
            warehouse = catalog.properties.get("warehouse", "")
            # Where a REST catalog's tables are is its own affair.
            if catalog.properties.get("type") == "sql" and urlsplit(warehouse).scheme == "s3":
                load_file_io(catalog.properties, warehouse).new_input(f"{warehouse}/tape").exists()
    except (*OUTAGES, RESTError, NoSuchNamespaceError) as error:
        raise LakeError(
            f"the lake cannot be reached: {words(error)}",
            hint="see whether its servers run; set lake.catalog, lake.warehouse or lake.store_endpoint",
        ) from error
    return catalog


def make_tables(catalog: Catalog, store: Store, directory: Path) -> None:
    """All tables, made by one process of the store at a time.

    A REST catalog may tell each of two that it made a table, keep the later one, and forget with the other
    what has been written to it.
    """
    with locked(directory, "tables.lock"):
        for record_type in TABLES:
            open_table(catalog, record_type, store)


def open_table(catalog: Catalog, record_type: type[Struct], store: Store) -> Table:
    """The table that keeps records of this type, made or grown where needed."""
    for attempt in range(ATTEMPTS_MAX):
        try:
            with explained():
                return grown(found_or_made(catalog, record_type, store), record_type)
        # The last is how a SQL catalog says that somebody else is making the namespace at this moment.
        except (CommitFailedException, TableAlreadyExistsError, IntegrityError):
            if attempt == ATTEMPTS_MAX - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


def found_or_made(catalog: Catalog, record_type: type[Struct], store: Store) -> Table:
    """The table, as its catalog has it."""
    name = TABLES[record_type].name
    try:
        return catalog.load_table(name)
    except NoSuchTableError:
        catalog.create_namespace_if_not_exists(name.partition(".")[0])
        return catalog.create_table(
            name,
            iceberg_schema(record_type),
            partition_spec=partition_spec(record_type),
            sort_order=sort_order(record_type),
            properties=PROPERTIES
            | {"tape.store": store.store_id, "tape.kind": store.kind}
            | {f"write.metadata.metrics.column.{name}": "full" for name in bounded(record_type)},
        )


def bounded(record_type: type[Struct]) -> list[str]:
    """The columns whose bounds readers find rows by."""
    listed = TABLES[record_type]
    names = {listed.time, listed.position, "trade_id", "symbol", "exchange"}
    return [name for name in record_type.__struct_fields__ if name in names]


def grown(table: Table, record_type: type[Struct]) -> Table:
    """The table with every column that this release writes; ids of those it has are its own."""
    wanted, present = iceberg_schema(record_type), table.schema()
    refuse_changed(table, wanted)
    if set(wanted.column_names) - set(present.column_names):
        with table.update_schema() as update:
            update.union_by_name(wanted)
    if table.properties.get("commit.retry.num-retries") != "0":
        with table.transaction() as change:
            change.set_properties({"commit.retry.num-retries": "0"})
    return table


def refuse_changed(table: Table, wanted: Schema) -> None:
    """Refuse a table that this release cannot fill."""
    ours, theirs = ({field.name: field for field in each.fields} for each in (wanted, table.schema()))
    for name in [*theirs, *(name for name in ours if name not in theirs)]:
        mine, field = ours.get(name), theirs.get(name)
        if mine is None and field is not None and field.required:
            problem = f"needs a column {name}, which this release does not know"
        elif field is None and mine is not None and mine.required:
            problem = f"lacks a column {name}, which would be missing from the rows that it has"
        elif mine is None or field is None:
            continue
        elif str(mine.field_type) != str(field.field_type):
            problem = f"keeps {name} as {field.field_type}, this release as {mine.field_type}"
        elif field.required and not mine.required:
            problem = f"needs {name} in every row, this release may leave it empty"
        else:
            continue
        raise LakeError(
            f"{'.'.join(table.name())} {problem}", hint="run the release that wrote it, or a newer one"
        )
