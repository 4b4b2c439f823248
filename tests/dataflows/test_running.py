"""The bare command is a whole process: it captures, recovers, resumes and ends; so is one of a cluster."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.catalog import open_catalog
from connectors.journal_reader import JournalReader
from connectors.positions import expected_position
from connectors.segments import removed
from connectors.settings import Settings
from connectors.slots import Slot, read
from connectors.tokens import tokens_of
from connectors.venues import VENUES
from dataflows.recovery import Command
from dataflows.running import cautions, is_placed, only
from simulator.venues import FACES
from tests.campaigns.rounds import free_addresses

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 100
# Signals to gone, on every process, as we promise.
STOP_SECONDS_MAX = 10

pytestmark = pytest.mark.timeout(300)  # whole processes, on a machine that may be busy


# A venue that somebody adds need not have a face in the simulator.
WITHOUT = {f"TAPE_VENUES__{name.upper()}__ENABLED": "false" for name in VENUES if name not in FACES}


class Started:
    """The flow's own command, and what it says."""

    def __init__(self, data: Path, *arguments: str, **environment: str) -> None:
        self.path = data / f"{time.monotonic_ns()}.log"
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", "dataflows.crypto", *arguments],
                cwd=ROOT,
                env={**os.environ, **WITHOUT, "TAPE_DATA_DIR": str(data / "data"), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def said(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def text(self) -> str:
        return self.path.read_text()

    def until(self, event: str, times: int = 1, *, ended: bool = False) -> list[dict[str, Any]]:
        """Wait for so many lines that begin so."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            found = [line for line in self.said() if line["event"].startswith(event)]
            if len(found) >= times:
                return found
            assert not ended
            assert self.process.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(f"never said {event!r}:\n{self.text()}")

    def ends(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def started() -> Iterator[list[Started]]:
    all_of_them: list[Started] = []
    yield all_of_them
    for one in all_of_them:
        one.process.kill()
        one.process.wait()


def grown(directory: Path, shard: str, size: int) -> None:
    """Wait until a journal is larger."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while journal_bytes(directory, shard) <= size:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def journal_bytes(directory: Path, shard: str) -> int:
    return sum(path.stat().st_size for path in (directory / "journal" / shard).glob("*.journal"))


def last_position(directory: Path, shard: str) -> int:
    """Where a journal ends."""
    exchange = shard.rpartition("-")[0]
    reader = JournalReader(directory / "journal" / shard, exchange=exchange, shard=shard)
    last = reader.read(1_000_000)[-1].position
    reader.close()
    return last


def snapshot(one: Started, directory: Path, shard: str, above: int) -> int:
    """Wait for a snapshot behind a higher position."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (expected_position(directory, shard) or 0) <= above:
        assert one.process.poll() is None, one.text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return expected_position(directory, shard) or 0


def test_killed_the_bare_command_resumes_alone_and_asked_to_it_ends(
    tmp_path: Path, started: list[Started]
) -> None:
    started.append(Started(tmp_path, BYTEWAX_SNAPSHOT_INTERVAL="1"))
    started[0].until("connected", times=3)
    directory = tmp_path / "data" / "simulated"
    for shard in ("binance-0", "kraken-0", "coinbase-0"):
        # A second snapshot is only taken when the first is durable.
        first = snapshot(started[0], directory, shard, 0)
        snapshot(started[0], directory, shard, first)
    started[0].process.send_signal(signal.SIGKILL)
    assert started[0].ends() == -signal.SIGKILL

    started.append(Started(tmp_path, BYTEWAX_SNAPSHOT_INTERVAL="1"))
    resumed = started[1].until("resumed at", times=3)
    grown(directory, "binance-0", journal_bytes(directory, "binance-0"))
    started.append(Started(tmp_path))
    assert started[2].ends() == 2
    assert f"is written by process {started[1].process.pid} on " in started[2].text()
    began = time.monotonic()
    started[1].process.send_signal(signal.SIGTERM)
    assert started[1].ends() == 0, started[1].text()
    assert time.monotonic() - began < STOP_SECONDS_MAX

    for shard in ("binance-0", "kraken-0", "coinbase-0"):
        assert expected_position(directory, shard) == last_position(directory, shard)
    assert {line["shard"] for line in resumed} == {"binance-0", "kraken-0", "coinbase-0"}
    assert all(line["position"] > 0 and line["replayed"] > 0 for line in resumed)
    store = read(directory)
    assert store is not None
    assert store.recovered
    assert len(list((directory / "recovery").glob("part-*"))) == 8
    venues = {line["event"].partition(":")[0] for line in started[1].said() if " frames, " in line["event"]}
    assert venues == {"binance", "coinbase", "kraken"}


@pytest.mark.long
def test_what_is_in_the_lake_leaves_the_journal_and_the_next_start_does_not_miss_it(
    tmp_path: Path, started: list[Started]
) -> None:
    small = {
        "BYTEWAX_SNAPSHOT_INTERVAL": "1",
        "TAPE_CAPTURE__SEGMENT_BYTES_MAX": "65536",
        "TAPE_SIMULATOR__RATE": "300",
        "TAPE_LAKE__COMMIT_SECONDS": "1",
    }
    started.append(Started(tmp_path, **small))
    trimmed = started[0].until("a segment is in the lake and removed")[0]
    started[0].process.kill()
    started[0].ends()
    directory, shard = tmp_path / "data" / "simulated", trimmed["shard"]
    gone = removed(directory / "journal" / shard)
    assert gone[0].first == 1
    assert gone[-1].last >= trimmed["last"] >= gone[0].count
    table = open_catalog(directory).load_table("bronze.frames")
    assert tokens_of(table)[shard].position >= gone[-1].last
    assert (expected_position(directory, shard) or 0) >= gone[-1].last

    started.append(Started(tmp_path, **small))
    [resumed] = [line for line in started[1].until("resumed at", times=3) if line["shard"] == shard]
    assert resumed["position"] >= gone[-1].last
    started[1].process.send_signal(signal.SIGTERM)
    assert started[1].ends() == 0, started[1].text()
    rows = (
        open_catalog(directory).load_table("bronze.frames").scan(row_filter=f"shard = '{shard}'").to_arrow()
    )
    assert sorted(rows["position"].to_pylist()) == list(range(1, rows.num_rows + 1))


@pytest.mark.long
def test_a_missing_or_dead_peer_stops_nothing_being_captured(tmp_path: Path, started: list[Started]) -> None:
    addresses = free_addresses(2)
    started.append(Started(tmp_path, "-i", "0", "-a", ";".join(addresses), "-s", "1"))
    started[0].until("connected", times=2)
    directory = tmp_path / "data" / "simulated"
    grown(directory, "binance-0", journal_bytes(directory, "binance-0"))
    assert not (directory / "journal" / "kraken-0").exists()

    started.append(Started(tmp_path, "-i", "1", "-a", ";".join(addresses), "-s", "1"))
    started[1].until("connected")
    grown(directory, "kraken-0", journal_bytes(directory, "kraken-0"))
    # A second snapshot is only taken when the first is durable.
    first = snapshot(started[1], directory, "kraken-0", 0)
    snapshot(started[1], directory, "kraken-0", first)

    # The engine of the one that is left gives up; the process begins anew by itself, and captures meanwhile.
    started[1].process.kill()
    started[1].process.wait()
    started[0].until("another process of the cluster is gone")
    started[0].until("connected", times=4)
    grown(directory, "binance-0", journal_bytes(directory, "binance-0"))
    started.append(Started(tmp_path, "-i", "1", "-a", ";".join(addresses), "-s", "1"))
    started[0].until("resumed at")
    began = time.monotonic()
    left = started[0], started[2]
    for one in left:
        one.process.send_signal(signal.SIGINT)
    assert [one.ends() for one in left] == [0, 0], started[0].text() + started[2].text()
    assert time.monotonic() - began < STOP_SECONDS_MAX


def test_who_starts_more_workers_than_shards_is_told(tmp_path: Path, started: list[Started]) -> None:
    started.append(Started(tmp_path, "-i", "0", "-a", ";".join(free_addresses(4))))
    [line] = started[0].until("more workers")
    assert line["event"].startswith("more workers (4) than shards (3)")


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["-i", "0", "-a", "127.0.0.1:1;127.0.0.1:2"], {"TAPE_MODE": "auto"}, "needs to be told what"),
        (["-i", "0", "-a", "tape-0:1;tape-1:2"], {}, "files that all its processes see"),
    ],
)
def test_what_cannot_be_is_refused_in_two_lines(
    tmp_path: Path,
    started: list[Started],
    arguments: list[str],
    environment: dict[str, str],
    said: str,
) -> None:
    started.append(Started(tmp_path, *arguments, **environment))

    assert started[0].ends() == 2
    error, hint = started[0].text().splitlines()
    assert error.startswith("error: ")
    assert said in error
    assert hint.startswith("hint: ")


@pytest.mark.long
def test_what_fails_in_a_cluster_says_so_before_the_engine_loses_it(
    tmp_path: Path, started: list[Started]
) -> None:
    addresses = ";".join(free_addresses(2))
    for process, failpoints in enumerate(("detect_gaps.batch:error:3", "")):
        said = ("-i", str(process), "-a", addresses, "-s", "1")
        started.append(Started(tmp_path, *said, TAPE_FAILPOINTS=failpoints))

    assert started[0].ends() != 0
    started[1].until("another process of the cluster is gone")
    [line] = started[0].until("the flow failed", ended=True)
    assert line["where"] == "detect_gaps.on_batch"
    assert "connectors.failpoints.Failed: detect_gaps.batch" in line["exception"]


@pytest.mark.long
def test_our_own_command_runs_the_same_flow(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from connectors.settings import Settings\n"
        "from dataflows.running import run\n"
        "from connectors import log\n"
        "log.start('info')\n"
        "run(Settings(mode='simulated', data_dir=Path(sys.argv[1])))\n"
        "print('returned')\n"
    )
    words = tmp_path / "words"
    with words.open("w") as said:
        flow = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=said
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not expected_position(tmp_path / "simulated", "kraken-0"):
        assert flow.poll() is None, words.read_text()
        assert time.monotonic() < deadline, words.read_text()
        time.sleep(0.05)
    flow.terminate()
    returned, _ = flow.communicate(timeout=PATIENCE_SECONDS)

    assert (flow.returncode, returned) == (0, b"returned\n"), words.read_text()
    assert "kraken: " in words.read_text()
    assert len(list((tmp_path / "simulated" / "recovery").glob("part-*"))) == 8


SLOTS = [Slot(0, "binance-0", "k0"), Slot(1, "kraken-0", "k1")]


def test_more_workers_than_shards_is_said() -> None:
    assert list(cautions(Command(None, None, 0, ("a:1", "b:2"), 1), SLOTS)) == []
    [line] = cautions(Command(None, None, 0, ("a:1", "b:2", "c:3"), 1), SLOTS)
    assert "more workers (3) than shards (2)" in line
    [line] = cautions(Command(None, None, 0, (), 2), SLOTS)
    assert "one worker per process" in line


def test_a_process_asks_only_for_its_own_venues() -> None:
    settings = only(Settings(), {"kraken-0", "kraken-1"})
    assert list(settings.enabled()) == ["kraken"]


def test_a_simulator_is_needed_unless_every_venue_has_its_place() -> None:
    there = {"websocket_urls": ["ws://127.0.0.1:1"], "rest_urls": ["http://127.0.0.1:1"]}
    assert not is_placed(Settings())
    assert is_placed(Settings(venues=dict.fromkeys(VENUES, there)))
