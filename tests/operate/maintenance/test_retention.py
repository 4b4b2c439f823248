"""Retention: whole days go, once, and are counted for each shard in the same commit."""

from typing import Any

import msgspec
import pytest
from pyiceberg.table.snapshots import Operation

from connectors import failpoints
from connectors.failpoints import Failed
from connectors.staging import DAY
from connectors.tokens import tokens_of
from operate.maintenance.jobs import Policy
from operate.maintenance.retention import jobs
from schemas import Trade
from tests.campaigns.lake_driver import START

# The driver's first five hundred frames are of a day, the rest of the next.
FIRST_DAY_OVER = (START // DAY + 1) * DAY


def policy(now: int, days: int) -> Policy:
    return Policy(now, retention_days={"silver.trades": days})


def test_days_that_are_old_enough_go_and_are_counted(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.drive(700, epoch_frames=300)
    catalog = filled.catalog
    assert list(jobs(catalog, Trade, Policy(10**18))) == []
    assert list(jobs(catalog, Trade, policy(FIRST_DAY_OVER + 3 * DAY - 1, 3))) == []
    due = policy(FIRST_DAY_OVER + 3 * DAY, 3)
    before = catalog.load_table("silver.trades")
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse("maintain.after_catalog:error"))
    [job] = jobs(catalog, Trade, due)
    with pytest.raises(Failed):
        job.do()
    assert list(jobs(catalog, Trade, due)) == []
    assert job.do() == "left as it is: somebody else was quicker"
    after = catalog.load_table("silver.trades")
    head = after.current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert head.summary.operation == Operation.DELETE
    rows, left = (table.scan().to_arrow() for table in (before, after))
    assert {time // DAY for time in left["timestamp"].cast("int64").to_pylist()} == {START // DAY + 1}
    told = tokens_of(after)
    for shard, token in tokens_of(before).items():
        gone = sum(one == shard for one in rows["shard"].to_pylist()) - sum(
            one == shard for one in left["shard"].to_pylist()
        )
        assert gone
        assert told[shard] == msgspec.structs.replace(token, removed=gone)
    filled.drive(760)
    assert tokens_of(catalog.load_table("silver.trades"))["kraken-0"].removed == told["kraken-0"].removed
