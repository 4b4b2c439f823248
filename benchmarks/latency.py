"""How soon what happens on a venue can be read: the flow as users start it, and who reads the lake beside it.

`python -m benchmarks.latency RATE SECONDS KILLS` asks for a rate and a time of its own. The venue is our
simulator in a process of its own: it and we have the same clock. Everything is seen from outside, by looking
again and again, so that every figure includes what a reader takes; nothing is asked of the flow itself.
"""

import json
import os
import re
import sys
import tempfile
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from pyiceberg.exceptions import NoSuchTableError

from connectors.catalog import open_catalog
from connectors.children import ROOT, start_child, stop_child
from connectors.errors import TapeError
from connectors.tokens import tokens_of
from dataflows.steps.windows import SECOND
from query.files import Scope
from query.follow import Follower
from query.reader import Reader
from schemas import Bar, Frame, Trade
from schemas.iceberg import TABLES

SHARD = "binance-0"
# What a laptop carries beside other work. The simulator makes about as many quotes as trades.
RATE, SECONDS, KILLS = 1_000.0, 60.0, 2
SEED = 5
# Between two looks at the lake: up to so much is in every figure.
LOOK_SECONDS = 0.05
# Connections open and the first commits make the tables.
WARM_SECONDS = 10.0
# Until what happened last has its bar in the lake, with time to spare; and until the flow lives again.
SETTLE_SECONDS = 20.0
PATIENCE_SECONDS = 120.0
STOP_SECONDS = 30.0
TYPES = (Frame, Trade, Bar)


@dataclass
class Commits:
    """How far a table was committed, and when that was seen."""

    times: "array[float]" = field(default_factory=lambda: array("d"))
    positions: "array[int]" = field(default_factory=lambda: array("q"))

    def seen(self, now: float, position: int) -> None:
        if not self.positions or position > self.positions[-1]:
            self.times.append(now)
            self.positions.append(position)

    def at(self, position: int) -> float:
        """When what the frame at a position caused was there."""
        place = bisect_left(self.positions, position)
        return self.times[place] if place < len(self.times) else float("inf")


class Watch:
    """Who looks at the lake from outside."""

    def __init__(self, directory: Path) -> None:
        self.reader = Reader(open_catalog(directory), directory, "simulated")
        self.commits: dict[type[Struct], Commits] = {record_type: Commits() for record_type in TYPES}
        self.readable: list[pa.Array] = []  # seconds from the venue's time to ours
        self.resident = 0
        self._follower = Follower(self.reader, Trade, Scope())

    def look(self, flow: "Popen[str]") -> None:
        """Read what landed, and see what was committed."""
        try:
            status = Path(f"/proc/{flow.pid}/status").read_text()
        except FileNotFoundError:
            status = ""
        self.resident = max(self.resident, *map(int, re.findall(r"VmHWM:\s+(\d+) kB", status)), 0)
        self.look_at_commits()
        rows = self._follower.rows()
        now = time.time_ns() // 1_000
        happened = rows.filter(pc.equal(rows["origin"], "live"))["timestamp"].cast(pa.int64())
        self.readable += pc.divide(pc.subtract(now, happened).cast(pa.float64()), SECOND).chunks

    def look_at_commits(self) -> None:
        for record_type, commits in self.commits.items():
            table = self.reader.load(TABLES[record_type].name)
            now = time.time()
            if SHARD in (tokens := tokens_of(table)):
                commits.seen(now, tokens[SHARD].position)

    def look_for(self, seconds: float, flow: "Popen[str]") -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if flow.poll() is not None:
                raise RuntimeError(f"the flow ended by itself with {flow.returncode}")
            self.look(flow)
            time.sleep(LOOK_SECONDS)

    def look_for_commits(self, flow: "Popen[str]") -> float:
        """When the first trades and frames that were not there yet were committed."""
        waited = [self.commits[Frame], self.commits[Trade]]
        before = [len(one.times) for one in waited]
        ends = time.monotonic() + PATIENCE_SECONDS
        while any(len(one.times) == known for one, known in zip(waited, before, strict=True)):
            if flow.poll() is not None or time.monotonic() > ends:
                raise RuntimeError(f"nothing was committed; the flow ended with {flow.poll()}")
            self.look_at_commits()
            time.sleep(LOOK_SECONDS)
        return max(one.times[known] for one, known in zip(waited, before, strict=True))


