"""Kills the lake's sink again and again, at any moment and at every named place, and compares all rows.

`python -m tests.campaigns.kill_sink --kills n --seed s`. A round is one store from its first start to the end
of its journals, by one to three processes in turn; now and then an old copy of the recovery state is put
back. A reader polls lake and tail all the time: it must never see a row twice, nor see one vanish.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pyiceberg.exceptions import NoSuchTableError

from connectors import failpoints
from connectors.catalog import open_catalog
from connectors.slots import open_store
from connectors.tail import as_of_now
from schemas import DeadLetter, Frame, Gap, Trade
from schemas.iceberg import TABLES
from tests.campaigns.lake_driver import Job, check, drive, expected

ROOT = Path(__file__).parent.parent.parent
# What a killed process wrote stays, synced or not: a disk would only make every epoch slower.
MEMORY = Path("/dev/shm")
FIGURES = ROOT / "build" / "figures" / "kill-sink.json"

SHARDS = ("binance-0", "binance-1", "kraken-0", "coinbase-0")
# Of each shard: what makes a round long enough for a dozen kills.
FRAMES = 1_000
PROCESSES_MAX = 3
PATIENCE_SECONDS = 60.0
PLACES = [name for name in failpoints.NAMES if name.startswith(("iceberg.", "tail."))]


@dataclass
class Result:
    """What a campaign found."""

    kills: int = 0
    rounds: int = 0
    lost: int = 0
    doubled: int = 0
    polls: int = 0
    restored: int = 0  # old copies of the state put back
    failures: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)


class Round:
    """One store, killed until a start comes to the end."""

    def __init__(
        self, directory: Path, random: Random, kills_max: int, result: Result, places: list[str], frames: int
    ) -> None:
        self.directory, self.random, self.kills_left, self.result = directory, random, kills_max, result
        self.places, self.frames = places, frames
        self.log = directory / "log"
        directory.mkdir()
        open_store(directory, "simulated", SHARDS)

    def run(self) -> None:
        """All starts, with a reader beside them."""
        reader = fork(lambda: watch(self.directory), "", self.log)
        try:
            while not self.attempt(self.random.randint(1, PROCESSES_MAX)):
                self.restore()
        finally:
            (self.directory / "done").touch()
            code = wait_for([reader], PATIENCE_SECONDS)[reader]
        if code:
            self.result.failures.append(f"the reader failed: {self.last_words()}")

    def restore(self) -> None:
        """Put an old copy of a shard's state back, or take one."""
        for shard in SHARDS:
            state, copy = self.directory / f"state-{shard}", self.directory / f"copy-{shard}"
            if copy.exists() and self.random.random() < 0.2:
                shutil.copy(copy, state)
                self.result.restored += 1
            elif state.exists() and self.random.random() < 0.3:
                shutil.copy(state, copy)

    def attempt(self, processes: int) -> bool:
        """One start; whether it came to the end."""
        striking = self.kills_left > 0 and bool(self.places) and self.random.random() < 0.6
        place = self.random.choice(self.places) if striking else ""
        victim = self.random.randrange(processes)
        started = []
        for process in range(processes):
            own = SHARDS[process::processes]
            job = Job(str(self.directory), own, self.frames, self.random.randrange(2**32))
            at = f"{place}:kill:{self.random.randint(1, 9)}" if process == victim and place else ""
            started.append(fork(lambda job=job: drive(job), at, self.log))  # type: ignore[misc]
        seconds = PATIENCE_SECONDS if place or self.kills_left <= 0 else self.random.uniform(0.05, 1.5)
        codes = wait_for(started, seconds)
        if started[victim] not in codes and not place:
            os.kill(started[victim], signal.SIGKILL)
            place = "any moment"
            codes |= wait_for([started[victim]], 1.0)
        for process in set(started) - set(codes):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        code = codes.get(started[victim], -1)
        if all(code == 0 for code in codes.values()) and len(codes) == processes:
            return True
        if code != -signal.SIGKILL:
            raise RuntimeError(f"ended by itself: {codes}: {self.last_words()}")
        self.kills_left -= 1
        self.result.kills += 1
        self.result.places[place] += 1
        return False

    def last_words(self) -> str:
        return self.log.read_text()[-2_000:]


