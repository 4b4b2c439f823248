"""Topics are made when they are missing, never changed, and what differs is said or refused."""

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from confluent_kafka.admin import AdminClient, NewTopic
from structlog.testing import capture_logs

from connectors import topics
from connectors.brokers import KafkaError, Unreachable
from connectors.kafka_settings import KafkaSettings
from connectors.topics import (
    MESSAGE_BYTES_MAX,
    Wanted,
    compared,
    look,
    make,
    partition_of,
    prepare,
    topic_of,
    wanted_topics,
)
from schemas import Bar, DeadLetter, Trade

if TYPE_CHECKING:
    from tests.services.kafka import Kafka

WEEK = str(7 * 86_400_000)


def test_topics_are_named_for_what_is_in_them() -> None:
    assert [topic.name for topic in wanted_topics(KafkaSettings(), ["kraken", "kraken"])] == [
        "market.crypto.raw.kraken",
        "market.crypto.trades.kraken",
        "market.crypto.quotes.kraken",
        "market.crypto.gaps.kraken",
        "market.crypto.dead-letters.kraken",
        "market.crypto.bars.kraken",
    ]
    assert topic_of(DeadLetter, "binance") == "market.crypto.dead-letters.binance"


def test_a_partition_never_changes() -> None:
    keys = ("binance:spot:BTC-USDT", "binance:spot:ETH-USDT", "kraken:spot:BTC-USD", "kraken-0")
    assert [partition_of(key, 8) for key in keys] == [7, 5, 3, 5]
    assert partition_of(keys[0], 1) == 0


AS_WANTED = {"compression.type": "lz4", "cleanup.policy": "delete", "retention.ms": WEEK}
AS_COMPACTED = {"compression.type": "lz4", "cleanup.policy": "compact"}


@pytest.mark.parametrize(
    ("record_type", "partitions", "replicas", "changed", "said", "refused"),
    [
        (Trade, 8, 3, {}, [], False),
        (Trade, 0, 0, {}, ["missing"], False),
        (Trade, 9, 3, {}, ["partitions is 9, wanted 8"], False),
        (
            Trade, 7, 3, {},
            ["partitions is 7, wanted 8: to add partitions now would break the order of symbols"], True,
        ),
        (
            Trade, 8, 1, {},
            ["replication is 1, wanted 2: it would survive fewer brokers than asked for"], True,
        ),
        (Trade, 8, 3, {"compression.type": "producer"}, ["compression.type is producer, wanted lz4"], False),
        (Trade, 8, 3, {"retention.ms": "-1"}, [f"retention.ms is -1, wanted {WEEK}"], False),
        (
            Trade, 8, 3, {"retention.ms": "5"},
            [f"retention.ms is 5, wanted {WEEK}: records would be gone before their time"], True,
        ),
        (
            Trade, 8, 3, {"cleanup.policy": "compact,delete"},
            [
                "cleanup.policy is compact,delete, wanted delete: "
                "only the newest record of each symbol would be kept"
            ],
            True,
        ),
        (
            Bar, 8, 3, {"cleanup.policy": "delete"},
            ["cleanup.policy is delete, wanted compact: bars would be gone after the retention time"], True,
        ),
    ],
)  # fmt: skip
def test_what_differs_is_said_and_refused_where_it_does_harm(
    record_type: Any, partitions: int, replicas: int, changed: dict[str, str], said: list[str], refused: bool
) -> None:
    settings = KafkaSettings(replication=2 if replicas == 1 else 0)
    (wanted,) = [one for one in wanted_topics(settings, ["x"]) if one.name == topic_of(record_type, "x")]
    found = (AS_COMPACTED if record_type is Bar else AS_WANTED) | changed
    differences = list(compared(wanted, partitions, replicas, found))
    assert [each.said for each in differences] == said
    assert any(each.why for each in differences) == refused


