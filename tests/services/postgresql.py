"""A PostgreSQL of our own, that asks for passwords."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.services.programs import Server, find_postgresql, free_ports, plain_user, running

USER, PASSWORD = "tape", "only a test"


class PostgreSQL(NamedTuple):
    """How to reach it."""

    port: int
    server: Server
    programs: Path

    def make_database(self, name: str) -> None:
        """An empty database."""
        self.run("createdb", name)

    def run(self, program: str, *words: str) -> None:
        """Run one of its own programs against it."""
        subprocess.run(
            [self.programs / program, "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, *words],
            env={**os.environ, "PGPASSWORD": PASSWORD},
            check=True,
            capture_output=True,
        )


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """One that runs meanwhile; what it would lose with the machine's power is not worth a test's time."""
    programs, user = find_postgresql(), plain_user()
    # Not below a directory of the tests, which are nobody's but the one's who runs them.
    with tempfile.TemporaryDirectory(prefix="tape-postgresql-") as name:
        directory = Path(name)
        (directory / "password").write_text(PASSWORD)
        if user is not None:
            shutil.chown(directory, user)
            shutil.chown(directory / "password", user)
        initialise = ["initdb", "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile=password"]
        initialise[0] = str(programs / initialise[0])
        subprocess.run(
            [*initialise, "--no-sync", "-E", "UTF8"],
            check=True,
            capture_output=True,
            user=user,
            cwd=directory,
        )
        with running(server_of(directory, programs, user)) as server:
            yield PostgreSQL(server.port, server, programs)


def server_of(directory: Path, programs: Path, user: str | None) -> Server:
    """A server over data that is there."""
    (port,) = free_ports(1)
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "ssl": "off",
    }
    words = [str(programs / "postgres"), "-D", str(directory / "data")]
    words += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def ready() -> bool:
        asked = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
        return subprocess.run(asked, check=False).returncode == 0

    # Its word for: without waiting for those that are connected.
    return Server(words, directory / "log", ready, user=user, port=port, goodbye=signal.SIGINT)
