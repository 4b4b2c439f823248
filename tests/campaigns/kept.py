"""Stores that the flow has filled from recorded journals, to be asked; and what is true of them."""

import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bytewax.recovery import init_db_dir
from msgspec import convert, to_builtins

from connectors.catalog import open_catalog
from dataflows.steps.windows import bars_of
from query.reader import Reader
from schemas import Trade
from schemas.run import records_of
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, batches, command

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "binance-1")
FRAMES = 2_000
# Some ten commits to each table: enough to have a past, and little for a busy disk.
EPOCH_FRAMES, EPOCH_SECONDS = 250, 0.05
PATIENCE_SECONDS = 100

Row = dict[str, Any]


@dataclass
class Kept:
    """A store, and every row that the steps make of its journals."""

    directory: Path
    rows: dict[str, list[Row]]  # by type of record, in order of the journals

    @cached_property
    def reader(self) -> Reader:
        """Who asks it."""
        return Reader(open_catalog(self.directory), self.directory, "simulated")

    def until(self, kind: str, marks: dict[str, int]) -> list[Row]:
        """The rows that frames up to these positions have caused."""
        return [row for row in self.rows[kind] if row["platform_sequence"] <= marks.get(row["shard"], 0)]


def filled(directory: Path, seed: int, *, killed: bool = False) -> Kept:
    """A store that the flow has filled to its end, or was killed in the middle of."""
    directory.mkdir(parents=True)
    store = record(directory, SHARDS, FRAMES, seed)
    (directory / "recovery").mkdir()
    init_db_dir(directory / "recovery", 2)
    flow(directory, killed=killed)
    rows: dict[str, list[Row]] = {}
    for batch in batches(directory, store.slots):
        for one in records_of(batch.records):
            row = {"shard": batch.shard, **to_builtins(one)}
            rows.setdefault(type(one).__name__, []).append(row)
    return Kept(directory, rows)


def flow(directory: Path, *, killed: bool = False) -> None:
    """Run the flow to the end of the journals; or kill it once some trades are published and some are not."""
    words = directory / "words"
    with words.open("w") as said:
        process = subprocess.Popen(command(flow_of(directory)), cwd=ROOT, stderr=said)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while killed and not is_between(directory):
        assert process.poll() is None, words.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    if killed:
        process.kill()
        process.wait()
    else:
        assert process.wait(PATIENCE_SECONDS) == 0, words.read_text()


def flow_of(directory: Path) -> Job:
    """The flow over the journals of a store and into its lake."""
    return Job(
        str(directory),
        recovery=str(directory / "recovery"),
        epoch_seconds=EPOCH_SECONDS,
        epoch_frames_max=EPOCH_FRAMES,
        sink="lake",
    )


def is_between(directory: Path) -> bool:
    """Whether some trades are published, and some are in a tail alone."""
    parts = list(directory.glob("tail/silver.trades/*/*.arrows"))
    # A part goes with the second publication after it.
    return bool(parts) and all(int(path.stem.rpartition("-")[2]) > 2 for path in parts)


def folded(trades: list[Row], interval: str) -> dict[tuple[str, int], Row]:
    """The bars of some trades by symbol and window, as the flow's own fold makes them."""
    made = bars_of(map(as_trade, trades), interval)
    return {(bar.symbol, bar.window_start): to_builtins(bar) for bar in made}


def as_trade(row: Row) -> Trade:
    """The record of a row."""
    return convert({**row, "trade_conditions": tuple(row["trade_conditions"])}, Trade)
