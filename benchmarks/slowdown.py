"""Whether a stream is slowed by maintenance: the same replay, with and without compaction beside it.

Both begin with a lake of many small files of hours that are over. Compaction is `tape maintain`, as low in
priority as `tape run` has it. What it takes from the flow shows only where it has a core of its own.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from subprocess import DEVNULL, PIPE

from benchmarks.cluster import FREE, loops
from benchmarks.lake import BATCH_FRAMES, EPOCH_FRAMES, SHARD, Process
from benchmarks.steps import chain, frames
from connectors.children import ROOT, start_child, stop_child
from connectors.mode import remember
from dataflows.steps.batch import batch_of
from operate.maintain import NICE
from schemas import Frame

SYMBOLS = 50
# What there is to compact: so many commits of so many frames to each table.
SMALL_COMMITS, SMALL_FRAMES = 40, 5_000
# What is measured: some seconds, as long as compaction takes.
TRADES = 500_000
ROUNDS = 2  # the best one counts: others share the machine
PATIENCE_SECONDS = 120.0


def measure(trades: int = TRADES, rounds: int = ROUNDS) -> dict[str, float]:
    """How much longer the replay takes, in percent, where two cores are free; below zero is noise."""
    free = loops(1) * 2 / loops(2)
    if free < FREE:
        print(f"two cores are not free, not measured: two empty loops did {free:.2f}x the work of one")
        return {"maintenance_loops_speedup": free}
    made = frames(SYMBOLS, SMALL_COMMITS * SMALL_FRAMES + trades)
    alone, compacted = [], []
    for _ in range(rounds):
        alone.append(replayed(made, beside=False))
        compacted.append(replayed(made, beside=True))
    return {
        "replay_alone_trades_per_second": trades / min(alone),
        "replay_beside_compaction_trades_per_second": trades / min(compacted),
        "maintenance_slowdown_percent": (min(compacted) / min(alone) - 1) * 100,
        "maintenance_loops_speedup": free,
    }


def replayed(made: list[Frame], *, beside: bool) -> float:
    """Seconds until the last frames are committed, without the small files before them."""
    small = SMALL_COMMITS * SMALL_FRAMES
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "simulated"
        process = Process(directory)
        remember(Path(folder), "simulated")
        process.lake.courier.has_begun(wait=True)
        steps = [step for _, step in chain(SYMBOLS)]

        def feed(some: list[Frame], epoch: int) -> None:
            for start in range(0, len(some), BATCH_FRAMES):
                batch = batch_of(some[start : start + BATCH_FRAMES])
                for step in steps:
                    step(batch)
                process.part.write_batch([batch])
                if (start + BATCH_FRAMES) % epoch == 0:
                    process.end_epoch(batch.last)
                    if epoch == SMALL_FRAMES:
                        committed(process)
            process.end_epoch(some[-1].position)
            committed(process)

        feed(made[:small], SMALL_FRAMES)
        with compaction(Path(folder)) if beside else nullcontext():
            began = time.monotonic()
            feed(made[small:], EPOCH_FRAMES)
            took = time.monotonic() - began
        assert process.lake.close(PATIENCE_SECONDS)
    return took


def committed(process: Process) -> None:
    """Wait until nothing waits to be committed."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while process.lake.courier.waiting(SHARD):
        if time.monotonic() > ends:
            raise RuntimeError("nothing is committed any more")
        time.sleep(0.001)


@contextmanager
def compaction(folder: Path) -> Iterator[None]:
    """Compact everything meanwhile, behind everybody else."""
    variables = {"TAPE_MODE": "simulated", "TAPE_DATA_DIR": str(folder)}
    command = ["operate", "maintain", "compact", "--yes"]
    child = start_child(command, stdout=PIPE, stderr=DEVNULL, cwd=ROOT, **variables)
    os.setpriority(os.PRIO_PROCESS, child.pid, NICE)
    try:
        yield
        said, _ = child.communicate(timeout=PATIENCE_SECONDS)
        if child.returncode or "compact" not in said:
            raise RuntimeError(f"compaction ended with {child.returncode} and said {said!r}")
    finally:
        stop_child(child, PATIENCE_SECONDS)
