"""`tape recover` after each way of losing recovery files: all rows as if nothing had happened, none twice."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.catalog import open_catalog
from connectors.journal import Journal
from connectors.journal_reader import JournalReader
from connectors.kept_frames import frames_of
from connectors.segments import first_position, segment_paths
from connectors.tokens import Token, tokens_of
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.steps.batch import Batch, batch_of
from schemas import Frame
from schemas.iceberg import TABLES, to_arrow
from schemas.run import records_of

ROOT = Path(__file__).resolve().parents[2]
SHARDS = ("binance-0", "coinbase-0", "kraken-0")
PATIENCE_SECONDS = 60.0

# A dozen processes one after the other, on a machine that may be busy.
pytestmark = pytest.mark.timeout(400)


class Store:
    """One simulated store, and the processes that work on it."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.shards = SHARDS
        self.directory = data / "simulated"
        self.recovery = self.directory / "recovery"
        self.log = data.parent / "log"
        self.started: list[subprocess.Popen[bytes]] = []
        self.environment = dict(os.environ) | {
            "TAPE_DATA_DIR": str(data),
            "TAPE_METRICS__PORT": "0",
            "TAPE_LAKE__COMMIT_SECONDS": "0",
            "TAPE_CAPTURE__SEGMENT_BYTES_MAX": str(64 * 1024),
            "TAPE_SIMULATOR__RATE": "400",
            "BYTEWAX_SNAPSHOT_INTERVAL": "1",
            "PYTHONPATH": str(ROOT),
        }

    def start(
        self,
        words: Sequence[str] = (sys.executable, "-m", "bytewax.run", "dataflows.crypto"),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> "subprocess.Popen[bytes]":
        """The flow, by the engine's own command."""
        settings = self.environment | dict(environment)
        with self.log.open("ab") as log:
            process = subprocess.Popen(words, cwd=ROOT, env=settings, stdout=log, stderr=log)
        self.started.append(process)
        return process

    def tape(self, *words: str, failpoint: str = "") -> "subprocess.CompletedProcess[str]":
        """One of our commands, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "operate", *words],
            cwd=ROOT,
            env=self.environment | {"TAPE_FAILPOINTS": failpoint},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def catalog(self) -> Catalog:
        """Where its tables are."""
        uri = self.environment.get("TAPE_LAKE__CATALOG", "")
        return open_catalog(self.directory, uri, self.environment.get("TAPE_LAKE__WAREHOUSE", ""))

    def tokens(self, name: str = "bronze.frames") -> dict[str, Token]:
        """How far a table is."""
        if not (
            self.directory / "tail"
        ).exists():  # the flow is told at once of a catalog that cannot be made
            return {}
        catalog = self.catalog()
        return tokens_of(catalog.load_table(name)) if catalog.table_exists(name) else {}

    def published(self) -> int:
        """Frames of the shard that has the fewest in the table."""
        tokens = self.tokens()
        return min((tokens[shard].position if shard in tokens else 0 for shard in self.shards), default=0)

    def goes_on(self, process: "subprocess.Popen[bytes]", frames: int = 120) -> None:
        """Wait until so many more are published."""
        goal = self.published() + frames

        def has_gone_on() -> bool:
            assert process.poll() is None, self.said()
            return self.published() >= goal

        until(has_gone_on)

    def said(self) -> str:
        return self.log.read_text()[-4_000:]

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End it in order: what it has taken from the journals is published then, on a busy machine later."""
        before = self.log.stat().st_size
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, self.said()
        if "not everything is published" in self.log.read_text()[before:]:
            again = self.start()
            self.goes_on(again, 1)
            self.stop(again)

    def refused(self) -> str:
        """What a start says that ends by itself."""
        before = self.log.stat().st_size
        assert self.start().wait(PATIENCE_SECONDS) != 0
        return self.log.read_text()[before:]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "data")
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


def trim(store: Store) -> None:
    """Remove what the journals need not have any more; the flow may have done some of it."""
    for shard, token in store.tokens().items():
        directory, exchange = store.directory / "journal" / shard, shard.rpartition("-")[0]
        journal = Journal.open(directory, exchange=exchange, shard=shard, now=0)
        journal.remove_through(token.position)
        journal.close()
    assert is_trimmed(store)


def is_trimmed(store: Store) -> bool:
    """Whether a journal does not begin at the beginning any more."""
    return any(first_position(segment_paths(store.directory / "journal" / shard)[0]) > 1 for shard in SHARDS)


def frames(journal: Path) -> list[Frame]:
    """What a journal still holds."""
    exchange, position = journal.name.rpartition("-")[0], first_position(segment_paths(journal)[0]) - 1
    reader = JournalReader(journal, exchange=exchange, shard=journal.name, position=position)
    found: list[Frame] = []
    while taken := reader.read(10_000):
        found += taken
    reader.close()
    return found


def published(store: Store) -> dict[str, list[Frame]]:
    """The frames of each shard: dense, and where the journal still has them the same."""
    rows = store.catalog().load_table(TABLES[Frame].name).scan().to_arrow()
    found: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames_of(rows):
        found[frame.shard].append(frame)
    for shard, token in store.tokens().items():
        assert [frame.position for frame in found[shard]] == list(range(1, token.position + 1))
        for frame in frames(store.directory / "journal" / shard):
            assert frame.position > token.position or found[shard][frame.position - 1] == frame
    return found