def watch(directory: Path) -> None:
    """Poll lake and tail until the round is over."""
    seen: set[str] = set()
    polls = 0
    catalog = open_catalog(directory)
    while not (directory / "done").exists():
        try:
            instant = as_of_now(catalog, directory, Trade)
        except NoSuchTableError:
            continue
        ids = [*instant.published["message_id"].to_pylist(), *instant.provisional["message_id"].to_pylist()]
        assert len(ids) == len(set(ids)), f"doubled: {[i for i, n in Counter(ids).items() if n > 1][:5]}"
        assert seen <= set(ids), f"vanished: {sorted(seen - set(ids))[:5]}"
        seen = set(ids)
        polls += 1
        time.sleep(0.05)  # it shares two cores with those that it watches
    (directory / "polls").write_text(str(polls))


def differences(directory: Path, frames: int) -> None:
    """Write what is missing and what is too many, in a process of its own."""
    catalog = open_catalog(directory)
    lost = doubled = 0
    for record_type in (Frame, Trade, DeadLetter, Gap):
        rows = catalog.load_table(TABLES[record_type].name).scan().to_arrow()
        names = [name for name in ("message_id", "shard", "position") if name in rows.schema.names]
        found, wanted = (
            Counter(zip(*(each[name].to_pylist() for name in names), strict=True))
            for each in (rows, expected(record_type, SHARDS, frames))
        )
        lost += (wanted - found).total()
        doubled += (found - wanted).total()
    problems = check(Job(str(directory), SHARDS, frames), SHARDS)
    (directory / "differences").write_text(json.dumps([lost, doubled, problems]))


def fork(work: Callable[[], None], failpoint: str, log: Path) -> int:
    """A process that has everything imported already."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        failpoints._armed = failpoints.parse(failpoint)
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001  # a fork must never go on as its parent
        print(f"{error!r}"[:1_000], flush=True)
    finally:
        os._exit(code)


def wait_for(processes: list[int], seconds: float) -> dict[int, int]:
    """Exit codes of those that have ended within the time, or until one did not end well."""
    deadline = time.monotonic() + seconds
    codes: dict[int, int] = {}
    while len(codes) < len(processes) and time.monotonic() < deadline:
        for process in set(processes) - set(codes):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                codes[process] = os.waitstatus_to_exitcode(status)
        if any(codes.values()):
            break
        time.sleep(0.005)
    return codes


def campaign(kills: int, seed: int, places: list[str], frames: int) -> Result:
    """Rounds until so many kills are done."""
    result = Result()
    while result.kills < kills and not result.failures:
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
            directory = Path(name) / "store"
            random = Random(f"{seed} {result.rounds}")
            one = Round(directory, random, min(12, kills - result.kills), result, places, frames)
            try:
                one.run()
            except RuntimeError as error:
                result.failures.append(str(error))
                break
            fork_and_wait(lambda: differences(directory, frames), one)  # noqa: B023
            lost, doubled, problems = json.loads((directory / "differences").read_text())
            result.polls += int((directory / "polls").read_text()) if (directory / "polls").exists() else 0
            result.lost, result.doubled = result.lost + lost, result.doubled + doubled
            result.failures += [f"round {result.rounds}: {problem}" for problem in problems]
            result.rounds += 1
    return result


def fork_and_wait(work: Callable[[], None], one: Round) -> None:
    process = fork(work, "", one.log)
    if wait_for([process], PATIENCE_SECONDS) != {process: 0}:
        raise RuntimeError(one.last_words())


def command() -> int:
    """The campaign as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill_sink")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--place", choices=PLACES, action="append", help="strike only there")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each shard, in a round")
    parser.add_argument("--no-figures", action="store_true")
    said = parser.parse_args()
    seed = Random().randrange(2**32) if said.seed is None else said.seed
    began = time.monotonic()
    result = campaign(said.kills, seed, said.place or PLACES, said.frames)
    for failure in result.failures:
        print(failure)
    print(f"places: {dict(result.places.most_common())}")
    print(
        f"kills {result.kills}, rounds {result.rounds}, lost {result.lost}, doubled {result.doubled}, "
        f"failures {len(result.failures)}, polls {result.polls}, old copies restored {result.restored}, "
        f"seed {seed}, {time.monotonic() - began:.0f} s"
    )
    if not said.no_figures:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], check=True, cwd=ROOT, capture_output=True, text=True
        ).stdout
        figures = {
            "kills": result.kills,
            "lost": result.lost,
            "doubled": result.doubled,
            "failures": len(result.failures),
            "polls": result.polls,
            "seed": seed,
            "catalog": "sqlite",
            "places": dict(result.places),
            "commit": commit.strip(),
        }
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if result.failures or result.lost or result.doubled else 0


if __name__ == "__main__":
    sys.exit(command())
