"""What a table holds, told from its metadata, is what is on the disk."""

from pathlib import Path
from typing import Any

from connectors.staging import DAY
from operate.maintenance.contents import held, named, path_of, stored
from schemas import Quote, Trade
from tests.campaigns.lake_driver import START


def test_files_are_told_with_their_days_venues_and_times(filled: Any) -> None:
    filled.drive(600, epoch_frames=600)
    table = filled.catalog.load_table("silver.trades")
    files = held(table, Trade)
    rows = table.scan().to_arrow()
    assert {(one.day, one.exchange) for one in files} == {
        (START // DAY + day, exchange) for day in (0, 1) for exchange in ("binance", "kraken")
    }
    times = rows["timestamp"].cast("int64").to_pylist()
    assert (min(one.begin for one in files), max(one.end for one in files)) == (min(times), max(times))
    assert sum(one.rows for one in files) == rows.num_rows
    assert held(filled.catalog.load_table("silver.quotes"), Quote) == []


def test_all_that_is_there_is_named(filled: Any) -> None:
    filled.drive(60)
    table = filled.catalog.load_table("silver.trades")
    there = {one.path for one in stored(table)}
    assert there == {str(path) for path in Path(path_of(table.location())).rglob("*") if path.is_file()}
    assert there == named(table)


def test_paths_are_those_of_the_store() -> None:
    assert path_of("s3://bucket/lake/a.parquet") == "bucket/lake/a.parquet"
    assert path_of("file:///lake/a.parquet") == "/lake/a.parquet"
