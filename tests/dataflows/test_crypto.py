"""The flow gives what its steps give when simply called: through the engine, crashes, clusters, rescaling."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from bytewax.recovery import init_db_dir

from connectors.blocks import Entry
from connectors.journal_reader import JournalReader
from connectors.plans import shard_of
from connectors.positions import expected_position
from connectors.slots import Store, open_store
from tests.campaigns.exactly_once import Row, published
from tests.campaigns.recorded import append, entries, record
from tests.campaigns.rounds import MEMORY, free_addresses
from tests.campaigns.running import output, straight

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "binance-1", "binance-2")


def recovery(directory: Path) -> str:
    made = directory / "recovery"
    if not made.exists():
        made.mkdir()
        init_db_dir(made, 2)
    return str(made)


def run(directory: Path, processes: int = 1, **job: Any) -> None:
    """Run the flow to its end in so many processes."""
    addresses = free_addresses(processes) if processes > 1 else ()
    told = {"directory": str(directory), "recovery": recovery(directory), "addresses": addresses, **job}
    jobs = [told | {"process": process} for process in range(processes)]
    command = [sys.executable, "-m", "tests.campaigns.rounds", json.dumps(jobs)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.fixture
def store(tmp_path: Path, seed: int) -> Store:
    return record(tmp_path, SHARDS, 1_500, seed)


def test_one_process_gives_what_the_steps_give(tmp_path: Path, store: Store) -> None:
    run(tmp_path)

    rows = published(output(tmp_path))
    assert rows == straight(tmp_path, store.slots)
    kinds = {row[1] for row in rows["binance-0"]}
    assert kinds >= {"Trade", "Quote", "Gap", "DeadLetter", "Bar", "Tick"}


def test_what_was_published_is_not_published_again(tmp_path: Path, store: Store) -> None:
    run(tmp_path)
    once = published(output(tmp_path))
    run(tmp_path, processes=2)

    assert published(output(tmp_path)) == once


def test_a_venue_added_and_one_retired_leave_all_others_alone(
    tmp_path: Path, store: Store, seed: int
) -> None:
    whole = {shard: entries(shard, 3_000, seed) for shard in (*SHARDS, "binance-3")}
    run(tmp_path)
    for processes, shards in ((2, ("binance-3", "binance-1", "binance-2")), (3, ("binance-2",))):
        open_store(tmp_path, "simulated", shards)
        for shard in shards:
            known = frames(tmp_path, shard)
            append(tmp_path, shard, whole[shard][known : known + 700])
        run(tmp_path, processes=processes)

    now = open_store(tmp_path, "simulated")
    assert [slot.shard for slot in now.slots] == [*SHARDS, "binance-3"]
    assert published(output(tmp_path)) == straight(tmp_path, now.slots)


def frames(directory: Path, shard: str) -> int:
    """How many frames a journal holds."""
    if not (directory / "journal" / shard).exists():
        return 0
    reader = JournalReader(directory / "journal" / shard, exchange="binance", shard=shard)
    count = len(reader.read(1_000_000))
    reader.close()
    return count


def test_a_journal_that_lost_what_snapshots_know_goes_on_behind_it(
    tmp_path: Path, store: Store, seed: int
) -> None:
    run(tmp_path)
    before = published(output(tmp_path))["binance-1"]
    known = expected_position(tmp_path, "binance-1")
    assert known == frames(tmp_path, "binance-1")
    shutil.rmtree(tmp_path / "journal" / "binance-1")
    append(tmp_path, "binance-1", entries("binance-1", 400, seed + 1), expected_position=known)
    run(tmp_path)

    after = published(output(tmp_path))["binance-1"]
    assert after[: len(before)] == before
    added = after[len(before) :]
    assert (added[0][0], added[0][1]) == (known + 1, "Control")  # the metadata frame
    assert {row[1] for row in added} >= {"Trade", "DeadLetter", "Tick"}


def test_a_venue_spread_over_four_shards_and_processes_gives_what_one_gives(
    tmp_path: Path, seed: int
) -> None:
    one, four = tmp_path / "one", tmp_path / "four"
    whole = entries("binance-0", 4_000, seed)
    store = open_store(one, "simulated", ["binance-0"])
    append(one, "binance-0", whole)
    shards = [f"binance-{number}" for number in range(4)]
    open_store(four, "simulated", shards)
    for number, shard in enumerate(shards):
        append(four, shard, [each for each in whole if belongs(each, number)])
    run(four, processes=4)

    assert facts(published(output(four))) == facts(straight(one, store.slots))


def belongs(entry: Entry, number: int) -> bool:
    """Whether a frame belongs to a shard: by its symbol, what is ours to all, what has none to the first."""
    kind, payload = entry[3:]
    if kind in ("metadata", "tick"):
        return True
    found = re.search(rb'"(?:s|native)":"(\w+)"', payload)
    return (shard_of(found[1].decode(), 4) if found else 0) == number


def facts(rows: dict[str, list[Row]]) -> list[tuple[str, str]]:
    """What trades, quotes, gaps and bars say, wherever they were kept."""
    own = {"shard", "platform_sequence"}
    return sorted(
        (kind, json.dumps({name: value for name, value in record.items() if name not in own}, sort_keys=True))
        for shard in rows.values()
        for _, kind, record in shard
        if kind in ("Trade", "Quote", "Gap", "Bar")
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("sink", "kills", "frames"), [("files", 12, 3_000), ("lake", 5, 1_200), ("kafka", 5, 1_200)]
)
def test_killed_anywhere_in_any_number_of_processes_it_gives_the_same(
    sink: str, kills: int, frames: int, seed: int
) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.campaigns.kill", "--sink", sink, "--kills", str(kills)),
            *("--frames", str(frames), "--seed", str(seed), "--no-figures"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"kills {kills}, rounds" in ended.stdout
    # Topics promise nothing about repeats; that there was none is looked at where many are killed.
    assert re.search(rf"lost 0, doubled {'[0-9]+' if sink == 'kafka' else '0'}, failures 0", ended.stdout)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory where syncing costs nothing, so that only what a test does takes time."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else tmp_path) as directory:
        yield Path(directory)


def stalls(directory: Path, seed: int, *, heals: bool) -> list[float]:
    """What the ends of epochs cost a process of which the other paused once."""
    record(directory, ("binance-0", "binance-1"), 50, seed)
    run(
        directory,
        processes=2,
        ends=False,
        seconds=8.0,
        epoch_seconds=1.0,
        pause_process=0,
        pause_seconds=0.7,
        heals=heals,
        captured=("binance-0", "binance-1"),
    )
    found: list[float] = msgspec.json.decode((directory / "stalls-1.json").read_bytes())
    return found


@pytest.mark.long
def test_a_pause_delays_the_others_in_one_epoch_and_not_in_all(memory: Path, seed: int) -> None:
    with ThreadPoolExecutor(2) as both:
        healed = both.submit(stalls, memory / "healed", seed, heals=True)
        control = both.submit(stalls, memory / "control", seed, heals=False)

    # The first two epochs are before the pause; what a busy machine adds is no matter.
    assert len([stall for stall in control.result()[2:] if stall > 0.4]) >= 3, control.result()
    assert 1 <= len([stall for stall in healed.result()[2:] if stall > 0.4]) <= 2, healed.result()
