"""The topics: what each is called, what it is to be like, and what of that it is not.

A topic is made when it is missing and never changed: what differs is said, and refused where a symbol's order
or what a topic has promised to keep would be lost.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from confluent_kafka import KafkaError as Answer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType
from msgspec import Struct

from connectors.brokers import (
    ANSWER_SECONDS,
    KafkaError,
    Unreachable,
    answered,
    asked,
    client_properties,
    named,
)
from connectors.kafka_settings import KafkaSettings
from connectors.venues.protocol import FRAME_BYTES_MAX
from schemas import Bar, DeadLetter, Frame, Gap, Quote, Trade

# What a topic's name says of its records.
TYPES: Mapping[type[Struct], str] = {
    Frame: "raw",
    Trade: "trades",
    Quote: "quotes",
    Gap: "gaps",
    DeadLetter: "dead-letters",
    Bar: "bars",
}
ASSET = "crypto"
MISSING = "missing"

DAY_MILLISECONDS = 86_400_000
# A message is a record with its header and key; these carry a frame as it was received.
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX + 64 * 1024
LARGE = (Frame, DeadLetter)


class Wanted(NamedTuple):
    """What one topic is to be like."""

    name: str
    partitions: int
    replication: int  # 0: whatever the brokers think right
    configuration: Mapping[str, str]


class Difference(NamedTuple):
    """What a topic is not like; `why` it is refused, or nothing where that does no harm."""

    topic: str
    what: str
    wanted: str
    found: str
    why: str = ""

    @property
    def said(self) -> str:
        """The same for a person who knows which topic."""
        if self.found == MISSING:
            return MISSING
        refused = f": {self.why}" if self.why else ""
        return f"{self.what} is {self.found}, wanted {self.wanted}{refused}"


class Found(NamedTuple):
    """What one topic is like; no partitions: it is missing."""

    wanted: Wanted
    partitions: int
    replication: int
    configuration: Mapping[str, str]
    differences: Sequence[Difference]


def topic_of(record_type: type[Struct], exchange: str) -> str:
    """The topic of a venue's records of one type."""
    return f"market.{ASSET}.{TYPES[record_type]}.{exchange}"


def partition_of(key: str, partitions: int) -> int:
    """Where everything with that key goes, in every process and version: its order holds."""
    return crc32(key.encode()) % partitions


def wanted_topics(settings: KafkaSettings, exchanges: Iterable[str]) -> list[Wanted]:
    """Every topic of these venues."""
    return [
        Wanted(
            topic_of(record_type, exchange),
            settings.partitions,
            settings.replication,
            configuration_of(record_type, settings),
        )
        for exchange in sorted(set(exchanges))
        for record_type in TYPES
    ]


def configuration_of(record_type: type[Struct], settings: KafkaSettings) -> dict[str, str]:
    """What a topic is made with."""
    found: dict[str, str] = {"compression.type": settings.compression}
    if record_type is Bar:
        found["cleanup.policy"] = "compact"  # each window at its highest revision, for ever
    else:
        found["cleanup.policy"] = "delete"
        found["retention.ms"] = str(settings.retention_days * DAY_MILLISECONDS)
    if record_type in LARGE:
        found["max.message.bytes"] = str(MESSAGE_BYTES_MAX)
    return found


def found_topics(settings: KafkaSettings, exchanges: Iterable[str]) -> list[Found]:
    """What every topic of these venues is like, asked by a client of its own."""
    wanted = wanted_topics(settings, exchanges)
    return answered(client_properties(settings), lambda admin: look(admin, wanted))


def look(admin: AdminClient, wanted: Sequence[Wanted]) -> list[Found]:
    """What these topics are like; KafkaError where that cannot be found out."""
    listed = asked("Kafka cannot be reached", lambda: admin.list_topics(timeout=ANSWER_SECONDS)).topics
    there = [topic.name for topic in wanted if topic.name in listed]
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in there]
    answers = admin.describe_configs(resources, request_timeout=ANSWER_SECONDS) if resources else {}
    configured = {
        resource.name: {name: str(entry.value) for name, entry in described(resource.name, answer).items()}
        for resource, answer in answers.items()
    }
    found = []
    for topic in wanted:
        partitions = listed[topic.name].partitions if topic.name in listed else {}
        replicas = min((len(each.replicas) for each in partitions.values()), default=0)
        configuration = configured.get(topic.name, {})
        shown = {name: configuration.get(name, "") for name in topic.configuration}
        differences = list(compared(topic, len(partitions), replicas, shown))
        found.append(Found(topic, len(partitions), replicas, shown, differences))
    return found


