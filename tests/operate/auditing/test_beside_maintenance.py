"""The audit beside maintenance: whatever commits while it reads, it never says that something is wrong."""

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir
from msgspec import Struct
from structlog.testing import capture_logs

from connectors.blocks import Entry
from connectors.catalog import open_catalog
from connectors.staging import DAY
from connectors.tokens import Token, tokens_of
from operate.auditing.auditor import audit
from operate.auditing.findings import Finding, violations
from operate.auditing.reading import Asked
from operate.maintenance import bars, compaction, expiry, orphans, retention
from operate.maintenance.jobs import Job as Task
from operate.maintenance.jobs import Policy
from schemas import Bar, Frame, StaleWindow, Trade
from schemas.iceberg import TABLES
from tests.campaigns import recorded
from tests.campaigns.running import Job, command
from tests.operate.auditing.conftest import ROOT, SHARDS

FRAMES = 1_600
MIDNIGHT = 19_676 * DAY
# Frames come fifty a second: some in one day, most in the next.
START = MIDNIGHT - 10_000_000
HOURS = 3 * 3_600_000_000
PATIENCE_SECONDS = 120
ALL = Asked(lambda _: True)


class Live:
    """A store that a flow fills, one small commit after the other."""

    def __init__(self, directory: Path, seed: int, forgotten: bytes) -> None:
        self.directory = directory
        directory.mkdir()
        recorded.record(directory, SHARDS, FRAMES, seed)
        # Hours later a trade of the second day's first minute, whose windows the flow does not remember.
        later = START + HOURS
        quiet: Entry = (later, 1, FRAMES + 1, "tick", b"{}")
        page: Entry = (later + 1_000_000, 1, FRAMES + 2, "repair", forgotten)
        tick: Entry = (later + 2_000_000, 1, FRAMES + 3, "tick", b"{}")
        recorded.append(directory, SHARDS[0], [quiet, page, tick])
        recovery = directory / "recovery"
        recovery.mkdir()
        init_db_dir(recovery, 2)
        job = Job(
            str(directory),
            recovery=str(recovery),
            sink="lake",
            batch_frames_max=60,
            epoch_frames_max=60,
            epoch_seconds=0.1,
        )
        self.process = subprocess.Popen(command(job), cwd=ROOT)

    def tokens(self, record_type: type[Struct]) -> list[Token]:
        return list(tokens_of(open_catalog(self.directory).load_table(TABLES[record_type].name)).values())

    def is_writing(self) -> bool:
        return self.process.poll() is None

    def until_published(self, frames: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (self.directory / "catalog.db").exists() or not self.has(frames):
            assert time.monotonic() < deadline
            assert self.is_writing()
            time.sleep(0.1)

    def has(self, frames: int) -> bool:
        catalog = open_catalog(self.directory)
        made = all(catalog.table_exists(table.name) for table in TABLES.values())
        return made and sum(token.position for token in self.tokens(Frame)) >= frames

    def audited(self, *, deep: bool = False) -> list[Finding]:
        """One audit, which must find everything well."""
        catalog = open_catalog(self.directory)
        found = audit(catalog, self.directory, ALL, deep=deep, now=time.time_ns() // 1_000)
        assert not violations(found), [each for each in found if each.violations]
        return found

    def tasks(self, now: int, days: int) -> Iterator[Task]:
        """All that maintenance finds to do: one commit or more each."""
        by_rows = Policy(now, dict.fromkeys(("silver.trades", "bronze.frames", "silver.quotes"), days))
        catalog = open_catalog(self.directory)
        yield from bars.jobs(catalog)
        for module in (compaction, retention, expiry, orphans):
            for record_type in TABLES:
                by_commits = Policy(time.time_ns() // 1_000, reader_seconds=0.0, tag_days=0)
                policy = by_commits if module in (expiry, orphans) else by_rows
                yield from module.jobs(catalog, record_type, policy)


@pytest.fixture
def live(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(recorded, "START", MIDNIGHT + 20_000_000)
    forgotten = recorded.page("BTC0USDT", 500)
    monkeypatch.setattr(recorded, "START", START)
    monkeypatch.setattr(expiry, "SNAPSHOTS_KEPT", 10)
    with capture_logs():
        made = Live(tmp_path / "simulated", seed, forgotten)
        yield made
        made.process.kill()
        made.process.wait()


@pytest.mark.long
def test_no_false_alarm_while_tables_are_rewritten_under_it_and_after_each_task(live: Live) -> None:
    live.until_published(2 * FRAMES // 4)
    done: list[str] = []
    failed: list[BaseException] = []

    def maintain() -> None:
        try:
            while live.is_writing():
                for task in live.tasks(MIDNIGHT + DAY // 2, 400):
                    done.append(f"{task.task}: {task.do()}")
                # The first day is over and old enough; the second is being written.
                for task in live.tasks(MIDNIGHT + DAY - 1, 0):
                    done.append(f"{task.task}: {task.do()}")
        except BaseException as error:  # noqa: BLE001  # said where the test ends
            failed.append(error)

    beside = threading.Thread(target=maintain)
    beside.start()
    audits = 0
    while live.is_writing():
        live.audited(deep=audits % 2 == 1)
        audits += 1
    beside.join(PATIENCE_SECONDS)
    assert not failed, failed
    assert live.process.returncode == 0
    assert audits > 1
    assert {each.partition(":")[0] for each in done} >= {"compact", "retain", "expire"}, done
    for record_type in (Frame, Trade):
        assert all(token.removed for token in live.tokens(record_type))

    # At rest: after each task alone, of the second day too.
    for now in (MIDNIGHT + DAY + DAY // 2, MIDNIGHT + 2 * DAY):
        for task in live.tasks(now, 0):
            task.do()
            live.audited(deep=True)
    stale = open_catalog(live.directory).load_table(TABLES[StaleWindow].name).scan().to_arrow()
    assert sum(token.added for token in live.tokens(Bar)) == stale.num_rows > 0
