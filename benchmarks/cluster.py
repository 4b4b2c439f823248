"""What a second process gains: the same journals replayed through all steps by one process, then by two."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import msgspec
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from benchmarks.steps import frames, instruments
from connectors.journal import Journal
from connectors.slots import open_store, read
from connectors.source import JournalSource, Reading
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.crypto import build
from dataflows.recovery import EPOCH_SECONDS
from dataflows.steps.batch import batch_of
from dataflows.summary import Summary
from tests.campaigns.rounds import free_addresses

SHARDS = ("binance-0", "binance-1")
SYMBOLS = 50
# Of each shard: some seconds of work, beside which what the engine needs to begin is small.
TRADES = 1_000_000
ROUNDS = 3  # the best one counts: others share the machine
# Two loops that do nothing must gain so much, or the machine has no two cores for us.
FREE = 1.9
LOOP = "import time; began = time.monotonic(); sum(range(60_000_000)); print(time.monotonic() - began)"


def measure(trades: int = TRADES) -> dict[str, float]:
    """Trades per second of the wall's clock, and how much more two processes do."""
    seconds: dict[int, float] = {}
    free = 0.0
    with tempfile.TemporaryDirectory() as name:
        record(Path(name), trades)
        for _ in range(ROUNDS):
            free = max(free, loops(1) * 2 / loops(2))
            for processes in (1, 2):
                taken = replayed(Path(name), processes)
                seconds[processes] = min(taken, seconds.get(processes, taken))
    if free < FREE:
        print(f"two cores are not free: two empty loops did only {free:.2f}x the work of one")
    return {
        "one_process_trades_per_second": len(SHARDS) * trades / seconds[1],
        "two_process_trades_per_second": len(SHARDS) * trades / seconds[2],
        "two_process_speedup": seconds[1] / seconds[2],
        "two_loops_speedup": free,
    }


def record(directory: Path, trades: int) -> None:
    """A store with the same trades in each shard's journal."""
    open_store(directory, "simulated", SHARDS)
    listed = msgspec.json.encode(tuple(instruments(SYMBOLS).values()))
    made = frames(SYMBOLS, trades)
    first = made[0]
    entries = [(first.received, first.connection, 0, "metadata", listed)]
    entries += [(one.received, one.connection, one.number, one.kind, one.payload) for one in made]
    for shard in SHARDS:
        journal = Journal.open(directory / "journal" / shard, exchange="binance", shard=shard, now=0)
        for start in range(0, len(entries), 1_000):
            journal.append(entries[start : start + 1_000])  # type: ignore[arg-type]
        journal.close()


def replayed(directory: Path, processes: int) -> float:
    """Seconds from the first process's first look at a journal to the last process's end."""
    recovery = directory / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, len(SHARDS))  # type: ignore[no-untyped-call]
    addresses = free_addresses(processes) if processes > 1 else ()
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cluster", json.dumps((str(directory), process, addresses))],
            stdout=subprocess.PIPE,
        )
        for process in range(processes)
    ]
    said = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise RuntimeError(f"a replay ended with {[process.returncode for process in started]}")
    times = [json.loads(each.splitlines()[-1]) for each in said]  # the engine may have said something before
    shutil.rmtree(recovery)
    return max(ended for _, ended in times) - min(began for began, _ in times)


def replay(directory: Path, process: int, addresses: list[str]) -> tuple[float, float]:
    """One process, to the end of its journals: when it began, and when it ended."""
    store = read(directory)
    assert store is not None
    reading = Reading(directory=directory, epoch_seconds=EPOCH_SECONDS, alone=not addresses, ends=True)
    source, summary = JournalSource(store.slots, reading, batch_of), Summary(store.slots)
    began = [0.0]
    build_part = source.build_part

    def first(*arguments: object) -> object:
        began[0] = began[0] or time.monotonic()
        return build_part(*arguments)  # type: ignore[arg-type]

    source.build_part = first  # type: ignore[method-assign,assignment]
    cli_main(  # type: ignore[no-untyped-call]
        build(source, {"summarise": summary}, chain(VENUES)),
        process_id=process if addresses else None,
        addresses=addresses or None,
        epoch_interval=timedelta(seconds=EPOCH_SECONDS),
        recovery_config=RecoveryConfig(directory / "recovery"),  # type: ignore[no-untyped-call]
    )
    assert summary.totals["binance"]["trades"], "nothing was replayed"
    return began[0], time.monotonic()


def loops(count: int) -> float:
    """Seconds that so many empty loops take side by side, each by its own clock."""
    started = [subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE) for _ in range(count)]
    return max(float(one.communicate()[0]) for one in started)


if __name__ == "__main__":
    print(json.dumps(replay(Path((told := json.loads(sys.argv[1]))[0]), *told[1:])))
