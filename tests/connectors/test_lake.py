"""The lake's sink: each row once, whatever happens to whoever writes it."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.compute as pc
import pytest
from msgspec.structs import replace
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from structlog.testing import capture_logs

from connectors import courier, failpoints, files, outages, publishing, tail
from connectors.catalog import LakeError, open_catalog
from connectors.failpoints import Failed
from connectors.slots import open_store
from connectors.source import Pulse
from connectors.tail import as_of_now
from connectors.tokens import tokens_of
from schemas import Trade
from schemas.iceberg import TABLES
from tests.campaigns.lake_driver import Driver, Job, batch_at, check, drive, in_turns

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "kraken-0")
PLACES = [name for name in failpoints.NAMES if name.startswith(("iceberg.", "tail."))]
# Where a crash leaves most in doubt.
OFTEN = ("iceberg.frozen", "iceberg.before_catalog", "iceberg.after_catalog")
PATIENCE_SECONDS = 30.0


@pytest.fixture
def job(tmp_path: Path, seed: int) -> Job:
    """Two shards of one store, in one process; the catalog does not wait for a lock."""
    open_store(tmp_path, "simulated", SHARDS)
    catalog = f"sqlite:///{tmp_path}/catalog.db?timeout=0.05"
    return Job(str(tmp_path), SHARDS, 300, seed, catalog=catalog, warehouse=f"file://{tmp_path}/lake")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the engine's calls say of our errors is not shown."""
    with capture_logs():
        yield


def only(job: Job, *own: str, seed: int = 0) -> Job:
    """The same store, by a process with these shards."""
    return Job(job.directory, own, job.frames, seed, catalog=job.catalog, warehouse=job.warehouse)


def catalog_of(job: Job) -> Catalog:
    return open_catalog(Path(job.directory), job.catalog, job.warehouse)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def settle(driver: Driver) -> None:
    """Wait until everything durable is published."""
    until(lambda: not any(driver.lake.courier._durables().values()))


def test_every_row_is_there_once_and_no_tail_is_left(job: Job) -> None:
    drive(job)
    assert check(job, SHARDS) == []
    tokens = tokens_of(catalog_of(job).load_table("silver.trades"))
    assert {shard: (token.incarnation, token.position) for shard, token in tokens.items()} == {
        "binance-0": (1, 300),
        "kraken-0": (1, 300),
    }
    assert tokens["kraken-0"].counts["frames"] == tokens["kraken-0"].counts["rows_bronze.frames"] == 300
    assert tokens["kraken-0"].counts["rows_silver.trades"] == sum(n * 7 % 4 for n in range(1, 301))


def test_a_start_over_what_is_complete_changes_nothing(job: Job) -> None:
    drive(job)
    drive(job)
    assert check(job, SHARDS) == []


