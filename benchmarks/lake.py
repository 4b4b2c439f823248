"""What a commit costs with a hundred snapshots kept, and the way from frames to bronze and silver."""

import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import structlog

from benchmarks.steps import chain, frames
from connectors.catalog import open_catalog
from connectors.durable import Durable
from connectors.lake import Lake, LakePartition
from connectors.slots import open_store
from dataflows.steps.batch import batch_of
from operate.maintenance import expiry
from operate.maintenance.jobs import Policy
from schemas import Frame

SHARD = "binance-0"
BATCH_FRAMES = 1_000
# As many as an epoch of five seconds brings at 20,000 a second.
EPOCH_FRAMES = 100_000
# As many as an expiry every two minutes finds.
EXPIRE_COMMITS = 24


class Process:
    """A lake with one shard, whose epochs are durable at once."""

    def __init__(self, directory: Path) -> None:
        store = open_store(directory, "simulated", (SHARD,))
        self.durable = Durable()
        self.lake = Lake(
            lambda: open_catalog(directory),
            store,
            directory,
            (SHARD,),
            durable=self.durable,
            stop=threading.Event(),
            commit_seconds=0.0,
            logger=structlog.get_logger(),
        )
        self.lake.start()
        self.part: LakePartition = self.lake.build_part("", store.slots[0].partition, None)

    def end_epoch(self, position: int) -> None:
        self.durable.snapshot(SHARD, position)
        self.part.snapshot()
        self.durable.reached(SHARD)


def full_path(trades: int) -> float:
    """Trades per second of CPU, all threads, until they are committed in every table."""
    made = frames(50, trades)
    steps = [step for _, step in chain(50)]
    with tempfile.TemporaryDirectory() as directory:
        process = Process(Path(directory))
        process.lake.courier.has_begun(wait=True)
        before = time.process_time()
        for start in range(0, len(made), BATCH_FRAMES):
            batch = batch_of(made[start : start + BATCH_FRAMES])
            for step in steps:
                step(batch)
            process.part.write_batch([batch])
            if (start + BATCH_FRAMES) % EPOCH_FRAMES == 0:
                process.end_epoch(batch.last)
        process.end_epoch(made[-1].position)
        assert process.lake.close(60)
        return sum(one.kind == "data" for one in made) / (time.process_time() - before)


def commit_cpu(commits: int) -> float:
    """Median CPU milliseconds of the last thirty commits to bronze, of all threads; old snapshots go."""
    made: list[Any] = frames(1, commits + 1)
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        process = Process(Path(directory))
        courier = process.lake.courier
        courier.has_begun(wait=True)
        commit = courier.tables[0].commit

        def timed(due: Any) -> None:
            before = time.process_time()
            commit(due)
            spent.append((time.process_time() - before) * 1_000)

        courier.tables[0].commit = timed  # type: ignore[method-assign, assignment]
        for number, one in enumerate(made[:commits], 1):
            process.part.write_batch([batch_of([one])])
            process.end_epoch(one.position)
            while courier.waiting(SHARD):
                time.sleep(0.001)
            if number % EXPIRE_COMMITS == 0:
                for job in expiry.jobs(open_catalog(Path(directory)), Frame, Policy(10**18)):
                    job.do()
        assert process.lake.close(60)
    return median(spent[-30:])


def measure(trades: int = 300_000, rounds: int = 2) -> dict[str, float]:
    """All figures; the best of the rounds, because others use the machine too."""
    return {
        "full_path_trades_per_second": max(full_path(trades) for _ in range(rounds)),
        "commit_cpu_p50_ms": min(commit_cpu(100) for _ in range(rounds)),
        "commit_cpu_p50_ms_after_600": commit_cpu(600),
    }


if __name__ == "__main__":
    for figure, value in measure().items():
        print(f"{figure:40} {value:12,.1f}")
