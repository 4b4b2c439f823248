"""The same sink over every catalog and store, on real servers: each row once, whatever the network does.

What can be shown over any catalog is shown here; `test_lake.py` goes through every place of a commit, over
the embedded one.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from connectors import courier, outages
from connectors.catalog import LakeError
from connectors.slots import open_store
from connectors.tokens import tokens_of
from schemas.iceberg import TABLES
from tests.campaigns.lake_driver import Driver, Job, check, drive, in_turns
from tests.services.fault_proxy import FaultProxy, fault_proxy
from tests.services.lakes import KINDS, Place, Servers

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "kraken-0")
SERVED = tuple(kind for kind in KINDS if kind != "sqlite")
FRAMES = 120
FIRST = next(iter(TABLES.values())).name
PATIENCE_SECONDS = 60.0


@pytest.fixture
def place(request: pytest.FixtureRequest, lake_servers: Servers) -> Place:
    return lake_servers.place(request.param)


@pytest.fixture
def job(place: Place, tmp_path: Path, seed: int) -> Job:
    """Two shards of one store, in one process."""
    open_store(tmp_path, "simulated", SHARDS)
    return over(place, Job(str(tmp_path), SHARDS, FRAMES, seed, epoch_frames=40))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Outages are tried again at once, and what the engine's calls say of our errors is not shown."""
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.01)
    monkeypatch.setattr(outages, "SECONDS_MAX", 0.1)
    with capture_logs():
        yield


def over(place: Place, job: Job) -> Job:
    return replace(job, catalog=place.catalog, warehouse=place.warehouse, access=place.access)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def over_each(kinds: Iterable[str]) -> pytest.MarkDecorator:
    """Over each of them; where a database and an S3 store are, each is tested beside another one too."""
    both = pytest.param("postgresql-s3", marks=pytest.mark.long)
    return pytest.mark.parametrize(
        "place", [both if kind == "postgresql-s3" else kind for kind in kinds], indirect=True
    )


everywhere = over_each(KINDS)
both_catalogs = pytest.mark.parametrize("place", ["postgresql", "rest"], indirect=True)
served = over_each(SERVED)


@everywhere
def test_every_row_is_there_once_and_the_tokens_say_so(job: Job) -> None:
    drive(job)
    assert check(job, SHARDS) == []
    tokens = tokens_of(job.open().load_table("silver.trades"))
    assert {shard: (token.incarnation, token.position) for shard, token in tokens.items()} == dict.fromkeys(
        SHARDS, (1, FRAMES)
    )
    counted = {name: tokens["kraken-0"].counts[f"rows_{name}"] for name in ("bronze.frames", "silver.trades")}
    assert counted == {"bronze.frames": FRAMES, "silver.trades": sum(n * 7 % 4 for n in range(1, FRAMES + 1))}


@served
def test_of_two_commits_on_one_base_one_is_made_and_the_other_looks_again(
    job: Job, conflicts: list[Any]
) -> None:
    drivers = [Driver(replace(job, own=(shard,))) for shard in SHARDS]
    in_turns(drivers)
    assert conflicts
    assert check(job, SHARDS) == []


@both_catalogs
def test_a_writer_that_was_replaced_publishes_nothing_more(job: Job) -> None:
    zombie = Driver(job)
    zombie.start()
    zombie.epoch(job.frames)
    kept = {path: path.read_bytes() for path in Path(job.directory).glob("state-*")}
    until(lambda: not any(zombie.lake.courier._durables().values()))
    successor = Driver(job)
    successor.start()
    zombie.epoch(job.frames)
    with pytest.raises(LakeError, match="another process has become the writer of"):
        until(zombie.lake.courier.check)
    successor.close()
    for path, state in kept.items():
        path.write_bytes(state)
    drive(job)
    assert check(job, SHARDS) == []


def commit_of(place: Place, table: str) -> bytes:
    """What a request says that commits, as it goes over the wire."""
    if place.catalog.startswith("postgresql"):
        return b"COMMIT"
    bucket = place.warehouse.removeprefix("s3://")
    return f"POST /v1/{bucket}/namespaces/{table.replace('.', '/tables/')} ".encode()


@both_catalogs
def test_a_commit_that_landed_and_was_not_answered_is_found(job: Job, place: Place) -> None:
    """Nobody knows how it ended, and only the table can say: a guess would double rows, or lose them."""
    with fault_proxy(place.catalog_port) as proxy, capture_logs() as said:
        driver = Driver(over(place.through(catalog=proxy.port), job))
        driver.start()
        for table in ("bronze.frames", "silver.trades", "bronze.frames"):
            proxy.lose_answer_to(commit_of(place, table))
            driver.epoch(job.frames)
            until(lambda: not any(driver.lake.courier._durables().values()))
        driver.run()
        driver.close()
    assert proxy.lost == 3
    assert sum("cannot publish" in line["event"] for line in said) == 3
    assert check(job, SHARDS) == []


