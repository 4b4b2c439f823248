"""What campaigns have in common: one store that is killed again and again until a start comes to its end.

Every start is forked from a process that has everything imported already, so the process that forks must
never have had a second thread. `python -m tests.campaigns.rounds '[{"directory": …}, …]'` starts one cluster.
"""

import os
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from random import Random

import msgspec
from bytewax.recovery import init_db_dir
from msgspec.structs import replace

from connectors import failpoints
from connectors.positions import expected_position
from tests.campaigns.running import Job, main

# What a killed process wrote stays, synced or not: a disk would only make every epoch slower.
MEMORY = Path("/dev/shm")

PROCESSES_MAX = 3
RECOVERY_FILES = 4
# A process that is neither done nor dead by then hangs, which is a failure of its own.
PATIENCE_SECONDS = 60.0
# Until a killed process is gone, however busy the machine is.
DEATH_SECONDS = 10.0
# The others of a cluster end by themselves within a second, for which a campaign does not wait.
FOLLOW_SECONDS = 0.2
# Of a round: more make its end too rare to see what went wrong.
KILLS_MAX = 20
ANY_MOMENT = "any moment"
ONCE = ("source.build", "iceberg.takeover")


@dataclass
class Result:
    """What a campaign found."""

    kills: int = 0
    rounds: int = 0
    lost: int = 0
    doubled: int = 0
    restored: int = 0  # old copies of the recovery files put back
    polls: int = 0  # looks of a reader beside it
    failures: list[str] = field(default_factory=list)
    processes: Counter[int] = field(default_factory=Counter)  # starts, by size of cluster
    places: Counter[str] = field(default_factory=Counter)  # kills, by where

    @property
    def is_caught(self) -> bool:
        """Whether rows were found missing or twice, which is wanted of the sink that is wrong alone."""
        return bool(self.lost or self.doubled)


class Hung(Exception):
    """Processes that were neither done nor dead in time, or that ended by themselves."""


class Round:
    """One store from its first start to the end of its journals."""

    def __init__(
        self,
        directory: Path,
        template: Path,
        number: int,
        *,
        seed: int,
        kills_max: int,
        places: list[str],
        seconds_max: float,
        result: Result,
    ) -> None:
        self.random = Random(f"{seed} {number}")
        self.directory, self.recovery = directory, directory / "recovery"
        self.kills_left, self.result = kills_max, result
        self.places = list(islice(cycle(places), KILLS_MAX))
        self.seconds_max = seconds_max
        self.log = directory / "log"
        directory.mkdir()
        shutil.copy(template / "store.json", directory)
        (directory / "journal").symlink_to(template / "journal")
        self.recovery.mkdir()
        init_db_dir(self.recovery, RECOVERY_FILES)

    def run(self, job: Job, shards: tuple[str, ...]) -> None:
        """Start and kill until a start comes to the end."""
        job = replace(job, directory=str(self.directory), recovery=str(self.recovery))
        while not self.attempt(job, self.random.randint(1, PROCESSES_MAX)):
            if self.random.random() < 0.2 and self.all_have_state(job, shards):
                self.restore()

    def attempt(self, job: Job, processes: int) -> bool:
        """One start; whether it came to the end."""
        self.result.processes[processes] += 1
        addresses = free_addresses(processes) if processes > 1 else ()
        striking = self.kills_left > 0 and bool(self.places) and self.random.random() < 0.6
        place = self.places.pop(0) if striking else ""
        victim = self.random.randrange(processes)
        started: list[int] = []
        for process in range(processes):
            # What a process comes by once in its life, or seldom, is not struck at a later time.
            times = (1, 1, 2) if place.startswith(("iceberg.", "tail.")) else (1, 1, 2, 4, 8)
            time_number = 1 if place in ONCE else self.random.choice(times)
            at = f"{place}:kill:{time_number}" if place and process == victim else ""
            own = replace(job, process=process, addresses=addresses)
            started.append(fork(lambda own=own: main(own), at, self.log))  # type: ignore[misc]
        patient = bool(place) or self.kills_left <= 0
        codes = wait(started, PATIENCE_SECONDS if patient else self.random.uniform(0.02, self.seconds_max))
        if not patient and started[victim] not in codes and not any(codes.values()):
            place = ANY_MOMENT
            os.kill(started[victim], signal.SIGKILL)
        codes |= followed(started, started[victim], codes, died=place == ANY_MOMENT or any(codes.values()))
        if all(codes.get(process) == 0 for process in started):
            return True
        hasten([process for process in started if process not in codes])
        if codes.get(started[victim]) != -signal.SIGKILL:
            raise Hung(f"not killed: {processes} processes, {sorted(codes.values())}: {self.last_words()}")
        self.kills_left -= 1
        self.result.kills += 1
        self.result.places[place] += 1
        return False

    def all_have_state(self, job: Job, shards: tuple[str, ...]) -> bool:
        """Whether every shard is known to have ended an epoch: without state nothing may go on at all."""
        return all((expected_position(self.directory, shard) or 0) > job.epoch_frames_max for shard in shards)

    def restore(self) -> None:
        """Put an old copy of the recovery files back, or take one."""
        copy = self.directory / "recovery-copy"
        if copy.exists():
            shutil.rmtree(self.recovery)
            copy.rename(self.recovery)
            self.result.restored += 1
        else:
            shutil.copytree(self.recovery, copy)

    def last_words(self) -> str:
        """The end of what the processes said."""
        return self.log.read_text()[-3_000:]


def fork(work: Callable[[], None], failpoint: str, log: Path | None) -> int:
    """A process that has everything imported already; it says what it says into the log."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        if log is not None:
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


def wait(processes: list[int], seconds: float) -> dict[int, int]:
    """Exit codes of those that have ended, when all have, when one did not end well, or when time is up."""
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


def followed(processes: list[int], victim: int, codes: dict[int, int], *, died: bool) -> dict[int, int]:
    """What the rest does: where one died the victim is dead by now and the others have a moment."""
    found: dict[int, int] = {}
    if died and victim not in codes:
        found = wait([victim], DEATH_SECONDS)
    rest = [process for process in processes if process not in codes and process not in found]
    return found | wait(rest, FOLLOW_SECONDS if died else PATIENCE_SECONDS)


def hasten(processes: list[int]) -> None:
    """Kill those that have not ended."""
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def free_addresses(count: int) -> tuple[str, ...]:
    """Addresses on loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return addresses


def together(jobs: list[Job]) -> int:
    """The processes of one cluster, to their end; whether one did not end well."""
    started = [fork(lambda job=job: main(job), "", None) for job in jobs]  # type: ignore[misc]
    codes = wait(started, PATIENCE_SECONDS)
    hasten([process for process in started if process not in codes])
    return int(codes != dict.fromkeys(started, 0))


if __name__ == "__main__":
    sys.exit(together(msgspec.json.decode(sys.argv[1], type=list[Job])))
