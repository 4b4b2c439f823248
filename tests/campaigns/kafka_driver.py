"""Drives the sink of topics as the engine does, over rows that are a function of their position, and reads
topics as anybody would.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import Event
from typing import Any, NamedTuple

import structlog
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from msgspec import Struct

from connectors.kafka import Kafka, KafkaPartition, State, registry_of
from connectors.kafka_settings import KafkaSettings
from connectors.slots import Slot, Store
from connectors.source import Pulse
from connectors.topics import TYPES, topic_of
from schemas.framing import Reader
from tests.campaigns.lake_driver import batch_at

PATIENCE_SECONDS = 30.0


class Driven:
    """The sink in one process: epochs whose states are kept, as recovery would."""

    def __init__(
        self, settings: KafkaSettings, store: Store, states: Mapping[str, State | None] | None = None
    ) -> None:
        self.stop = Event()
        shards = [slot.shard for slot in store.slots]
        self.sink = Kafka(settings, store, shards, stop=self.stop, logger=structlog.get_logger())
        self.sink.start()
        known = states or {}
        self.partitions: dict[str, KafkaPartition] = {
            slot.shard: self.sink.build_part("", slot.partition, known.get(slot.shard))
            for slot in store.slots
        }

    def write(self, first: int, last: int, size: int = 7) -> None:
        """Frames of all shards, in batches, and a pulse behind each."""
        for shard, partition in self.partitions.items():
            for start in range(first, last + 1, size):
                partition.write_batch([batch_at(shard, start, min(last, start + size - 1)), Pulse(shard)])

    def snapshot(self) -> dict[str, State | None]:
        """The end of an epoch."""
        return {shard: partition.snapshot() for shard, partition in self.partitions.items()}

    def settle(self) -> None:
        """Wait until everything is acknowledged."""
        until(lambda: not any(waiting for waiting, _ in self.sink.bus.status().queued.values()))

    def begun(self) -> None:
        """Wait until all that was held back is sent."""
        until(lambda: self.sink.bus.has_begun(wait=False))
        for partition in self.partitions.values():
            assert partition._begin(wait=True)

    def die(self) -> None:
        """Be gone as by kill -9: what the client holds is never sent, and nobody hears of an outage."""
        self.sink.bus._closing.set()
        self.sink.bus._thread.join()
        self.sink.bus._producer.purge()

    def repeats(self) -> int:
        """How many messages had landed before."""
        return sum(each.repeats for each in self.sink.status().shards.values())


def store_of(*shards: str, store: str = "a store") -> Store:
    """A store that is nowhere."""
    return Store(1, store, "simulated", tuple(Slot(n, shard, shard) for n, shard in enumerate(shards)))


class Read(NamedTuple):
    """One message of a topic."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]


def read(settings: KafkaSettings, topic: str) -> list[Read]:
    """All that a topic has, partition by partition."""
    servers = ",".join(settings.bootstrap_servers)
    listed = (
        AdminClient({"bootstrap.servers": servers, "log_level": 0})
        .list_topics(topic, timeout=10)
        .topics[topic]
    )
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "log_level": 0,
            "group.id": "tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in listed.partitions])
    found, ended, deadline = [], set(), time.monotonic() + PATIENCE_SECONDS
    while len(ended) < len(listed.partitions):
        assert time.monotonic() < deadline
        for message in consumer.consume(1_000, 0.1):
            if message.error():
                ended.add(message.partition())
                continue
            headers = dict(message.headers() or ())
            found.append(Read(message.partition(), message.offset(), message.key(), message.value(), headers))
    consumer.close()
    return sorted(found)


def records(settings: KafkaSettings, record_type: type[Struct], found: Iterable[Read]) -> list[Any]:
    """What messages say, decoded by the ids of their schemas."""
    registry = registry_of(settings)
    reader = Reader(record_type, registry.schema)
    decoded = [reader.record(message.value) for message in found]
    registry.close()
    return decoded


def topics_of(exchange: str) -> Iterator[tuple[type[Struct], str]]:
    """Every topic of a venue."""
    for record_type in TYPES:
        yield record_type, topic_of(record_type, exchange)


def until(condition: Callable[[], Any]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