def described(name: str, answer: Any) -> Any:
    """The configuration of a topic."""
    return asked(f"the topic {name} cannot be looked at", lambda: answer.result(ANSWER_SECONDS))


def compared(
    topic: Wanted, partitions: int, replicas: int, configuration: Mapping[str, str]
) -> Iterator[Difference]:
    """What differs."""
    if not partitions:
        yield Difference(topic.name, "topic", "there", MISSING)
        return
    if partitions != topic.partitions:
        fewer = partitions < topic.partitions
        why = "to add partitions now would break the order of symbols" if fewer else ""
        yield Difference(topic.name, "partitions", str(topic.partitions), str(partitions), why)
    if topic.replication and replicas != topic.replication:
        why = "it would survive fewer brokers than asked for" if replicas < topic.replication else ""
        yield Difference(topic.name, "replication", str(topic.replication), str(replicas), why)
    for name, value in topic.configuration.items():
        if configuration[name] != value:
            why = REFUSED[name](value, configuration[name]) if name in REFUSED else ""
            yield Difference(topic.name, name, value, configuration[name], why)


def shorter(wanted: str, found: str) -> str:
    """Why a retention is refused."""
    is_shorter = found != "-1" and int(found) < int(wanted)
    return "records would be gone before their time" if is_shorter else ""


def otherwise_cleaned(wanted: str, found: str) -> str:
    """Why a cleanup policy is refused."""
    if wanted == "compact":
        return "bars would be gone after the retention time"
    return "only the newest record of each symbol would be kept" if "compact" in found else ""


REFUSED = {"retention.ms": shorter, "cleanup.policy": otherwise_cleaned}


def prepare(admin: AdminClient, wanted: Sequence[Wanted], logger: Any) -> None:
    """Make the topics that are missing; KafkaError with all that is refused of the others."""
    found = look(admin, wanted)
    missing = [topic.wanted for topic in found if not topic.partitions]
    if made := make(admin, missing):
        logger.info("topics made", topics=made, partitions=missing[0].partitions)
    if missing:
        # Whoever was quicker may have made others than we want.
        found = look_until_all_are_seen(admin, wanted)
    differences = [each for topic in found for each in topic.differences]
    refused = [each for each in differences if each.why]
    if refused:
        raise KafkaError(
            "\n".join(f"{each.topic}: {each.said}" for each in refused),
            hint="set kafka.partitions, kafka.replication or kafka.retention_days to what is there, "
            "or change the topics; `tape topics` shows all",
        )
    for each in differences:
        logger.warning("a topic is not as configured", topic=each.topic, difference=each.said)


def look_until_all_are_seen(admin: AdminClient, wanted: Sequence[Wanted]) -> list[Found]:
    """What topics are like that are there: brokers hear of new ones one after the other."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        found = look(admin, wanted)
        unseen = [topic.wanted.name for topic in found if not topic.partitions]
        if not unseen:
            return found
        if time.monotonic() > deadline:
            raise Unreachable(f"the topic {unseen[0]} was made, and brokers do not know it yet")
        time.sleep(SEEN_SECONDS)


# Brokers tell each other within milliseconds.
SEEN_SECONDS = 0.02


def make(admin: AdminClient, missing: Sequence[Wanted]) -> int:
    """Make topics, and say how many; of the others somebody was quicker."""
    if not missing:
        return 0
    made = 0
    new = [
        NewTopic(
            topic.name,
            num_partitions=topic.partitions,
            replication_factor=topic.replication or -1,
            config=dict(topic.configuration),
        )
        for topic in missing
    ]
    for name, answer in admin.create_topics(new, request_timeout=ANSWER_SECONDS).items():
        try:
            answer.result(ANSWER_SECONDS)
            made += 1
        except KafkaException as error:
            if error.args[0].code() != Answer.TOPIC_ALREADY_EXISTS:
                raise named(f"the topic {name} cannot be made", error.args[0]) from error
    return made
