"""Expiry: what is old goes, with its files; what a reader may hold or a day is named for stays."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.staging import DAY
from connectors.tokens import tokens_of
from operate.maintenance import compaction, expiry
from operate.maintenance.expiry import Plan, jobs, merge, planned
from operate.maintenance.jobs import Policy
from operate.maintenance.orphans import orphans
from schemas import Frame, Trade

NOW = 19_000 * DAY + DAY // 2
MINUTE = 60_000_000


def snapshots(*minutes_ago: int) -> list[Any]:
    """Snapshots, oldest first, their ids their age."""
    return [
        SimpleNamespace(snapshot_id=age, timestamp_ms=(NOW - age * MINUTE) // 1_000) for age in minutes_ago
    ]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "SNAPSHOTS_KEPT", 2)


def test_all_but_the_newest_go_once_no_reader_can_have_them() -> None:
    policy = Policy(NOW, reader_seconds=300)
    # The one of eight minutes ago was the newest until four minutes ago.
    assert planned(snapshots(60, 30, 8, 4, 2, 1), {}, {1}, policy) == Plan([60, 30], {}, [])
    assert planned(snapshots(2, 1), {}, {1}, policy) == Plan([], {}, [])
    assert planned(snapshots(60, 30, 9, 8), {}, {60, 8}, policy) == Plan([30], {}, []), "held by a name"


def test_the_last_of_each_day_is_named_and_in_time_no_longer() -> None:
    day = 24 * 60
    policy = Policy(NOW, reader_seconds=30, tag_days=2)
    found = planned(snapshots(4 * day, 2 * day + 5, 2 * day, day + 1, day, 1, 0), {}, {0}, policy)
    assert found == Plan(
        [4 * day, 2 * day + 5, day + 1], {"day-2022-01-06": 2 * day, "day-2022-01-07": day}, []
    )
    tags = {"day-2022-01-05": 3 * day, "day-2022-01-07": day}
    found = planned(snapshots(3 * day, day, 1, 0), tags, {0}, policy)
    assert found == Plan([3 * day], {}, ["day-2022-01-05"])


def test_files_that_nothing_names_go_from_the_disk(filled: Any, later: int) -> None:
    filled.drive(300)
    catalog = filled.catalog
    [job] = compaction.jobs(catalog, Trade, Policy(later))
    job.do()
    filled.drive(330)
    filled.drive(360)
    before = catalog.load_table("silver.trades")
    now = before.metadata.snapshots[-1].timestamp_ms * 1_000 + 1_000_000
    kept = before.current_snapshot()
    assert kept is not None
    [job] = [one for one in jobs(catalog, Trade, Policy(now, reader_seconds=0.5)) if "snapshots" in one.what]
    assert "files removed" in job.do()
    after = catalog.load_table("silver.trades")
    assert [one.snapshot_id for one in after.metadata.snapshots] == [
        one.snapshot_id for one in before.metadata.snapshots[-2:]
    ]
    assert tokens_of(after) == tokens_of(before)
    there = {str(path) for path in Path(filled.directory).glob("lake/silver/trades/data/**/*.parquet")}
    assert there == {
        task.file.file_path.removeprefix("file://")
        for one in after.metadata.snapshots
        for task in after.scan(snapshot_id=one.snapshot_id).plan_files()
    }
    assert not [
        one
        for one in orphans(catalog, Trade, Policy(later**2, orphan_seconds=0))
        if one.path.endswith(".parquet")
    ]
    assert filled.wrong() == []
    filled.drive(400)
    assert filled.wrong() == []


def test_a_reader_that_began_before_reads_to_the_end(filled: Any, later: int) -> None:
    filled.drive(200)
    catalog = filled.catalog
    reader = catalog.load_table("bronze.frames").scan()
    rows = reader.to_arrow().num_rows
    next(compaction.jobs(catalog, Frame, Policy(later))).do()
    filled.drive(260)
    now = catalog.load_table("bronze.frames").metadata.snapshots[-1].timestamp_ms * 1_000
    for job in jobs(catalog, Frame, Policy(now, reader_seconds=300)):
        job.do()
    assert reader.to_arrow().num_rows == rows


def test_manifests_become_one_and_nothing_else_changes(filled: Any) -> None:
    filled.drive(200)
    catalog = filled.catalog
    before = catalog.load_table("bronze.frames").scan().to_arrow().num_rows
    assert merge(catalog, "bronze.frames") == "1 manifests"
    table = catalog.load_table("bronze.frames")
    assert table.scan().to_arrow().num_rows == before
    assert not orphans(catalog, Frame, Policy(10**18, orphan_seconds=0)), "what was merged away is left"
    filled.drive(240)
    assert filled.wrong() == []
