"""Kills the flow again and again and compares what it published with the straight run, record by record.

`make kill KILLS=n SEED=s`. A round is one store from its first start to the end of its journals: killed at
random moments and at failpoints, as one process and as clusters of two and three, in random order. A round
that differs is printed with the command that repeats its plan.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import msgspec
from bytewax.recovery import init_db_dir

from connectors import failpoints
from connectors.slots import Store
from tests.campaigns.exactly_once import Row, published
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, main, output, straight

ROOT = Path(__file__).parent.parent.parent
# What a killed process wrote stays, synced or not: a disk would only make every epoch slower.
MEMORY = Path("/dev/shm")
FIGURES = ROOT / "build" / "figures" / "kill.json"

SHARDS = ("binance-0", "binance-1", "binance-2", "binance-3")
FRAMES = 6_000
PROCESSES_MAX = 3
RECOVERY_FILES = 4
# A process that is neither done nor dead by then hangs, which is a failure of its own.
PATIENCE_SECONDS = 60.0
# Where our processes come by; the others are of capture, or of a sink that is not in this flow.
PLACES = [name for name in failpoints.NAMES if not name.startswith(("journal.", "iceberg.", "tail."))]


@dataclass
class Result:
    """What a campaign found."""

    kills: int = 0
    rounds: int = 0
    lost: int = 0
    doubled: int = 0
    failures: list[str] = field(default_factory=list)
    processes: Counter[int] = field(default_factory=Counter)  # starts, by size of cluster
    places: Counter[str] = field(default_factory=Counter)  # kills, by where


class Hung(Exception):
    """Processes that were neither done nor dead in time."""


class Round:
    """One store from its first start to the end of its journals."""

    def __init__(self, directory: Path, template: Path, seed: str, kills_max: int, result: Result) -> None:
        self.random = Random(seed)
        self.directory = directory
        self.recovery = directory / "recovery"
        self.kills_left = kills_max
        self.result = result
        self.log = directory / "log"
        directory.mkdir()
        shutil.copy(template / "store.json", directory)
        (directory / "journal").symlink_to(template / "journal")
        self.recovery.mkdir()
        init_db_dir(self.recovery, RECOVERY_FILES)

    def run(self) -> None:
        """Start and kill until a start comes to the end."""
        while not self.attempt(self.random.randint(1, PROCESSES_MAX)):
            pass

    def attempt(self, processes: int) -> bool:
        """One start; whether it came to the end."""
        self.result.processes[processes] += 1
        addresses = free_addresses(processes) if processes > 1 else ()
        place = self.random.choice(PLACES) if self.kills_left > 0 and self.random.random() < 0.5 else ""
        victim = self.random.randrange(processes)
        started: list[int] = []
        for process in range(processes):
            at = f"{place}:kill:{self.random.randint(1, 12)}" if place and process == victim else ""
            job = Job(str(self.directory), str(self.recovery), process, addresses)
            started.append(fork(job, at, self.log))
        if place or self.kills_left <= 0:
            ended = wait(started, PATIENCE_SECONDS, until_dead=True)
        else:
            ended = wait(started, self.random.uniform(0.02, 1.2))
            if started[victim] not in ended and not any(ended.values()):
                place = "any moment"
                os.kill(started[victim], signal.SIGKILL)
        codes = finish(started, ended)
        if all(code == 0 for code in codes.values()):
            return True
        if codes[started[victim]] != -signal.SIGKILL:
            raise Hung(f"ended by itself: {sorted(codes.values())}\n{self.log.read_text()[-3000:]}")
        self.kills_left -= 1
        self.result.kills += 1
        self.result.places[place] += 1
        return False


def fork(job: Job, failpoint: str, log: Path) -> int:
    """A process of the flow that has everything imported already."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        failpoints._armed = failpoints.parse(failpoint)
        main(job)
        code = 0
    except BaseException as error:  # noqa: BLE001  # a fork must never go on as its parent
        print(f"process {job.process}: {error!r}", flush=True)
    finally:
        os._exit(code)


