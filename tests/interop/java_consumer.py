"""The Java example of docs/examples reads a topic in which messages stand twice, each once."""

import shutil
import subprocess
import uuid
from pathlib import Path

from connectors.registry import Registry
from tests.interop.jars import jars
from tests.services.jars import kafka_and_registry
from tests.services.kafka import kafka
from tests.services.programs import NotHere, find_java
from tests.services.registry import registry
from tests.services.twice import LINES, sent_twice

EXAMPLE = Path(__file__).parent.parent.parent / "docs" / "examples" / "ReadTrades.java"


def run() -> None:
    """A broker, a registry, a topic, and the example as its first line says."""
    if shutil.which("javac") is None:
        raise NotHere("Java's compiler is not installed (Debian: apt-get install openjdk-17-jdk-headless)")
    with kafka() as broker, registry() as schemas, Registry(schemas.url) as client:
        topic = f"market.crypto.trades.{uuid.uuid4().hex}"
        count = sent_twice(broker.plain, client, topic)
        path = [f"{kafka_and_registry() / 'kafka'}/*", *map(str, jars("avro-tools"))]
        command = [str(find_java()), "-cp", ":".join(path), str(EXAMPLE), broker.plain, schemas.url, topic]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout
    found = sorted(said.splitlines())
    if found != LINES:
        raise SystemExit(f"Java's consumer read {found}")
    print(f"Java's consumer read {len(found)} trades of {count} messages, each once")