@pytest.mark.parametrize("place", ["postgresql-s3"], indirect=True)
def test_a_store_whose_answers_are_lost_keeps_whole_files(job: Job, place: Place) -> None:
    with fault_proxy(place.store_port) as proxy:
        driver = Driver(over(place.through(store=proxy.port), job))
        driver.start()
        for request in (b"PUT /", b"POST /", b"HEAD /", b"GET /"):
            before = proxy.lost
            proxy.lose_answer_to(request)
            driver.epoch(job.frames)
            until(lambda: not any(driver.lake.courier._durables().values()))
            assert proxy.lost > before, request
        driver.run()
        driver.close()
    assert check(job, SHARDS) == []


@served
def test_a_bad_network_delays_and_changes_nothing(job: Job, place: Place) -> None:
    with ExitStack() as proxies:
        ports = {"catalog": place.catalog_port, "store": place.store_port}
        between = {name: proxies.enter_context(fault_proxy(port)) for name, port in ports.items() if port}
        driver = Driver(over(place.through(**{name: each.port for name, each in between.items()}), job))
        driver.start()
        working = threading.Thread(target=driver.run)
        working.start()
        for proxy in between.values():
            strike(proxy)
        working.join(PATIENCE_SECONDS)
        assert not working.is_alive()
        driver.close()
        assert all(proxy.passed for proxy in between.values())
    assert check(job, SHARDS) == []


def strike(proxy: FaultProxy) -> None:
    """Slow a connection down, cut it again and again, and let nobody in for a while."""
    proxy.latency_seconds = 0.02
    time.sleep(0.3)
    proxy.heal()
    for _ in range(5):
        proxy.cut()
        time.sleep(0.05)
    proxy.refuse()
    time.sleep(0.3)
    proxy.heal()


@both_catalogs
def test_an_outage_stops_publishing_and_epochs_go_on_until_there_are_too_many(
    job: Job, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "PENDING_MAX", 2)
    away = replace(job, frames=3 * FRAMES)
    with fault_proxy(place.catalog_port) as proxy, capture_logs() as said:
        driver = Driver(over(place.through(catalog=proxy.port), away))
        driver.start()
        driver.epoch(away.frames)
        until(lambda: not any(driver.lake.courier._durables().values()))
        before = dict(driver.positions)
        proxy.refuse()
        working = threading.Thread(target=driver.run)
        working.start()
        until(lambda: any(len(waiting) > 2 for waiting in driver.lake.courier._waiting.values()))
        assert all(driver.positions[shard] > before[shard] for shard in SHARDS)
        assert working.is_alive()
        assert any("cannot publish to bronze.frames, trying again" in line["event"] for line in said)
        proxy.heal()
        working.join(PATIENCE_SECONDS)
        driver.close()
        assert proxy.refused
    assert "can publish to bronze.frames again" in [line["event"] for line in said]
    assert check(away, SHARDS) == []


@both_catalogs
def test_a_server_that_is_killed_and_started_again_has_everything(
    job: Job, place: Place, lake_servers: Servers
) -> None:
    server = (
        lake_servers.postgresql if place.catalog.startswith("postgresql") else lake_servers.seaweed
    ).server
    driver = Driver(replace(job, frames=2 * FRAMES))
    driver.start()
    driver.epoch(driver.job.frames)
    working = threading.Thread(target=driver.run)
    working.start()
    server.kill()
    server.start()
    working.join(PATIENCE_SECONDS)
    driver.close()
    assert check(driver.job, SHARDS) == []


@over_each(("postgresql-s3", "rest"))
def test_a_writer_that_is_killed_goes_on_where_the_tables_are(job: Job) -> None:
    slow = replace(job, epoch_seconds=0.05)
    environment = {**os.environ, "JOB": msgspec.json.encode(slow).decode()}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.campaigns.lake_driver"], cwd=ROOT, env=environment
    )
    try:
        until(lambda: process.poll() is not None or published(job) > 0)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    drive(job)
    assert check(job, SHARDS) == []
    tokens = tokens_of(job.open().load_table("bronze.frames"))
    assert {token.incarnation for token in tokens.values()} == {2}


def published(job: Job) -> int:
    """How far the table of frames is."""
    catalog = job.open()
    if not catalog.table_exists(FIRST):
        return 0
    return max((token.position for token in tokens_of(catalog.load_table(FIRST)).values()), default=0)
