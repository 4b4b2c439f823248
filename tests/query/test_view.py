"""A table at an instant: whichever way its files are read, the rows are the same."""

from pathlib import Path

import pyarrow as pa
import pytest

from connectors.catalog import open_catalog, open_table
from connectors.slots import open_store
from connectors.staging import fitted
from query import view as views
from query.files import Between, Scope, only
from query.reader import Reader
from query.view import View, is_plain, moment
from schemas import Trade
from schemas.iceberg import to_arrow
from tests.campaigns.kept import Kept, as_trade

WAYS = [
    [{}],
    [Scope("binance", "BTC0-USDT").wanted("timestamp")],
    [{"symbol": only("BTC0-USDT"), "platform_sequence": Between(500, None)}, {"symbol": only("SOL1-USDT")}],
    [{"symbol": Between(None, "BTC1-USDT")}],
    [],
]


def ids(reader: Reader, view: View, ways: list) -> list[str]:
    part = view.part(*ways, columns=("message_id", "price", "trade_conditions"))
    return sorted(reader.ask(f"from ({part.sql})", part).column("message_id").to_pylist())


@pytest.mark.parametrize("ways", WAYS)
def test_rows_are_the_same_however_files_are_read(
    kept: Kept, ways: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = kept.reader.at(Trade)
    plain = ids(kept.reader, view, ways)
    assert bool(plain) == bool(ways)
    deleted = view._replace(files=view.files._replace(has_deletes=True))
    assert ids(kept.reader, deleted, ways) == plain
    monkeypatch.setattr(views, "is_plain", lambda _: False)
    assert ids(kept.reader, view, ways) == plain


def test_between_times_too(kept: Kept) -> None:
    view = kept.reader.at(Trade)
    times = sorted(row["timestamp"] for row in kept.rows["Trade"])
    wanted = Scope(since=times[100], until=times[300]).wanted("timestamp")
    found = ids(kept.reader, view, [wanted])
    assert found == sorted(
        row["message_id"] for row in kept.rows["Trade"] if times[100] <= row["timestamp"] < times[300]
    )
    deleted = view._replace(files=view.files._replace(has_deletes=True))
    assert ids(kept.reader, deleted, [wanted]) == found


def test_a_file_from_before_a_column_came_is_read(kept: Kept, tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated", ("binance-0",))
    catalog = open_catalog(tmp_path)
    rows = pa.Table.from_batches([to_arrow(Trade, [as_trade(kept.rows["Trade"][0])])])
    for removed in (["origin"], []):
        table = open_table(catalog, Trade, store)
        with table.update_schema() as change:
            for column in removed:
                change.delete_column(column)
        table = catalog.load_table("silver.trades")
        table.append(fitted(table, rows))
    reader = Reader(catalog, tmp_path, "simulated")
    part = reader.at(Trade).part({})
    found = reader.ask(f"from ({part.sql})", part)
    assert found["trade_id"].to_pylist() == rows["trade_id"].to_pylist() * 2
    assert sorted(found["origin"].to_pylist(), key=str) == [None, "live"]


def test_names_that_look_like_patterns_are_not_left_to_duckdb() -> None:
    assert is_plain({"file:///a/b.parquet": None, "/a/c.parquet": None})  # type: ignore[dict-item]
    for path in ("file:///a/[b].parquet", "file:///a/*.parquet", "s3://a/b.parquet"):
        assert not is_plain({path: None})  # type: ignore[dict-item]


def test_a_moment_keeps_its_microseconds() -> None:
    assert (
        pa.scalar(moment(1_795_274_164_000_001)).cast(pa.timestamp("us", "UTC")).value
        == 1_795_274_164_000_001
    )
