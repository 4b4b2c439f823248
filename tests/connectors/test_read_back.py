"""What has landed is found from the offsets on that the state knows, and of this shard and store alone."""

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from connectors import read_back as readings
from connectors.brokers import KafkaError, Unreachable, answered, client_properties
from connectors.kafka_settings import KafkaSettings
from connectors.messages import Message
from connectors.read_back import Landed, read_back
from connectors.topics import make, wanted_topics
from tests.campaigns.kafka_driver import store_of
from tests.campaigns.rounds import free_addresses

if TYPE_CHECKING:
    from tests.services.kafka import Kafka

OURS = store_of("x-0", store="ours")
TRADES, BARS = "market.crypto.trades.x", "market.crypto.bars.x"


def message(topic: str, identifier: str, position: int = 1) -> Message:
    return Message(topic, 0, b"", b"", identifier.encode(), position)


def test_what_landed_is_known_by_topic_and_id() -> None:
    landed = Landed()
    landed.add((TRADES, 0), b"x:spot:A-B:0:7", 12)
    landed.add((TRADES, 0), b"x:spot:A-B:0:6", 11)
    assert landed.last == 12
    assert landed.has(message(TRADES, "x:spot:A-B:0:7"))
    assert not landed.has(message(TRADES, "x:spot:A-B:0:8"))
    assert not landed.has(message("market.crypto.quotes.x", "x:spot:A-B:0:7"))


def test_a_bar_has_landed_where_a_higher_revision_has() -> None:
    landed = Landed()
    landed.add((BARS, 0), b"x:spot:A-B:1m:60:2", 12)
    landed.add((BARS, 0), b"x:spot:A-B:1m:60:1", 13)
    assert landed.has(message(BARS, "x:spot:A-B:1m:60:0"))
    assert landed.has(message(BARS, "x:spot:A-B:1m:60:2"))
    assert not landed.has(message(BARS, "x:spot:A-B:1m:60:3"))
    assert not landed.has(message(BARS, "x:spot:A-B:5m:60:0"))


def test_where_all_comes_once_more_what_is_older_than_what_is_there_had_landed() -> None:
    landed = Landed(rebuilding=True)
    assert not landed.has(message(TRADES, "anything", 1))  # nothing was ever sent
    landed.add((TRADES, 0), b"x:spot:A-B:0:7", 12)
    landed.add((TRADES, 1), b"x:spot:C-D:0:7", 5)
    assert landed.has(message(TRADES, "removed by retention", 11))
    assert not landed.has(message(TRADES, "x:spot:A-B:0:8", 12))
    assert landed.has(
        message(BARS, "x:spot:A-B:1m:60:0", 4)
    )  # nothing of it is there, and it is older than all
    assert not landed.has(message(BARS, "x:spot:A-B:1m:60:0", 5))
    assert not Landed().has(message(TRADES, "anything", 1))


def test_a_topic_is_read_from_there_to_its_end(kafka: "Kafka", monkeypatch: pytest.MonkeyPatch) -> None:
    settings = KafkaSettings(bootstrap_servers=(kafka.plain,), partitions=2)
    properties = client_properties(settings)
    venue = f"v{uuid.uuid4().hex[:12]}"
    topic = f"market.crypto.trades.{venue}"
    wanted = [each for each in wanted_topics(settings, [venue]) if each.name == topic]
    answered(properties, lambda admin: make(admin, wanted))
    producer = Producer({"bootstrap.servers": kafka.plain, "log_level": 0})
    for number in range(20):
        headers: Any = [
            ("id", b"%d" % number),
            (
                "frame",
                b"%s:%s:%d"
                % (
                    b"simulated-theirs" if number % 5 == 3 else b"simulated-ours",
                    b"other" if number % 5 == 4 else b"x-0",
                    100 + number,
                ),
            ),
        ]
        producer.produce(topic, b"value", partition=0, headers=headers)
    producer.produce(topic, b"from somebody without headers", partition=1)
    assert producer.flush(10) == 0
    places = {(topic, 0): 10, (topic, 1): 0}
    landed = read_back(properties, "x-0", OURS, places)
    assert [number for number in range(20) if landed.has(message(topic, str(number)))] == [
        10,
        11,
        12,
        15,
        16,
        17,
    ]
    assert (landed.last, landed.looked_at) == (117, 11)
    assert landed.ends == {(topic, 0): 20, (topic, 1): 1}
    live = replace(OURS, kind="live")
    with pytest.raises(KafkaError, match=f"{topic} holds simulated records, and this store is live") as told:
        read_back(properties, "x-0", live, places)
    assert told.value.hint
    # Without a state a few of the last ones are looked at, and a topic that was made anew is read whole.
    monkeypatch.setattr(readings, "MESSAGES_MAX", 5)
    landed = read_back(properties, "x-0", OURS, {(topic, 0): None, (topic, 1): 7_000})
    assert [number for number in range(20) if landed.has(message(topic, str(number)))] == [15, 16, 17]
    assert landed.ends == {(topic, 0): 20, (topic, 1): 1}


def test_brokers_that_are_away_are_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "ANSWER_SECONDS", 0.3)
    properties = client_properties(KafkaSettings(bootstrap_servers=free_addresses(1)))
    with pytest.raises(Unreachable, match="topics cannot be read back: no answer"):
        read_back(properties, "x-0", OURS, {(TRADES, 0): 0})
