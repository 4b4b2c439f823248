"""A whole process with lake and Kafka side by side: killed, without brokers for a while, and stopped."""

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from connectors.catalog import open_catalog
from connectors.kafka_settings import KafkaSettings
from connectors.segments import removed
from connectors.topics import TYPES, topic_of
from schemas import Frame
from schemas.iceberg import TABLES
from tests.campaigns.kafka_driver import read
from tests.campaigns.kafka_servers import without_topics
from tests.campaigns.running import Job
from tests.dataflows.test_running import Started

if TYPE_CHECKING:
    from tests.services.kafka import Kafka
    from tests.services.registry import Registry

SHARD = "binance-0"
PATIENCE_SECONDS = 60.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]  # whole processes, again and again


@pytest.fixture
def place(kafka: "Kafka", registry: "Registry") -> KafkaSettings:
    """A broker without topics of ours."""
    without_topics(Job("", brokers=kafka.plain))
    return KafkaSettings(bootstrap_servers=(kafka.plain,), registry_url=registry.url, partitions=3)


@pytest.fixture
def start(tmp_path: Path, kafka: "Kafka", registry: "Registry") -> Iterator[Callable[[], Started]]:
    """Starts the flow's own command; what still runs at the end is killed."""
    all_of_them: list[Started] = []
    environment = {
        "TAPE_MODE": "simulated",
        "TAPE_VENUES__KRAKEN__ENABLED": "false",
        "TAPE_VENUES__COINBASE__ENABLED": "false",
        "TAPE_SIMULATOR__RATE": "300",
        "TAPE_SIMULATOR__FAULTS": "drop:0.01,duplicate:0.01",
        "TAPE_CAPTURE__SEGMENT_BYTES_MAX": "65536",
        "TAPE_LAKE__COMMIT_SECONDS": "1",
        "TAPE_KAFKA__BOOTSTRAP_SERVERS": kafka.proxied,
        "TAPE_KAFKA__REGISTRY_URL": registry.url,
        "TAPE_KAFKA__PARTITIONS": "3",
        "TAPE_METRICS__PORT": "0",
    }

    def begin() -> Started:
        all_of_them.append(Started(tmp_path, **environment))
        return all_of_them[-1]

    yield begin
    kafka.proxy.heal()
    for one in all_of_them:
        one.process.kill()
        one.process.wait()


def until(condition: Callable[[], Any], one: Started) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert one.process.poll() is None, one.text()
        assert time.monotonic() < deadline, one.text()[-2_000:]
        time.sleep(0.1)


def asked(one: Started, path: str) -> str:
    """What the process answers."""
    (line,) = one.until("metrics at")
    try:
        with urllib.request.urlopen(f"{line['address']}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def metric(one: Started, name: str) -> float:
    """The sum over all labels."""
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", asked(one, "/metrics"), re.MULTILINE)
    return sum(map(float, found))


def ids_in_topics(settings: KafkaSettings) -> dict[str, Counter[str]]:
    """How often each id is in each topic."""
    return {
        topic_of(each, "binance"): Counter(
            message.headers["id"].decode() for message in read(settings, topic_of(each, "binance"))
        )
        for each in TYPES
    }


def ids_in_tables(directory: Path) -> dict[str, Counter[str]]:
    """The same of the tables."""
    catalog, found = open_catalog(directory), {}
    for each in TYPES:
        rows = catalog.load_table(TABLES[each].name).scan().to_arrow()
        if each is Frame:
            pairs = zip(rows["shard"].to_pylist(), rows["position"].to_pylist(), strict=True)
            found[topic_of(each, "binance")] = Counter(f"{shard}:{position}" for shard, position in pairs)
        else:
            found[topic_of(each, "binance")] = Counter(rows["message_id"].to_pylist())
    return found


def test_topics_hold_what_tables_hold_whatever_happens(
    tmp_path: Path, start: Callable[[], Started], place: KafkaSettings, kafka: "Kafka", seed: int
) -> None:
    directory = tmp_path / "data" / "simulated"
    random = Random(seed)
    for _ in range(2):
        one = start()
        until(lambda one=one: metric(one, "tape_kafka_messages_total") > 500, one)
        time.sleep(random.uniform(0, 2))
        one.process.kill()
        one.process.wait()
    one = start()
    until(lambda: metric(one, "tape_kafka_repeats_total") > 0, one)
    until(lambda: removed(directory / "journal" / SHARD), one)
    # Brokers go, and the lake goes on; nothing that they lack leaves the journal.
    kafka.proxy.refuse()
    until(lambda: metric(one, "tape_kafka_up") == 0, one)
    until(lambda: "Kafka takes nothing: 127.0.0.1" in asked(one, "/readyz"), one)
    position = metric(one, "tape_kafka_position")
    epochs = metric(one, "tape_epochs_total")
    until(lambda: metric(one, "tape_epochs_total") >= epochs + 2, one)
    assert metric(one, "tape_kafka_position") == position
    assert metric(one, "tape_kafka_queue_messages") > 0
    assert max(segment.last for segment in removed(directory / "journal" / SHARD)) <= position
    kafka.proxy.heal()
    until(lambda: metric(one, "tape_kafka_up") == 1, one)
    until(lambda: json.loads(asked(one, "/readyz"))["ready"], one)
    until(lambda: max(each.last for each in removed(directory / "journal" / SHARD)) > position, one)
    one.process.terminate()
    assert one.ends() == 0, one.text()
    said = [line["event"] for line in one.said()]
    assert (
        said.count("cannot publish to Kafka, trying again") == said.count("can publish to Kafka again") == 1
    )
    topics, tables = ids_in_topics(place), ids_in_tables(directory)
    assert topics == tables
    assert all(topics[topic_of(each, "binance")] for each in TYPES if TYPES[each] != "dead-letters")


def test_who_may_not_write_is_told_in_two_lines(
    tmp_path: Path, kafka: "Kafka", registry: "Registry", start: Callable[[], Started]
) -> None:
    user, password = f"nobody-{uuid.uuid4().hex}", tmp_path / "password"
    password.write_text("wrong")
    one = Started(
        tmp_path,
        TAPE_MODE="simulated",
        TAPE_VENUES__KRAKEN__ENABLED="false",
        TAPE_VENUES__COINBASE__ENABLED="false",
        TAPE_KAFKA__BOOTSTRAP_SERVERS=kafka.sasl,
        TAPE_KAFKA__SECURITY_PROTOCOL="SASL_PLAINTEXT",
        TAPE_KAFKA__SASL_MECHANISM="PLAIN",
        TAPE_KAFKA__USER=user,
        TAPE_KAFKA__PASSWORD_FILE=str(password),
        TAPE_KAFKA__REGISTRY_URL=registry.url,
        TAPE_METRICS__PORT="0",
    )
    assert one.ends() == 1
    said = [line for line in one.text().splitlines() if not line.startswith("{")]
    assert said[0].startswith(
        f"error: Kafka cannot be reached: sasl_plaintext://{kafka.sasl}/bootstrap: SASL auth"
    )
    assert said[1] == ("hint: set kafka.user, TAPE_KAFKA__PASSWORD or …_FILE, and kafka.sasl_mechanism")
    assert "wrong" not in one.text()