def straight(journals: dict[str, list[Frame]]) -> dict[type[Struct], list[Any]]:
    """What the frames become when the steps are simply called one after the other."""
    found: dict[type[Struct], list[Any]] = defaultdict(list)
    for shard, kept in journals.items():
        steps = [begin(shard, None) for begin in chain(VENUES)]
        for start in range(0, len(kept), 500):
            batch: Batch = batch_of(kept[start : start + 500])
            for step in steps:
                batch = step.step(batch)
            found[Frame] += batch.frames
            for record in records_of(batch.records):
                found[type(record)].append(record)
    return found


def check(store: Store) -> None:
    """Every table holds exactly the rows of a run without the accident."""
    journals = published(store)
    wanted = straight(journals)
    catalog = store.catalog()
    for record_type, listed in TABLES.items():
        table = catalog.load_table(listed.name)
        found = ordered(record_type, table.scan().to_arrow())
        expected = ordered(record_type, pa.Table.from_batches([to_arrow(record_type, wanted[record_type])]))
        assert found.select(expected.schema.names).equals(expected), listed.name
        for shard, token in tokens_of(table).items():
            if token.position:
                rows = sum(row.shard == shard for row in wanted[record_type])
                assert token.counts.get(f"rows_{listed.name}", 0) == rows
    assert len(wanted[Frame]) > 500
    assert not list(store.directory.glob("tail/*/*/*"))


def ordered(record_type: type[Struct], rows: pa.Table) -> pa.Table:
    """Rows in one order, whatever files they are from."""
    names = ["shard", TABLES[record_type].position, "message_id", "interval", "window_start", "symbol"]
    return rows.sort_by([(name, "ascending") for name in names if name in rows.schema.names]).combine_chunks()


@pytest.mark.long
def test_recovery_files_that_are_gone_are_made_again_though_cut_short_and_journals_are_trimmed(
    store: Store,
) -> None:
    first = store.start()
    store.goes_on(first, 300)
    kill(first)
    trim(store)
    shutil.rmtree(store.recovery)

    shown = store.tape("recover", "--json")
    assert shown.returncode == 0, shown.stderr
    assert '"shard": "kraken-0"' in shown.stdout
    before = published(store)
    control_c(store)
    assert published(store) == before
    assert not store.recovery.exists()
    assert store.tape("recover", "--yes", failpoint="recover.aside:kill").returncode == -signal.SIGKILL
    assert "tape recover" in store.refused()
    done = store.tape("recover", "--yes")
    assert done.returncode == 0, done.stderr

    second = store.start()
    store.goes_on(second)
    done = store.tape("recover", "--yes")
    assert done.returncode == 2
    assert f"process {second.pid} on " in done.stderr
    store.stop(second)
    check(store)
    assert not list(store.directory.glob("recovery.*"))


def control_c(store: Store) -> None:
    """Press Ctrl-C while the frames go through the steps."""
    process = store.start(
        [sys.executable, "-m", "operate", "recover", "--yes"],
        {"TAPE_FAILPOINTS": f"aggregate.batch:sleep:2:{PATIENCE_SECONDS}"},
    )
    wrote = store.directory / "recovery.rebuilt"
    before = {shard: token.incarnation for shard, token in store.tokens().items()}
    until(lambda: all(token.incarnation > before[shard] for shard, token in store.tokens().items()))
    until(lambda: list(wrote.glob("part-*.sqlite3-wal")))  # the engine has begun
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(PATIENCE_SECONDS) == 130, store.said()
    assert time.monotonic() - began < PATIENCE_SECONDS / 2
    assert "Traceback" not in store.said()


@pytest.mark.long
def test_an_old_copy_doubles_nothing_and_torn_files_are_made_again_though_journals_are_gone(
    store: Store, tmp_path: Path
) -> None:
    whole = {"TAPE_CAPTURE__SEGMENT_BYTES_MAX": str(64 * 1024 * 1024)}
    first = store.start(environment=whole)
    store.goes_on(first)
    kill(first)
    shutil.copytree(store.recovery, tmp_path / "copy")
    second = store.start(environment=whole)
    store.goes_on(second)
    kill(second)
    restore(store, tmp_path / "copy")
    third = store.start()
    store.goes_on(third)
    until(lambda: is_trimmed(store))
    kill(third)

    # What the copy needs is not in the journals any more.
    restore(store, tmp_path / "copy")
    assert "tape recover" in store.refused()
    done = store.tape("recover", "--yes")
    assert done.returncode == 0, done.stderr

    before = published(store)
    for name in ("journal", "positions"):
        shutil.rmtree(store.directory / name)
    torn = sorted(store.recovery.glob("part-*.sqlite3"))
    assert torn
    for path in torn:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    known = set(store.directory.glob("recovery.aside-*"))
    done = store.tape("recover", "--yes")
    assert done.returncode == 0, done.stderr
    [aside] = set(store.directory.glob("recovery.aside-*")) - known
    assert aside.name in done.stderr
    assert {path.name for path in torn} <= {path.name for path in aside.iterdir()}

    fourth = store.start()
    store.goes_on(fourth)
    store.stop(fourth)
    for shard in SHARDS:
        journal = store.directory / "journal" / shard
        assert first_position(segment_paths(journal)[0]) > len(before[shard])
    assert all(frames[: len(before[shard])] == before[shard] for shard, frames in published(store).items())
    check(store)


def restore(store: Store, copy: Path) -> None:
    """Put an old copy of the recovery files back."""
    shutil.rmtree(store.recovery)
    shutil.copytree(copy, store.recovery)
