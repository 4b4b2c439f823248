"""A disk that fills up ends nothing for good: with space again, every trade is stored, and none twice."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path

import pytest

from connectors.catalog import open_catalog
from connectors.disk import ROOM_BYTES
from connectors.positions import expected_position
from simulator.server import SimulatedVenues, running

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
DISK_BYTES = 64 * MIB
PATIENCE_SECONDS = 180.0
SYMBOLS = ("BTC-USDT", "ETH-USDT", "BNB-USDT")
# More than an epoch, so that one should have ended meanwhile.
FULL_SECONDS = 6.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of our own, small enough to be filled."""
    place = tmp_path / "disk"
    place.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    try:
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a full disk was not tried, for none can be mounted here: {error}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


class Run:
    """`tape run` over one venue of a simulator that lives on."""

    def __init__(self, disk: Path, sim: SimulatedVenues, **variables: str) -> None:
        self.disk, self.directory = disk, disk / "data" / "simulated"
        self.words = disk.parent / "words"
        self.port = 20_000 + os.getpid() % 20_000
        settings = {
            "TAPE_DATA_DIR": str(disk / "data"),
            "TAPE_VENUES__BINANCE__WEBSOCKET_URLS": sim.websocket_url("binance"),
            "TAPE_VENUES__BINANCE__REST_URLS": sim.rest_url("binance"),
            "TAPE_VENUES__KRAKEN__ENABLED": "false",
            "TAPE_VENUES__COINBASE__ENABLED": "false",
            "TAPE_METRICS__PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
        }
        with self.words.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "operate", "run", "--simulated"],
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**os.environ, **settings, **variables},
            )

    def said(self) -> str:
        return self.words.read_text()

    def until(self, what: str, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, f"never {what}:\n{self.said()}"
            time.sleep(0.02)

    def position(self) -> int:
        return expected_position(self.directory, "binance-0") or 0

    def journal_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("journal/binance-0/*.journal"))

    def staged(self) -> int:
        return len(list(self.directory.glob("lake/**/*.parquet")))

    def reasons(self) -> str:
        """Why it is not ready."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return str(json.load(answer)["reasons"])
        except urllib.error.HTTPError as error:
            return str(json.load(error)["reasons"])
        except OSError:
            return ""

    def fill(self, leave: int = 0) -> None:
        """Take all space of the disk but so much."""
        with (self.disk / f"filler-{time.monotonic_ns()}").open("wb", buffering=0) as filler:
            for part in (MIB, 4096):
                with suppress(OSError):  # what runs takes its part meanwhile
                    while self.room() >= leave + part:
                        filler.write(bytes(part))

    def room(self) -> int:
        facts = os.statvfs(self.disk)
        return facts.f_bavail * facts.f_frsize

    def free(self) -> None:
        for filler in self.disk.glob("filler-*"):
            filler.unlink()

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.said()
        assert "Traceback" not in self.said()
        assert "panicked" not in self.said()


@contextmanager
def started(disk: Path, **variables: str) -> Iterator[tuple[SimulatedVenues, Run]]:
    with running(seed="full", rate=60, venues=("binance",)) as sim:
        run = Run(disk, sim, **variables)
        try:
            run.until("a snapshot", run.position)
            yield sim, run
        finally:
            run.process.kill()
            run.process.wait()


def assert_complete(sim: SimulatedVenues, run: Run, made: dict[str, int]) -> None:
    """What is stored is what the market made, each trade once, from the first that was seen to the last."""
    rows = open_catalog(run.directory).load_table("silver.trades").scan().to_arrow().to_pylist()
    for symbol in SYMBOLS:
        stored = Counter(
            (int(row["trade_id"]), Decimal(row["price"]), Decimal(row["quantity"]), row["side"])
            for row in rows
            if row["symbol"] == symbol
        )
        ids = [trade[0] for trade in stored]
        expected = Counter(
            (one.id, Decimal(one.price), Decimal(one.quantity), one.side)
            for one in sim.oracle["binance"].trades(symbol)
            if min(ids) <= one.id <= max(ids)
        )
        assert stored == expected
        assert max(ids) > made[symbol], "nothing of the time behind the full disk is stored"


def last_made(sim: SimulatedVenues) -> dict[str, int]:
    return {symbol: sim.oracle["binance"].series(symbol)[-1][1] for symbol in SYMBOLS}


@pytest.mark.long
def test_a_disk_that_fills_up_is_waited_for(small_disk: Path) -> None:
    with started(small_disk) as (sim, run):
        run.fill(leave=ROOM_BYTES // 2)
        run.until("waited", lambda: "flow waits for the disk" in run.said())
        held, size = run.position(), run.journal_bytes()
        assert "binance-0: waits for the disk: cannot write" in run.reasons()
        run.until("captured on", lambda: run.journal_bytes() > size)
        run.fill()
        run.until("held", lambda: "intake stopped" in run.said())
        time.sleep(FULL_SECONDS)
        assert run.position() == held
        made = last_made(sim)
        run.free()
        run.until("went on", lambda: "flow goes on" in run.said() and "intake released" in run.said())
        held = run.position()
        run.until("passed the full disk", lambda: run.position() > held)
        run.stop()
        assert "error:" not in run.said()
        assert_complete(sim, run, made)


@pytest.mark.long
def test_an_engine_that_meets_a_full_disk_is_started_again(small_disk: Path) -> None:
    # Between our own files of an epoch and the engine's there is a moment to fill the disk in.
    with started(small_disk, TAPE_FAILPOINTS="iceberg.frozen:sleep:2:5") as (sim, run):
        first, staged = run.position(), run.staged()
        run.until("a second snapshot", lambda: run.position() > first)
        run.until("our files", lambda: run.staged() > staged)
        staged = 0
        while staged < run.staged():
            staged = run.staged()
            time.sleep(1)
        run.fill()
        run.until("ended", lambda: "waiting for space on the disk" in run.said())
        lines = run.said().splitlines()
        error = next(number for number, line in enumerate(lines) if line.startswith("error:"))
        assert f"cannot write {run.directory / 'recovery'} (file system {small_disk}, " in lines[error]
        assert "No space left on device" in lines[error]
        assert lines[error + 1] == "hint: free some space there"
        made = last_made(sim)
        run.free()
        run.until("resumed", lambda: "resumed at" in run.said())
        held = run.position()
        run.until("passed the full disk", lambda: run.position() > held)
        run.stop()
        assert_complete(sim, run, made)
