"""The state of a table counts what grows, and says when it has grown."""

from typing import Any

from operate.maintenance.jobs import Policy
from operate.maintenance.status import state, verdict
from schemas import Trade


def test_a_table_is_told_as_it_is(filled: Any, later: int) -> None:
    filled.drive(120)
    table = filled.catalog.load_table("silver.trades")
    found = state(filled.catalog, Trade, Policy(later))
    assert found["rows"] == table.scan().to_arrow().num_rows
    assert found["files"] == found["to_compact"] == len(list(table.scan().plan_files()))
    assert found["snapshots"] == len(table.metadata.snapshots)
    assert found["well"] == "yes"
    live, disk, metadata = (found[f"{what}_bytes"] for what in ("live", "disk", "metadata"))
    assert isinstance(live, int)
    assert isinstance(metadata, int)
    assert disk == live + metadata


def test_what_has_grown_is_named_with_the_task_that_mends_it() -> None:
    assert verdict(100, 10, 100) == "yes"
    assert verdict(9_000, 101, 3_001) == (
        "9,000 snapshots: expire; 101 manifests: expire; 3,001 small files: compact"
    )