def measure(rate: float = RATE, seconds: float = SECONDS, kills: int = KILLS) -> dict[str, float]:
    """Latencies of a steady stream, then of one whose flow is killed again and again."""
    with tempfile.TemporaryDirectory() as folder, simulator(rate) as variables:
        variables |= {"TAPE_DATA_DIR": folder}
        directory = Path(folder) / "simulated"
        flow = start_flow(variables)
        try:
            watch = begun(directory, flow)
            watch.look_for(WARM_SECONDS, flow)
            watch.readable.clear()
            began = time.time()
            watch.look_for(seconds, flow)
            ended, readable = time.time(), pa.chunked_array(watch.readable, pa.float64())
            watch.look_for(SETTLE_SECONDS, flow)
            restarts: list[float] = []
            for _ in range(kills):
                flow.kill()
                flow.wait()
                watch.look_at_commits()
                killed = time.time()
                flow = start_flow(variables)
                restarts.append(watch.look_for_commits(flow) - killed)
                watch.look_for(SETTLE_SECONDS, flow)
        finally:
            stop_child(flow, STOP_SECONDS)
        watch.look_at_commits()
        return {
            "latency_rate_asked_for": rate,
            "latency_seconds": seconds,
            "latency_kills": kills,
            "event_to_readable_p99_s": pc.quantile(readable, 0.99)[0].as_py(),
            **committed(watch, began, ended, restarts),
            "worker_rss_mb": watch.resident * 1_024 / 1e6,
        }


def committed(watch: Watch, began: float, ended: float, restarts: list[float]) -> dict[str, float]:
    """From the venue's time of a trade until it is committed, and until the bar of its second is."""
    frames, trades, bars = (watch.commits[record_type] for record_type in TYPES)
    columns = ("symbol", "timestamp", "platform_sequence", "source_sequence")
    rows = rows_of(watch, Trade, columns)
    bar_columns = ("symbol", "window_start", "platform_sequence", "interval", "revision")
    issued = {
        (symbol, start): position
        for symbol, start, position, interval, revision in rows_of(watch, Bar, bar_columns)
        if interval == "1s" and revision == 0
    }
    to_commit: list[float] = []
    to_gold: list[float] = []
    after: list[float] = []
    for symbol, happened, position, _ in rows:
        if happened < began * SECOND:
            continue
        took = max(frames.at(position), trades.at(position)) - happened / SECOND
        if happened > ended * SECOND:
            after.append(took)
            continue
        to_commit.append(took)
        to_gold.append(bars.at(issued[symbol, happened - happened % SECOND]) - happened / SECOND)
    messages = sum(
        began * SECOND <= received < ended * SECOND for (received,) in rows_of(watch, Frame, ("received",))
    )
    return {
        "latency_messages_per_second": messages / (ended - began),
        "latency_trades_missing": missing((symbol, number) for symbol, _, _, number in rows),
        "event_to_commit_p99_s": percentile(to_commit, 99),
        "event_to_gold_p99_s": percentile(to_gold, 99),
        **({"event_to_commit_after_kill_max_s": max(after)} if restarts else {}),
        **({"restart_to_commit_s": max(restarts)} if restarts else {}),
    }


def rows_of(watch: Watch, record_type: type[Struct], columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """These columns of all rows that are committed."""
    found = watch.reader.load(TABLES[record_type].name).scan(selected_fields=columns).to_arrow()
    plain = [
        column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        for column in (found[name] for name in columns)
    ]
    return list(zip(*(column.to_pylist() for column in plain), strict=True))


def missing(ids: Iterator[tuple[str, int]]) -> int:
    """Ids between the first and the last of each symbol that are not there: a venue leaves out none."""
    known: dict[str, set[int]] = {}
    for symbol, number in ids:
        known.setdefault(symbol, set()).add(number)
    return sum(max(one) - min(one) + 1 - len(one) for one in known.values())


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]


@contextmanager
def simulator(rate: float) -> Iterator[dict[str, str]]:
    """A venue that outlives the flow; yields what tells the flow where it is."""
    command = [
        "operate",
        "simulate",
        "--attached",
        "--venue",
        "binance",
        "--rate",
        str(rate),
        "--seed",
        str(SEED),
    ]
    process = start_child(command)
    try:
        assert process.stdout is not None
        urls = json.loads(process.stdout.readline())["binance"]
        yield {
            "TAPE_MODE": "simulated",
            "TAPE_METRICS__PORT": "0",
            "TAPE_VENUES__KRAKEN__ENABLED": "false",
            "TAPE_VENUES__COINBASE__ENABLED": "false",
            "TAPE_VENUES__BINANCE__WEBSOCKET_URLS": urls["websocket"],
            "TAPE_VENUES__BINANCE__REST_URLS": urls["rest"],
        }
    finally:
        stop_child(process, STOP_SECONDS)


def start_flow(variables: dict[str, str]) -> "Popen[str]":
    """The flow as a user starts it."""
    command = ["bytewax.run", "dataflows.crypto"]
    return start_child(command, stdout=DEVNULL, stderr=DEVNULL, cwd=ROOT, **variables)


def begun(directory: Path, flow: "Popen[str]") -> Watch:
    """Who looks, as soon as there is a lake to look at."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends and flow.poll() is None:
        try:
            watch = Watch(directory)
            watch.look_at_commits()
            return watch
        except (TapeError, NoSuchTableError):
            time.sleep(LOOK_SECONDS)
    raise RuntimeError(f"there is no lake; the flow ended with {flow.poll()}")


if __name__ == "__main__":
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    asked_rate, asked_seconds, asked_kills = map(float, sys.argv[1:])
    for name, figure in measure(asked_rate, asked_seconds, int(asked_kills)).items():
        print(f"{name:40}{figure:>12.3g}")
