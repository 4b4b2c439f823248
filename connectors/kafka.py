"""Kafka as a sink of the engine: at least once, and in practice once, by ids that do not change.

A message that nobody has acknowledged is part of the state, so an epoch need not wait for brokers. What
landed though the state does not know it is read back at the start and not sent again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from threading import Event, Thread
from typing import Any

from bytewax.outputs import StatefulSinkPartition
from msgspec import Struct
from msgspec.structs import astuple

from connectors.brokers import answered, client_properties, is_outage
from connectors.bus import Bus, BusStatus
from connectors.callbacks import said_first
from connectors.failpoints import failpoint
from connectors.kafka_settings import KafkaSettings
from connectors.messages import Message, Messages, Topic, versions_written
from connectors.outages import outlast
from connectors.read_back import Landed, Place, read_back
from connectors.registry import Incompatible, Refused, Registry
from connectors.sink import ShardSink
from connectors.slots import Slot, Store
from connectors.source import Pulse
from connectors.topics import partition_of, prepare, topic_of, wanted_topics
from schemas.avro import avro_schema
from schemas.shards import exchange_of

VERSION = 1

# More than this of a shard in its state, which the engine writes at each epoch's end, is worth a short wait:
# brokers that are well take as much in that time, and nobody notices it.
CARRIED_BYTES, CARRIED_SECONDS = 1024 * 1024, 0.1
# What a registry may take that is well but busy.
REGISTRY_SECONDS = 2.0
# Processes that start together may each be first; the others' turn comes within milliseconds.
ATTEMPTS_MAX, ATTEMPT_SECONDS = 3, 0.2

# version, last position, where our messages end in each partition, what is not acknowledged
State = tuple[int, int, tuple[tuple[str, int, int], ...], tuple[tuple[Any, ...], ...]]

ReadBack = Callable[[str, Mapping[Place, int | None]], Landed]


class ShardStatus(Struct, frozen=True):
    """How far one shard is."""

    acknowledged: int  # up to this position all that frames caused
    looked_at: int  # messages that were read back
    repeats: int  # of them, what was not sent again


class KafkaStatus(Struct, frozen=True):
    """What metrics and readiness show of the sink."""

    bus: BusStatus
    shards: Mapping[str, ShardStatus]


class Kafka(ShardSink[Any, State]):
    """All topics, written by the shards of a process, each in the partition of its slot."""

    def __init__(
        self,
        settings: KafkaSettings,
        store: Store,
        own: Sequence[str],
        *,
        stop: Event,
        logger: Any,
        rebuilding: bool = False,
    ) -> None:
        super().__init__(store.slots)
        self._rebuilding = rebuilding  # all frames come once more
        self._settings, self._store, self._stop, self._logger = settings, store, stop, logger
        self.bus = Bus(own, store, stop=stop, logger=logger)
        self.partitions: list[KafkaPartition] = []

    def start(self) -> None:
        """Begin to make topics and schemas ready; the engine need not wait for it."""
        properties = client_properties(self._settings, self.bus.said)
        exchanges = {exchange_of(slot.shard) for slot in self._store.slots}
        ready = partial(made_ready, self._settings, exchanges, properties, self._logger)
        self.bus.start(ready, {**properties, "compression.type": self._settings.compression})

    def close(self, seconds: float) -> bool:
        """The engine has returned: send all; whether that worked within the time."""
        return self.bus.close(seconds)

    def acknowledged(self, shard: str) -> int:
        """Up to which position all that a shard caused is acknowledged."""
        return next((each.acknowledged for each in self.partitions if each.shard == shard), 0)

    def status(self) -> KafkaStatus:
        """How it stands."""
        shards = {
            each.shard: ShardStatus(each.acknowledged, each.looked_at, each.repeats)
            for each in self.partitions
        }
        return KafkaStatus(self.bus.status(), shards)

    @said_first
    def build_part(self, step_id: str, for_part: str, resume_state: State | None) -> "KafkaPartition":
        """One shard's."""
        partition = KafkaPartition(
            self._slots[for_part], self.bus, self._read_back, self._settings.partitions, resume_state
        )
        self.partitions.append(partition)
        return partition

    def _read_back(self, shard: str, starts: Mapping[Place, int | None]) -> Landed:
        """What has landed of a shard, however long brokers are away."""
        properties = client_properties(self._settings, self.bus.said)
        return outlast(
            "read back from Kafka",
            partial(read_back, properties, shard, self._store, starts, rebuilding=self._rebuilding),
            waits=is_outage,
            until=self._stop,
            logger=self._logger,
        )

    name = "kafka"


