"""Orphans: what crashes leave goes in time, and what the flow has staged never."""

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException

from connectors import outages, publishing
from connectors.staging import stage
from operate.maintenance.jobs import Policy
from operate.maintenance.orphans import jobs, orphans
from schemas import Frame, Trade
from tests.campaigns.lake_driver import Driver, expected

NOW = Policy(10**18, orphan_seconds=0)


def names(found: list[Any]) -> set[str]:
    return {one.path.rpartition("/")[2] for one in found}


def test_what_nothing_names_and_nobody_waits_for_is_an_orphan(filled: Any) -> None:
    filled.drive(100)
    catalog = filled.catalog
    assert orphans(catalog, Trade, NOW) == []
    table = catalog.load_table("silver.trades")
    rows = expected(Trade, ("binance-0",), 100)
    [(published, _)] = stage(table, Trade, "binance-0", rows)
    folder = Path(table.location().removeprefix("file://"))
    torn = folder / "data" / "binance-0-7-00000000-0000-0000-0000-000000000000.parquet"
    torn.write_bytes(b"PAR1")
    race = folder / "metadata" / "00001-lost.metadata.json"
    race.write_bytes(b"{}")
    found = orphans(catalog, Trade, NOW)
    assert names(found) == {published.path.rpartition("/")[2], torn.name, race.name}
    assert orphans(catalog, Trade, Policy(found[0].modified + 1_000_000, orphan_seconds=60)) == []
    assert {job.do() for job in jobs(catalog, Trade, NOW)} == {"removed"}
    assert orphans(catalog, Trade, NOW) == []
    assert filled.wrong() == []


def test_what_the_flow_has_staged_is_never_an_orphan(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.drive(60)
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.01)
    commit = publishing.CachedTransaction.commit_transaction
    driver = Driver(filled.job(200))
    driver.start()

    def away(_: Any) -> None:
        raise CommitFailedException("away")

    monkeypatch.setattr(publishing, "CONFLICT_SECONDS_MAX", 0.001)
    monkeypatch.setattr(publishing.CachedTransaction, "commit_transaction", away)
    driver.epoch(200)
    staged = [
        file.path
        for part in driver.parts.values()
        for epoch in driver.lake.courier._waiting[part._shard]
        for file in epoch.files
        if file.table == "bronze.frames"
    ]
    assert staged
    assert not names(orphans(filled.catalog, Frame, NOW)) & {path.rpartition("/")[2] for path in staged}
    monkeypatch.setattr(publishing.CachedTransaction, "commit_transaction", commit)
    driver.run()
    driver.close()
    assert filled.wrong() == []


def test_a_file_that_crosses_its_token_is_still_waited_for(filled: Any) -> None:
    filled.drive(100)
    table = filled.catalog.load_table("silver.trades")
    rows = expected(Trade, ("binance-0",), 101)
    [(crossing, _)] = stage(table, Trade, "binance-0", rows)
    [(unknown, _)] = stage(table, Trade, "retired-9", rows)
    assert crossing.lower <= 100 < crossing.upper
    assert orphans(filled.catalog, Trade, NOW) == []
    assert unknown.path