def wait(processes: list[int], seconds: float, *, until_dead: bool = False) -> dict[int, int]:
    """Exit codes of those that have ended, when all have, when one died, or when time is up."""
    deadline = time.monotonic() + seconds
    codes: dict[int, int] = {}
    while time.monotonic() < deadline:
        for process in processes:
            if process not in codes and (code := reaped(process)) is not None:
                codes[process] = code
        if len(codes) == len(processes) or any(codes.values()):
            return codes
        time.sleep(0.005)
    if until_dead:
        for process in set(processes) - set(codes):
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        raise Hung(f"{len(processes)} processes, {len(codes)} ended after {seconds} s")
    return codes


def finish(processes: list[int], codes: dict[int, int]) -> dict[int, int]:
    """All exit codes; when one process is dead the others follow, which is given a moment, then hastened."""
    deadline = time.monotonic() + 0.2
    codes = dict(codes)
    while len(codes) < len(processes):
        for process in processes:
            if process not in codes and (code := reaped(process)) is not None:
                codes[process] = code
        if time.monotonic() > deadline:
            for process in set(processes) - set(codes):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    return codes


def reaped(process: int) -> int | None:
    """The exit code of a process that has ended."""
    found, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def free_addresses(count: int) -> tuple[str, ...]:
    """Addresses on loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return addresses


def differences(expected: dict[str, list[Row]], found: dict[str, list[Row]]) -> tuple[int, int]:
    """Rows that are missing, and rows that are too many; a row in the wrong place is both."""
    lost = doubled = 0
    for shard, rows in expected.items():
        if found.get(shard, []) == rows:
            continue
        want = Counter(map(msgspec.json.encode, rows))
        have = Counter(map(msgspec.json.encode, found.get(shard, [])))
        lost += (want - have).total() or 1
        doubled += (have - want).total()
    return lost, doubled


def campaign(kills: int, seed: int, only: int | None = None) -> Result:
    """Rounds until so many kills are done."""
    result = Result()
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as name:
        template = Path(name) / "template"
        store: Store = record(template, SHARDS, FRAMES, seed)
        expected = straight(template, store.slots)
        number = only or 0
        while result.kills < kills or only is not None:
            directory = Path(name) / f"round-{number}"
            before = result.kills
            round_ = Round(directory, template, f"{seed} {number}", min(20, kills - result.kills), result)
            problem = ""
            try:
                round_.run()
            except Hung as error:
                problem = str(error)
            lost, doubled = differences(expected, published(output(directory)))
            result.rounds += 1
            result.lost += lost if not problem else 0
            result.doubled += doubled
            if lost or doubled or problem:
                again = f"python -m tests.campaigns.kill --kills {kills} --seed {seed} --round {number}"
                result.failures.append(
                    f"round {number}: {lost} lost, {doubled} doubled {problem}\n  again: {again}"
                )
            if result.kills == before and problem:
                break
            shutil.rmtree(directory)
            if only is not None:
                break
            print(f"round {number}: {result.kills} kills, {lost} lost, {doubled} doubled", flush=True)
            number += 1
    return result


def write_figures(result: Result, seed: int) -> None:
    """What `make kill` leaves for comparison."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, cwd=ROOT, capture_output=True, text=True
    ).stdout
    figures = {
        "kills": result.kills,
        "lost": result.lost,
        "doubled": result.doubled,
        "failures": len(result.failures),
        "rounds": result.rounds,
        "seed": seed,
        "commit": commit.strip(),
        "machine": f"{platform.machine()} {os.cpu_count()} cores, Python {platform.python_version()}",
    }
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(figures, indent=2) + "\n")


def command() -> int:
    """The campaign as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--round", type=int, default=None, help="only this one")
    parser.add_argument("--no-figures", action="store_true")
    said = parser.parse_args()
    seed = Random().randrange(2**32) if said.seed is None else said.seed
    began = time.monotonic()
    result = campaign(said.kills, seed, said.round)
    seconds = time.monotonic() - began
    for failure in result.failures:
        print(failure)
    starts = ", ".join(f"{count} with {size}" for size, count in sorted(result.processes.items()))
    print(f"processes: {starts}; places: {dict(result.places.most_common())}")
    print(
        f"kills {result.kills}, rounds {result.rounds}, lost {result.lost}, doubled {result.doubled}, "
        f"failures {len(result.failures)}, seed {seed}, {seconds:.0f} s"
    )
    if not said.no_figures and said.round is None:
        write_figures(result, seed)
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(command())
