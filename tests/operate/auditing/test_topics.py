"""A11 holds where topics have what silver has, and names what they lack or have beside it."""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from connectors.catalog import open_catalog
from connectors.kafka_settings import KafkaSettings
from connectors.settings import LakeSettings
from connectors.slots import mark_recovered
from dataflows.rebuilding import rebuild
from operate.auditing.auditor import audit
from operate.auditing.findings import Finding
from operate.auditing.reading import Asked
from tests.campaigns.kafka_driver import Read, read, until
from tests.campaigns.kafka_servers import without_topics
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, topics_of

if TYPE_CHECKING:
    from tests.services.kafka import Kafka
    from tests.services.registry import Registry

TRADES = "market.crypto.trades.binance"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture
def settings(kafka: "Kafka", registry: "Registry") -> KafkaSettings:
    job = Job("", brokers=kafka.plain, registry=registry.url)
    without_topics(job)
    return topics_of(job)


@pytest.fixture
def store(tmp_path: Path, settings: KafkaSettings, seed: int) -> Path:
    """Tables and topics of the same journals."""
    directory = tmp_path
    record(directory, ("binance-0", "binance-1"), 300, seed)
    rebuild(directory, mark_recovered(directory), LakeSettings(), now=1, topics=settings)
    return directory


Audited = Callable[[], Finding]


@pytest.fixture
def audited(store: Path, settings: KafkaSettings) -> Audited:
    """What A11 says now."""

    def look() -> Finding:
        now = time.time_ns() // 1_000
        found = audit(open_catalog(store), store, Asked(lambda _: True), deep=True, now=now, topics=settings)
        return next(each for each in found if each.check == "A11")

    return look


def again(settings: KafkaSettings, messages: Sequence[Read]) -> None:
    """Make the topic of trades anew, with these messages."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers[0], "log_level": 0})
    for answer in admin.delete_topics([TRADES]).values():
        answer.result(10)
    until(lambda: TRADES not in admin.list_topics(timeout=10).topics)
    made = NewTopic(
        TRADES, num_partitions=settings.partitions, replication_factor=1, config={"retention.ms": "-1"}
    )
    for answer in admin.create_topics([made]).values():
        answer.result(10)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers[0], "log_level": 0})
    for one in messages:
        producer.produce(TRADES, one.value, one.key, one.partition, headers=list(one.headers.items()))
    assert producer.flush(10) == 0


def identifier(message: Read) -> str:
    return message.headers["id"].decode()


@pytest.mark.long
def test_topics_have_what_silver_has_or_what_they_have_not_is_named(
    store: Path, settings: KafkaSettings, audited: Audited
) -> None:
    check_words(store, settings, audited)
    check_damage(settings, audited)
    check_retention(settings, audited)


def check_words(store: Path, settings: KafkaSettings, audited: Audited) -> None:
    """Where all is well, and where nobody looks."""
    found = audited()
    assert (found.verdict, found.note) == ("holds", "")
    assert found.counted > 300
    for topics, deep, why in (
        (None, True, "no topics are configured"),
        (KafkaSettings(), True, "no topics are configured"),
        (settings, False, "only with --deep"),
    ):
        listed = audit(open_catalog(store), store, Asked(lambda _: True), deep=deep, now=1, topics=topics)
        assert [each.note for each in listed if each.check == "A11"] == [why]


def check_damage(settings: KafkaSettings, audited: Audited) -> None:
    """What is missing, is too much, waits, or is there twice."""
    whole = read(settings, TRADES)
    of = [(one.partition, one.headers["frame"].rpartition(b":")[0]) for one in whole]
    most = max(set(of), key=of.count)  # messages of one shard in one partition
    own = [place for place, each in enumerate(of) if each == most]
    middle, newest = own[len(own) // 2], own[-1]
    try:
        again(settings, [one for place, one in enumerate(whole) if place != middle])
        found = audited()
        assert (found.violations, found.offenders) == (1, (f"{TRADES} lacks {identifier(whole[middle])}",))

        again(settings, whole[:newest] + whole[newest + 1 :])
        found = audited()
        lacking = f"{TRADES} lacks {identifier(whole[newest])}, and what came behind it"
        assert (found.violations, found.offenders) == (1, (lacking,))
        assert found.note == "1 newer rows wait to be sent"

        strange = whole[middle]._replace(headers={**whole[middle].headers, "id": b"binance:spot:X-Y:0:1"})
        others = whole[middle]._replace(headers={"id": b"x", "frame": f"{uuid.uuid4()}:binance-0:5".encode()})
        again(settings, [*whole[: middle + 1], strange, others, *whole[middle:]])
        found = audited()
        assert found.offenders == (f"{TRADES} has binance:spot:X-Y:0:1, and silver has not",)
        assert found.note == "1 messages are there more than once"
    finally:
        again(settings, whole)
    assert audited().verdict == "holds"


def check_retention(settings: KafkaSettings, audited: Audited) -> None:
    """What retention has removed is not missed."""
    before = audited().counted
    whole = read(settings, TRADES)
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers[0], "log_level": 0})
    upto = [
        TopicPartition(TRADES, number, max(one.offset for one in whole if one.partition == number) // 2)
        for number in {one.partition for one in whole}
    ]
    for answer in admin.delete_records(upto).values():
        answer.result(10)
    found = audited()
    assert (found.verdict, found.violations) == ("holds", 0)
    assert found.counted < before
