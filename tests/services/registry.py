"""A Schema Registry of our own, Apicurio, which speaks Confluent's API; keeps its schemas over a restart."""

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.services.jars import REGISTRY, kafka_and_registry, unpack
from tests.services.programs import Server, find_java, free_ports, running

MACHINE = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms128m", "-Xmx256m")
API = "/apis/ccompat/v7"


class Registry(NamedTuple):
    """How to reach it."""

    url: str
    server: Server


@contextmanager
def registry() -> Iterator[Registry]:
    """One that runs meanwhile."""
    with tempfile.TemporaryDirectory(prefix="tape-registry-") as name:
        directory = Path(name)
        unpack(kafka_and_registry() / REGISTRY, directory / "program")
        with running(server_of(directory)) as server:
            yield Registry(f"http://127.0.0.1:{server.port}{API}", server)


def server_of(directory: Path) -> Server:
    """A server over a program that was unpacked."""
    (port,) = free_ports(1)
    (jar,) = (directory / "program").rglob("*-runner.jar")
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": port,
        "quarkus.datasource.jdbc.url": f"jdbc:h2:file:{directory / 'schemas'}",
    }
    words = [str(find_java()), *MACHINE, *(f"-D{name}={value}" for name, value in settings.items())]

    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return Server([*words, "-jar", str(jar)], directory / "log", ready, port=port)