def test_what_waits_of_a_shard_in_which_nothing_comes_any_more_is_published(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = Driver(job)
    died.start()
    monkeypatch.setattr(died.random, "randint", lambda low, high: high)
    monkeypatch.setattr(died.durable, "reached", lambda shard: None)  # so it keeps all to itself
    while died.positions["kraken-0"] < job.frames:
        died.epoch(job.frames)
    assert not died.lake.close(PATIENCE_SECONDS)
    assert catalog_of(job).load_table("bronze.frames").scan().count() == 0
    again = Driver(job)
    for shard in SHARDS:  # the engine builds before we are the writer, and its journals are at their end
        again.positions[shard], state = again.load(shard)
        again.build(shard, state)
    again.lake.start()
    again.close()
    assert check(job, SHARDS) == []


def test_one_commit_for_all_shards_of_an_epoch_and_none_for_an_idle_table(job: Job) -> None:
    driver = Driver(job)
    driver.start()
    for _ in range(3):
        driver.epoch(job.frames)
        settle(driver)
        until(lambda: not any(driver.lake.courier._waiting.values()))
    driver.close()
    snapshots = {
        table.name: len(catalog_of(job).load_table(table.name).metadata.snapshots)
        for table in TABLES.values()
    }
    assert snapshots["bronze.frames"] == 4
    assert snapshots["silver.quotes"] == snapshots["gold.bars"] == 1


@pytest.mark.parametrize(
    "place",
    [place if place in OFTEN else pytest.param(place, marks=pytest.mark.long) for place in PLACES],
)
def test_what_fails_at_any_place_is_done_once_by_the_next_start(
    job: Job, place: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    struck = 0
    for start in range(1, 5):
        monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{place}:error:{start * 2 - 1}"))
        driver = Driver(only(job, *SHARDS, seed=seed + start))
        try:
            driver.start()
            driver.run()
            driver.close()
        except Failed:
            struck += 1
    monkeypatch.setattr(failpoints, "_armed", {})
    assert struck
    drive(only(job, *SHARDS, seed=seed + 9))
    assert check(job, SHARDS) == []


def test_a_staged_file_that_crosses_the_token_is_trimmed(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    trim = publishing.trim
    monkeypatch.setattr(publishing, "trim", lambda *said: trimmed.append(said[-1]) or trim(*said))
    state, copy = Path(job.directory, "state-binance-0"), Path(job.directory, "copy")

    def epoch(driver: Driver, *cuts: int) -> None:
        first = 1
        for last in cuts:
            driver.parts["binance-0"].write_batch([batch_at("binance-0", first, last)])
            driver.positions["binance-0"], first = last, last + 1
        driver.durable.snapshot("binance-0", cuts[-1])
        driver.save("binance-0", driver.parts["binance-0"].snapshot())

    first = Driver(only(job, "binance-0"))
    first.start()
    first.build("binance-0", None)
    epoch(first, 30, 60)  # durable, but whoever would publish it is gone
    shutil.copy(state, copy)
    state.unlink()
    second = Driver(only(job, "binance-0"))
    second.start()
    second.build("binance-0", None)
    epoch(second, 45)
    second.durable.reached("binance-0")
    second.close()
    shutil.copy(copy, state)
    drive(only(job, "binance-0"))
    assert trimmed
    assert set(trimmed) == {45}
    assert check(job, ("binance-0",)) == []


def test_an_old_copy_of_recovery_doubles_nothing(job: Job, seed: int) -> None:
    driver = Driver(job)
    driver.start()
    driver.epoch(job.frames)
    kept = {path: path.read_bytes() for path in Path(job.directory).glob("state-*")}
    driver.run()
    driver.close()
    for path, state in kept.items():
        path.write_bytes(state)
    drive(only(job, *SHARDS, seed=seed + 1))
    assert check(job, SHARDS) == []


def test_lost_recovery_over_published_rows_is_refused(job: Job) -> None:
    drive(job)
    for path in Path(job.directory).glob("state-*"):
        path.unlink()
    with pytest.raises(LakeError, match="has published up to 300, but its recovery knows nothing of it"):
        drive(job)


def test_an_older_copy_of_the_tables_is_refused(job: Job, tmp_path: Path) -> None:
    half = replace(job, stop_at=job.frames // 2)
    drive(half)
    older = tmp_path / "older"
    shutil.copytree(job.directory, older)
    drive(job)
    for part in ("catalog.db", "lake"):
        place = Path(job.directory) / part
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        (shutil.copytree if (older / part).is_dir() else shutil.copy)(older / part, place)
    with pytest.raises(LakeError, match=r"published up to \d+, but the table of frames ends at 150"):
        drive(job)


def test_two_processes_write_one_table(job: Job, conflicts: list[Any]) -> None:
    drivers = [Driver(only(job, shard, seed=number)) for number, shard in enumerate(SHARDS)]
    in_turns(drivers)
    assert conflicts
    assert check(job, SHARDS) == []
    referenced = {path for table in TABLES.values() for path in manifests(catalog_of(job), table.name)}
    left = {str(path) for path in Path(job.directory).glob("lake/*/*/metadata/*-m*.avro")}
    assert left == referenced, "what a conflict left is cleaned up, and nothing else"


def manifests(catalog: Catalog, name: str) -> set[str]:
    table = catalog.load_table(name)
    return {
        manifest.manifest_path.removeprefix("file://")
        for snapshot in table.metadata.snapshots
        for manifest in snapshot.manifests(table.io)
    }


def test_a_writer_that_was_replaced_publishes_nothing_more(job: Job, seed: int) -> None:
    zombie = Driver(job)
    zombie.start()
    zombie.epoch(job.frames)
    settle(zombie)
    successor = Driver(only(job, *SHARDS, seed=seed + 1))
    kept = {path: path.read_bytes() for path in Path(job.directory).glob("state-*")}
    successor.start()
    with pytest.raises(LakeError, match="another process has become the writer of"):
        until(lambda: zombie.epoch(job.frames))
    for path, state in kept.items():
        path.write_bytes(state)
    successor.close()
    drive(only(job, *SHARDS, seed=seed + 2))
    assert check(job, SHARDS) == []


@pytest.mark.parametrize(
    "error", [ConnectionError("lost"), CommitStateUnknownException("502"), CommitFailedException("409")]
)
@pytest.mark.parametrize("landed", [True, False])
def test_an_unknown_outcome_is_resolved_by_looking(
    job: Job, error: Exception, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Driver(job)
    driver.start()
    commit = driver.lake.courier.tables[0]._catalog.commit_table
    left = [2, 4, 5]

    def losing(*said: Any) -> Any:
        left[:] = [number - 1 for number in left]
        if 0 not in left:
            return commit(*said)
        if landed:
            commit(*said)
        raise error

    monkeypatch.setattr(driver.lake.courier.tables[0]._catalog, "commit_table", losing)
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.01)
    driver.run()
    driver.close()
    assert max(left) < 0
    assert check(job, SHARDS) == []


def test_a_locked_catalog_is_waited_for_and_the_source_with_it(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PENDING_MAX", 2)
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.01)
    driver = Driver(job)
    driver.start()
    lock = sqlite3.connect(Path(job.directory, "catalog.db"), check_same_thread=False)
    lock.execute("begin exclusive")
    with capture_logs() as said:
        working = threading.Thread(target=driver.run)
        working.start()
        until(lambda: any("cannot publish to bronze.frames" in line["event"] for line in said))
        held = max(driver.positions.values())
        until(lambda: any(len(waiting) > 2 for waiting in driver.lake.courier._waiting.values()))
        assert held < job.frames
        assert working.is_alive()
        lock.rollback()
        working.join(PATIENCE_SECONDS)
        driver.close()
    lock.close()
    assert [line["event"] for line in said][-1] == "can publish to bronze.frames again"
    assert check(job, SHARDS) == []


def test_a_stop_during_an_outage_leaves_the_rest_to_the_next_start(job: Job) -> None:
    driver = Driver(job)
    driver.start()
    driver.epoch(job.frames)
    settle(driver)
    lock = sqlite3.connect(Path(job.directory, "catalog.db"))
    lock.execute("begin exclusive")
    driver.epoch(job.frames)
    driver.stop.set()
    assert driver.lake.close(0.3) is False
    lock.rollback()
    lock.close()
    assert list(Path(job.directory).glob("tail/*/*/*")), "what is not published stays readable"
    drive(job)
    assert check(job, SHARDS) == []


@pytest.mark.parametrize("victim", ["file", "tail"])
def test_a_full_disk_is_waited_for(job: Job, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.01)
    refused = []
    real: Any = files.FileIO.write if victim == "file" else tail.os.pwrite

    def full(*said: Any) -> int:
        if len(refused) >= 3 or Random(len(refused)).random() < 0.1:
            return int(real(*said))
        refused.append(said)
        if victim == "tail":
            real(said[0], said[1][:100], said[2])  # some of it still fitted
        raise OSError(28, "No space left on device")

    driver = Driver(job)
    driver.start()
    monkeypatch.setattr(*((files.Synced, "write") if victim == "file" else (tail.os, "pwrite")), full)
    with capture_logs() as said:
        driver.run()
        driver.close()
    assert len(refused) == 3
    assert any("cannot" in line["event"] and "No space" in line["problem"] for line in said)
    assert check(job, SHARDS) == []


def test_another_stores_table_is_refused(job: Job, tmp_path: Path) -> None:
    drive(job)
    other = tmp_path / "other"
    open_store(other, "simulated", SHARDS)
    with pytest.raises(LakeError, match="holds rows of another store"):
        drive(Job(str(other), SHARDS, 10, catalog=job.catalog, warehouse=job.warehouse))


def test_a_table_that_was_rolled_back_is_refused(job: Job) -> None:
    drive(job)
    table = catalog_of(job).load_table("silver.trades")
    table.manage_snapshots().rollback_to_snapshot(table.metadata.snapshots[-2].snapshot_id).commit()
    with pytest.raises(LakeError, match=r"silver.trades was rolled back behind what \S+ has published"):
        drive(job)


def test_a_staged_file_that_is_gone_is_named(job: Job) -> None:
    driver = Driver(job)
    driver.start()
    driver.lake.courier.reached = lambda *_: None  # type: ignore[method-assign]
    driver.epoch(job.frames)
    for path in Path(job.directory).glob("lake/silver/trades/data/*/*.parquet"):
        path.unlink()
    with pytest.raises(LakeError, match=r"the staged rows 1 to \d+ of silver.trades cannot be read"):
        drive(job)


def test_a_pulse_makes_rows_readable_at_once_and_publishing_makes_them_durable(job: Job) -> None:
    driver = Driver(job)
    driver.start()
    driver.build("binance-0", None)
    driver.parts["binance-0"].write_batch([batch_at("binance-0", 1, 50), Pulse("binance-0")])
    directory = Path(job.directory)
    instant = as_of_now(catalog_of(job), directory, Trade)
    assert instant.published.num_rows == 0
    wanted = [row.message_id for row in batch_at("binance-0", 1, 50).records if isinstance(row, Trade)]
    assert instant.provisional["message_id"].to_pylist() == wanted
    driver.positions["binance-0"] = 50
    driver.epoch(job.frames)
    settle(driver)
    instant = as_of_now(catalog_of(job), directory, Trade)
    ids = [*instant.published["message_id"].to_pylist(), *instant.provisional["message_id"].to_pylist()]
    assert set(wanted) <= set(ids)
    assert len(ids) == len(set(ids))
    assert pc.max(instant.published["platform_sequence"]).as_py() >= 50
