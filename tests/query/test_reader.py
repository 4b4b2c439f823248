"""A store that is read: what is loaded when, what is said when nothing is there, what is out of reach."""

from pathlib import Path

import duckdb
import pytest

from connectors.catalog import LakeError, open_catalog, open_table
from connectors.slots import open_store
from query.reader import AsOf, Reader
from schemas import Trade
from tests.campaigns.kept import Kept


def test_a_table_is_loaded_again_only_when_somebody_has_committed(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated", ("binance-0",))
    catalog = open_catalog(tmp_path)
    table = open_table(catalog, Trade, store)
    reader = Reader(open_catalog(tmp_path), tmp_path, "simulated")
    first = reader.load("silver.trades")
    assert reader.load("silver.trades") is first
    with table.transaction() as change:
        change.set_properties({"tape.test": "1"})
    second = reader.load("silver.trades")
    assert second is not first
    assert second.properties["tape.test"] == "1"


def test_a_table_that_nobody_made_is_told(tmp_path: Path) -> None:
    reader = Reader(open_catalog(tmp_path), tmp_path, "live")
    assert not reader.simulated
    with pytest.raises(LakeError, match=r"silver\.trades does not exist yet") as told:
        reader.at(Trade)
    assert "make run" in told.value.hint


def test_a_moment_before_everything_is_empty(kept: Kept) -> None:
    view = kept.reader.at(Trade, AsOf(received=1))
    assert view.cut == {}
    part = view.part({})
    assert kept.reader.ask(f"from ({part.sql})", part).num_rows == 0


def test_queries_see_no_variables_of_ours_and_load_nothing(kept: Kept) -> None:
    secret = kept.reader.at(Trade).tail
    assert secret is not None
    with pytest.raises(duckdb.CatalogException):
        kept.reader.ask("from secret")
    with pytest.raises(duckdb.Error):
        kept.reader.ask("load httpfs")
