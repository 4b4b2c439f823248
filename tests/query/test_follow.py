"""A real run, asked all the time: killed and started again, no row is told twice and none vanishes."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.catalog import open_catalog
from query import lake
from query.files import Scope
from query.follow import Follower, follow
from query.latest import latest
from query.reader import Reader
from schemas import Bar, Trade
from tests.campaigns.kept import Kept

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 90
# Enough for several epochs, so that rows move from the tails into the tables while they are looked at.
TRADES_BEFORE, TRADES_AFTER = 900, 900


class Flow:
    """The flow's own command, as often as it is started."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.data / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bytewax.run", "dataflows.crypto"],
                cwd=ROOT,
                env={
                    **os.environ,
                    "TAPE_DATA_DIR": str(self.data),
                    "TAPE_MODE": "simulated",
                    "BYTEWAX_SNAPSHOT_INTERVAL": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, how: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(how)
        self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    one = Flow(tmp_path)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.process.kill()
        one.process.wait()


class Watch:
    """What somebody who asks again and again has seen."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.seen: set[str] = set()
        self.polls = 0
        self.staged = self.published = False

    def look(self) -> None:
        """All trades: each once, and all that were seen before."""
        answer = lake.trades(self.reader, Scope(), limit=1_000_000)
        ids = answer.rows.column("message_id").to_pylist()
        assert len(ids) == len(set(ids))
        assert self.seen <= set(ids)
        self.seen = set(ids)
        self.staged |= answer.provisional_from is not None
        self.published |= answer.snapshot_id is not None
        self.polls += 1
        lasts = latest(self.reader, Scope()).rows.to_pylist()
        newest = {(row["exchange"], row["symbol"]): row["timestamp"] for row in answer.rows.to_pylist()}
        found = {(row["exchange"], row["symbol"]): row["timestamp"] for row in lasts}
        assert all(found[market] >= time for market, time in newest.items())

    def until(self, count: int) -> None:
        """Look until so many trades are seen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.seen) < count:
            assert time.monotonic() < deadline, len(self.seen)
            self.look()


def reader_of(data: Path) -> Reader:
    """As soon as all tables are there."""
    directory = data / "simulated"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(directory.glob("tail/gold.bars/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return Reader(open_catalog(directory), directory, "simulated")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_asked_all_the_time_each_trade_is_told_once_and_none_vanishes(flow: Flow) -> None:
    flow.start()
    reader = reader_of(flow.data)
    watch, followers = Watch(reader), [Follower(reader, kind, Scope()) for kind in (Trade, Bar)]
    watch.look()
    told = [Counter[str](), Counter[str]()]

    def note() -> None:
        for follower, counts in zip(followers, told, strict=True):
            counts.update(follower.rows().column("message_id").to_pylist())

    for count in range(100, TRADES_BEFORE + 1, 100):
        watch.until(count)
        note()
    flow.end(signal.SIGKILL)
    watch.look()
    note()
    before = len(watch.seen)
    flow.start()
    for count in range(100, TRADES_AFTER + 1, 200):
        watch.until(before + count)
        note()
    flow.end(signal.SIGTERM)
    watch.look()
    note()
    assert watch.staged
    assert watch.published
    table = open_catalog(flow.data / "simulated").load_table("silver.trades").scan().to_arrow()
    assert set(table["message_id"].to_pylist()) == watch.seen
    # The followers began a moment later than the first trades came.
    for counts, name in zip(told, ("silver.trades", "gold.bars"), strict=True):
        assert set(counts.values()) == {1}
        rows = open_catalog(flow.data / "simulated").load_table(name).scan().to_arrow()
        assert counts.keys() <= set(rows["message_id"].to_pylist())
    assert len(told[0]) >= before + TRADES_AFTER - 200


def test_one_venue_is_followed_from_its_beginning_on(kept: Kept) -> None:
    class Enough(Exception):
        """Whoever waits has had enough."""

    def wait() -> None:
        raise Enough

    with pytest.raises(Enough):
        next(follow(kept.reader, Trade, Scope(), wait))
    follower = Follower(kept.reader, Trade, Scope("binance", "BTC1-USDT"))
    follower.marks = {"binance-1": 700}
    found = follower.rows()
    wanted = [row for row in kept.rows["Trade"] if row["symbol"] == "BTC1-USDT"]
    assert found["message_id"].to_pylist() == [
        row["message_id"] for row in wanted if row["platform_sequence"] > 700
    ]
    assert found.num_rows
    assert follower.rows().num_rows == 0