class KafkaPartition(StatefulSinkPartition[Any, State]):
    """One shard's messages, on their way into all topics."""

    def __init__(
        self,
        slot: Slot,
        bus: Bus,
        read_back: ReadBack,
        partitions: int,
        state: State | None,
    ) -> None:
        if state is not None and state[0] != VERSION:
            raise ValueError(
                f"{slot.partition}: a snapshot of version {state[0]}, this release knows {VERSION}"
            )
        self.name, self.shard = slot.partition, slot.shard
        self.looked_at = self.repeats = 0
        self._bus, self._read_back, self._partitions = bus, read_back, partitions
        self._outgoing = bus.outgoing[slot.shard]
        _, self._last, ends, carried = state or (VERSION, 0, (), ())
        self._ends = {(topic, partition): offset for topic, partition, offset in ends}
        self._carried = [Message(*each) for each in carried]
        self._landed: Landed | None = None
        self._messages: Messages | None = None
        self._early: list[Any] = []  # what came before anything could be sent; an epoch at most
        self._failure: BaseException | None = None
        self._begun = False
        self._preparing = Thread(target=self._prepare, name=f"kafka {slot.shard}", daemon=True)
        self._preparing.start()

    @property
    def acknowledged(self) -> int:
        """Up to which position everything is acknowledged."""
        waiting = [*self._carried, *list(self._outgoing.waiting.values())]
        return min((message.position for message in waiting), default=self._last + 1) - 1

    def _prepare(self) -> None:
        """See what is there already."""
        try:
            self._bus.has_begun(wait=True)
            topics, count = self._bus.topics[exchange_of(self.shard)], self._partitions
            places = [(topic.name, partition) for topic in topics.values() for partition in range(count)]
            self._landed = self._read_back(self.shard, {place: self._ends.get(place) for place in places})
            self.looked_at = self._landed.looked_at
            self._messages = Messages(self.shard, topics, partial(partition_of, partitions=count))
        except BaseException as error:  # noqa: BLE001  # this thread has no caller: the engine's raises it
            self._failure = error

    def _begin(self, *, wait: bool) -> bool:
        """Go on where the topics and the state are, once that is known."""
        if self._begun:
            return True
        if wait:
            self._preparing.join()
        if self._preparing.is_alive():
            return False
        if self._failure is not None:
            raise self._failure
        self._begun = True
        self._send(self._carried)
        self._carried = []
        early, self._early = self._early, []
        self.write_batch(early)
        return True

    @said_first
    def write_batch(self, items: list[Any]) -> None:
        """Send the messages of each batch; where too many wait, the source waits too."""
        self._bus.check()
        if not self._begin(wait=False):
            self._early += items
            return
        assert self._messages is not None
        for item in items:
            if not isinstance(item, Pulse):
                self._send(self._messages.of(item))
                self._last = item.last

    def _send(self, messages: list[Message]) -> None:
        """Send what has not landed."""
        if self._landed is not None:
            new = [message for message in messages if not self._landed.has(message)]
            self.repeats += len(messages) - len(new)
            if messages and min(message.position for message in messages) > self._landed.last:
                # Nothing further can be there. Only now: until then a next start must look there again.
                self._ends, self._landed = self._landed.ends, None
            messages = new
        self._bus.send(self._outgoing, messages)

    @said_first
    def snapshot(self) -> State:
        """What is not acknowledged, and where to look for what is."""
        self._begin(wait=True)
        self._bus.drain(self._outgoing, CARRIED_BYTES, CARRIED_SECONDS)
        self._bus.check()
        # In this order: what is acknowledged between the two is then looked at in vain, and not missed.
        ends = self._ends
        if self._landed is None:
            ends = {place: max(end, self._bus.offsets.get(place, 0)) for place, end in ends.items()}
        waiting = list(self._outgoing.waiting.values())
        failpoint("kafka.snapshot")
        plain = tuple((topic, partition, end) for (topic, partition), end in ends.items())
        return VERSION, self._last, plain, tuple(map(astuple, waiting))


def made_ready(
    settings: KafkaSettings, exchanges: Iterable[str], properties: Mapping[str, Any], logger: Any
) -> dict[str, Mapping[type[Struct], Topic]]:
    """The topics of these venues, made where they are missing, and the ids of what is written to them."""
    wanted = wanted_topics(settings, exchanges)
    answered(properties, lambda admin: prepare(admin, wanted, logger))
    versions = versions_written(settings.schema_version)
    with closing(registry_of(settings)) as registry:
        return {
            exchange: {
                record_type: registered(registry, topic_of(record_type, exchange), record_type, version)
                for record_type, version in versions.items()
            }
            for exchange in sorted(exchanges)
        }


def registered(registry: Registry, topic: str, record_type: type[Struct], version: int) -> Topic:
    """A topic with the id of its schema; of two who are first at the same moment a registry refuses one."""
    subject, schema = f"{topic}-value", avro_schema(record_type, version)
    for attempt in range(ATTEMPTS_MAX):
        try:
            return Topic(topic, registry.prepare(subject, schema), version)
        except (Incompatible, Refused):
            if attempt == ATTEMPTS_MAX - 1:
                raise
            time.sleep(ATTEMPT_SECONDS)
    raise AssertionError("the last attempt returns or raises")


def registry_of(settings: KafkaSettings) -> Registry:
    """The registry of the settings, asked without much patience: whoever asks waits by himself."""
    return Registry(
        settings.registry_url,
        user=settings.registry_user,
        password=settings.registry_password.get_secret_value(),
        ca=settings.registry_ca_file,
        patience_seconds=REGISTRY_SECONDS,
    )
