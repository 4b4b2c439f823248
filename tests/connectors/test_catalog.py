"""Tables are made once, grown where a release writes more, and refused where it cannot write."""

import threading
from pathlib import Path
from uuid import UUID

import pytest
from pyiceberg.exceptions import ForbiddenError, ServiceUnavailableError
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

from connectors.catalog import PROPERTIES, LakeError, is_outage, make_tables, open_catalog, open_table
from connectors.slots import Store, open_store
from schemas import DeadLetter, Frame, Gap, Trade
from schemas.iceberg import TABLES, iceberg_schema
from tests.campaigns.lake_driver import Job, check, drive
from tests.services.lakes import KINDS, Place, Servers


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path, "simulated", ("binance-0",))


@pytest.fixture
def place(request: pytest.FixtureRequest, lake_servers: Servers) -> Place:
    return lake_servers.place(request.param)


everywhere = pytest.mark.parametrize("place", KINDS, indirect=True)


@pytest.mark.parametrize("record_type", TABLES)
def test_a_table_is_made_as_it_is_described(record_type: type, store: Store, tmp_path: Path) -> None:
    table = open_table(open_catalog(tmp_path), record_type, store)
    assert table.schema() == iceberg_schema(record_type)
    assert [field.name for field in table.spec().fields][1] == "exchange"
    assert len(table.sort_order().fields) == len(TABLES[record_type].sort)
    assert PROPERTIES.items() <= table.properties.items() | {("format-version", "2")}
    assert (table.properties["tape.store"], table.properties["tape.kind"]) == (store.store_id, "simulated")
    assert table.metadata.format_version == 2


@everywhere
def test_many_may_be_first(place: Place, store: Store, tmp_path: Path) -> None:
    made: list[list[UUID]] = []

    def first() -> None:
        catalog = place.open(tmp_path)
        make_tables(catalog, store, tmp_path)
        tables = [catalog.load_table(listed.name) for listed in TABLES.values()]
        made.append([table.metadata.table_uuid for table in tables])

    threads = [threading.Thread(target=first) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [made[0]] * 4


@everywhere
def test_a_grown_table_keeps_its_ids_and_gets_what_it_lacks(
    place: Place, store: Store, tmp_path: Path
) -> None:
    """One that began with fewer columns in another order, and that somebody else has added to."""
    catalog = place.open(tmp_path)
    late = {"notional", "series", "vendor_data", "shard"}
    fields = [field for field in iceberg_schema(Trade).fields if field.name not in late]
    catalog.create_namespace("silver")
    table = catalog.create_table("silver.trades", Schema(*reversed(fields)))
    with table.update_schema() as update:
        update.add_column("note", StringType())
    before = {field.name: field.field_id for field in table.schema().fields}
    grown = open_table(catalog, Trade, store)
    after = {field.name: field.field_id for field in grown.schema().fields}
    assert before.items() <= after.items()
    assert after.keys() == {*iceberg_schema(Trade).column_names, "note"} - {"trade_conditions.element"}


def test_rows_fill_a_grown_table(store: Store, tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    for record_type in (Frame, Trade, DeadLetter, Gap):
        with open_table(catalog, record_type, store).update_schema() as update:
            update.add_column("note", StringType())
            update.move_first("note")
    job = Job(str(tmp_path), ("binance-0",), 100)
    drive(job)
    assert check(job, ("binance-0",)) == []
    assert set(catalog.load_table("silver.trades").scan().to_arrow()["note"].to_pylist()) == {None}


def without(name: str, *others: NestedField) -> Schema:
    """The table of gaps as another release would have it."""
    return Schema(*(field for field in iceberg_schema(Gap).fields if field.name != name), *others)


@everywhere
@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (
            without("symbol", NestedField(99, "symbol", LongType(), required=False)),
            "keeps symbol as long, this",
        ),
        (
            without("", NestedField(99, "severity", LongType(), required=True)),
            "needs a column severity, which",
        ),
        (without("status"), "lacks a column status, which would be missing from the rows that it has"),
        (
            without("ended", NestedField(99, "ended", TimestamptzType(), required=True)),
            "needs ended in every row, this release may leave it empty",
        ),
    ],
)
def test_any_other_change_is_refused_and_nothing_is_changed(
    kept: Schema, problem: str, place: Place, store: Store, tmp_path: Path
) -> None:
    catalog = place.open(tmp_path)
    catalog.create_namespace("silver")
    before = catalog.create_table("silver.gaps", kept).metadata
    with pytest.raises(LakeError, match=f"silver.gaps {problem}"):
        open_table(catalog, Gap, store)
    assert catalog.load_table("silver.gaps").metadata == before


def test_automatic_retries_stay_off(store: Store, tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    with open_table(catalog, Gap, store).transaction() as change:
        change.set_properties({"commit.retry.num-retries": "4"})
    assert open_table(catalog, Gap, store).properties["commit.retry.num-retries"] == "0"


def test_a_directory_with_a_blank_is_that_directory(tmp_path: Path) -> None:
    directory = tmp_path / "my data"
    store = open_store(directory, "simulated", ("binance-0",))
    open_table(open_catalog(directory), Frame, store)
    assert (directory / "lake" / "bronze" / "frames" / "metadata").is_dir()


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(28, "No space left on device"), True),
        (ConnectionError(), True),
        (ServiceUnavailableError(), True),
        (PermissionError(13, "denied"), False),
        (ForbiddenError(), False),
        (KeyError("bug"), False),
    ],
)
def test_what_passes_by_itself(error: Exception, passes: bool) -> None:
    assert is_outage(error) is passes
