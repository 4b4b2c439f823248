"""The index of data files: it leaves out no file that matters, and reads no manifest twice."""

from random import Random

import pyarrow.parquet as pq
import pytest

from connectors.catalog import open_catalog
from query import files
from query.files import Between, File, Files, Index, Scope, entries, only
from schemas import Bar, Trade
from schemas.iceberg import TABLES
from tests.campaigns.kept import Kept


def test_no_file_that_holds_a_wanted_row_is_left_out(kept: Kept, seed: int) -> None:
    random = Random(seed)
    table = kept.reader.load("silver.trades")
    found = Index().files(table, table.current_snapshot())
    rows = [
        (file, row["symbol"], round(row["timestamp"].timestamp() * 1_000_000), row["trade_id"])
        for file in found.all
        for row in pq.read_table(file.path.removeprefix("file://")).to_pylist()
    ]
    pruned = 0
    for _ in range(300):
        symbol = random.choice(rows)[1]
        since, until = sorted((random.choice(rows)[2], random.choice(rows)[2] + 1))
        wanted = dict(Scope("binance", symbol, since, until).wanted("timestamp"))
        trade_id = random.choice((None, random.choice(rows)[3]))
        if trade_id is not None:
            wanted["trade_id"] = only(trade_id)
        holding = found.holding(wanted)
        needed = {
            file.path for file, name, time, number in rows
            if name == symbol and since <= time < until and trade_id in (None, number)
        }  # fmt: skip
        assert needed <= {file.path for file in holding}
        pruned += len(found.all) - len(holding)
    assert pruned > 0
    assert found.bound("timestamp", {}) == (min(row[2] for row in rows), max(row[2] for row in rows))


def test_of_a_new_snapshot_only_its_new_manifests_are_read(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = kept.reader.load("gold.bars")
    read: list[str] = []
    monkeypatch.setattr(
        files,
        "entries",
        lambda table, manifest: read.append(manifest.manifest_path) or entries(table, manifest),
    )
    index = Index()
    commits = sorted(table.metadata.snapshots, key=lambda one: one.timestamp_ms)
    for commit in [*commits, commits[-1]]:
        known = index.files(table, commit)
        tasks = table.scan(snapshot_id=commit.snapshot_id).plan_files()
        assert {file.path for file in known.all} == {task.file.file_path for task in tasks}
    assert len(read) == len(set(read))
    assert len(commits) > files.SNAPSHOTS_KEPT_MAX
    assert not index.files(table, None).all


def test_manifests_of_long_ago_are_forgotten(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MANIFESTS_KEPT_MAX", 0)
    table = kept.reader.load("silver.trades")
    index = Index()
    for commit in table.metadata.snapshots:
        index.files(table, commit)
        assert set(index._manifests) == {one.manifest_path for one in commit.manifests(table.io)}


def test_what_bounds_do_not_say_a_file_may_hold() -> None:
    file = File("a", 1, 1, {"symbol": Between("B", "D")})
    assert file.can_hold({"symbol": only("C"), "timestamp": Between(5, None)})
    assert file.can_hold({"symbol": Between(None, "B")})
    assert not file.can_hold({"symbol": only("A")})
    assert not file.can_hold({"symbol": Between("E", None)})
    assert Files((file,)).bound("timestamp", {}) == Between()


def test_files_of_every_table_have_the_bounds_that_questions_need(kept: Kept) -> None:
    catalog = open_catalog(kept.directory)
    for record_type in (Trade, Bar):
        table = catalog.load_table(TABLES[record_type].name)
        for file in Index().files(table, table.current_snapshot()).all:
            assert {"symbol", "exchange", "platform_sequence", TABLES[record_type].time} <= file.bounds.keys()