def test_topics_are_made_once_and_are_as_wanted(kafka: "Kafka") -> None:
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    venue = f"v{uuid.uuid4().hex[:12]}"
    wanted = wanted_topics(KafkaSettings(partitions=2, compression="zstd", retention_days=9), [venue])
    assert [each.said for topic in look(admin, wanted) for each in topic.differences] == ["missing"] * 6
    with capture_logs() as logged:
        prepare(admin, wanted, structlog.get_logger())
        prepare(admin, wanted, structlog.get_logger())
    assert [line["event"] for line in logged] == ["topics made"]
    make(admin, wanted)  # as does who was second
    found = {topic.wanted.name: topic for topic in look(admin, wanted)}
    assert not [each for topic in found.values() for each in topic.differences]
    assert found[topic_of(Bar, venue)].configuration == {
        "compression.type": "zstd",
        "cleanup.policy": "compact",
    }
    assert found[topic_of(DeadLetter, venue)].configuration == {
        "compression.type": "zstd",
        "cleanup.policy": "delete",
        "retention.ms": str(9 * 86_400_000),
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
    }


def test_what_somebody_made_at_the_same_moment_is_looked_at_too(
    kafka: "Kafka", monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    venue = f"v{uuid.uuid4().hex[:12]}"
    wanted = [each for each in wanted_topics(KafkaSettings(partitions=4), [venue]) if ".trades." in each.name]
    seen = look(admin, wanted)
    admin.create_topics([NewTopic(wanted[0].name, 1, 1)])[wanted[0].name].result(10)
    looks = iter([seen, seen])  # as a broker that has not heard of it
    monkeypatch.setattr(topics, "look", lambda *asked: next(looks, None) or look(*asked))
    with capture_logs() as logged, pytest.raises(KafkaError, match="partitions is 1, wanted 4"):
        prepare(admin, wanted, structlog.get_logger())
    assert logged == []


def test_a_topic_that_no_broker_comes_to_know_is_an_outage(
    kafka: "Kafka", monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    wanted = wanted_topics(KafkaSettings(partitions=1), [f"v{uuid.uuid4().hex[:12]}"])[:1]
    seen = look(admin, wanted)
    monkeypatch.setattr(topics, "look", lambda *_: seen)
    monkeypatch.setattr(topics, "ANSWER_SECONDS", 0.5)
    with capture_logs(), pytest.raises(Unreachable, match="was made, and brokers do not know it yet"):
        prepare(admin, wanted, structlog.get_logger())


def test_all_that_is_refused_is_told_at_once_and_the_rest_is_warned_of(kafka: "Kafka") -> None:
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    venue = f"v{uuid.uuid4().hex[:12]}"
    trades, bars, quotes = (f"market.crypto.{kind}.{venue}" for kind in ("trades", "bars", "quotes"))
    there = [
        NewTopic(trades, num_partitions=1, replication_factor=1),
        NewTopic(bars, num_partitions=2, replication_factor=1),
        NewTopic(quotes, num_partitions=3, replication_factor=1, config={"compression.type": "gzip"}),
    ]
    for answer in admin.create_topics(there).values():
        answer.result(10)
    wanted = wanted_topics(KafkaSettings(partitions=2), [venue])
    with capture_logs() as logged, pytest.raises(KafkaError) as told:
        prepare(admin, wanted, structlog.get_logger())
    assert str(told.value).splitlines() == [
        f"{trades}: partitions is 1, wanted 2: to add partitions now would break the order of symbols",
        f"{bars}: cleanup.policy is delete, wanted compact: bars would be gone after the retention time",
    ]
    assert "tape topics" in told.value.hint
    assert [line["event"] for line in logged] == ["topics made"]
    fine = [topic for topic in wanted if topic.name == quotes]
    with capture_logs() as logged:
        prepare(admin, fine, structlog.get_logger())
    assert [line["difference"] for line in logged] == [
        "partitions is 3, wanted 2",
        "compression.type is gzip, wanted lz4",
    ]


def test_what_brokers_do_not_take_is_told(kafka: "Kafka") -> None:
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    name = f"market.crypto.trades.v{uuid.uuid4().hex[:12]}"
    with pytest.raises(KafkaError, match=rf"the topic {name} cannot be made: ") as told:
        make(admin, [Wanted(name, 1, 9, {})])
    assert told.value.hint == "set kafka.replication to at most as many as there are brokers"
