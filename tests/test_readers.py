"""Others read the tables that our flow writes, and find the same rows in them."""

import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from bytewax.recovery import init_db_dir
from pyiceberg.table import Table

from connectors.catalog import open_catalog
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, command

LACKING = "not installed (pip install --no-deps -r requirements-services.txt)"
daft = pytest.importorskip("daft", reason=f"daft is {LACKING}")
datafusion = pytest.importorskip("datafusion", reason=f"datafusion is {LACKING}")
polars = pytest.importorskip("polars", reason=f"polars is {LACKING}")

ROOT = Path(__file__).parent.parent
SHARDS = ("binance-0", "binance-1")
FRAMES = 1_000

Sums = tuple[int, Decimal, Decimal, int]  # rows, prices, quantities, positions


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Trades that the whole flow has published, from recorded journals."""
    directory = tmp_path_factory.mktemp("store")
    record(directory, SHARDS, FRAMES, 1)
    (directory / "recovery").mkdir()
    init_db_dir(directory / "recovery", 2)
    job = Job(str(directory), recovery=str(directory / "recovery"), sink="lake")
    subprocess.run(command(job), cwd=ROOT, check=True)
    return open_catalog(directory).load_table("silver.trades")


def by_pyiceberg(table: Table) -> Sums:
    rows = table.scan().to_arrow()
    price, quantity, position = (
        pc.sum(rows[name]).as_py() for name in ("price", "quantity", "platform_sequence")
    )
    return rows.num_rows, price, quantity, position


def by_polars(table: Table) -> Sums:
    names = ("price", "quantity", "platform_sequence")
    rows = polars.scan_iceberg(table.metadata_location).select(
        polars.len(), *(polars.sum(name) for name in names)
    )
    count, price, quantity, position = rows.collect().row(0)
    return count, price, quantity, position


def by_datafusion(table: Table) -> Sums:
    context = datafusion.SessionContext()
    context.register_table("trades", table)
    question = "select count(*), sum(price), sum(quantity), sum(platform_sequence) from trades"
    (row,) = context.sql(question).to_arrow_table().to_pylist()
    count, price, quantity, position = row.values()
    return count, price, quantity, position


def by_daft(table: Table) -> Sums:
    rows = daft.read_iceberg(table)
    wanted = [rows["price"].sum(), rows["quantity"].sum(), rows["platform_sequence"].sum()]
    (row,) = rows.agg(rows["trade_id"].count().alias("rows"), *wanted).to_pylist()
    return row["rows"], row["price"], row["quantity"], row["platform_sequence"]


@pytest.mark.filterwarnings("ignore:Iceberg scan planning with the polars_iceberg plugin")
@pytest.mark.parametrize("read", [by_polars, by_datafusion, by_daft])
def test_another_reader_finds_the_same_rows(table: Table, read: Callable[[Table], Sums]) -> None:
    wanted = by_pyiceberg(table)
    assert wanted[0] > FRAMES
    found: Any = read(table)
    assert found == wanted
