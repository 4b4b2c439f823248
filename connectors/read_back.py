"""What of a shard has landed in its topics already, though its state does not say so: a process was killed
between the two.

Read once, at the start, from where the state says that its messages end, to the end of each partition.
"""

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import KafkaError as Answer

from connectors.brokers import ANSWER_SECONDS, KafkaError, Unreachable, asked, named
from connectors.headers import headers_of, writer_of
from connectors.messages import Message
from connectors.slots import Store
from connectors.topics import TYPES
from schemas import Bar

Place = tuple[str, int]  # topic and partition

# Where no state says where to begin: more than the first epoch of a process brings into one partition.
MESSAGES_MAX = 200_000
# How the client counts from the end of a partition.
FROM_THE_END = -2_000
# Messages of one call; larger ones gain nothing.
AT_ONCE = 5_000

CONSUMER: Mapping[str, Any] = {
    "group.id": "tapekeeper-read-back",  # the client wants one; nothing is committed
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",  # a topic that was made anew begins before where the old one ended
    "fetch.wait.max.ms": 10,
}


class Landed:
    """What is there, by id; of a window the highest revision, as compaction may have taken the others.

    Where all that a shard ever had is sent again, what is older than the oldest that was found had landed
    too: a partition has the messages of a shard in their order. It was removed, or is older than our look.
    """

    def __init__(self, *, rebuilding: bool = False) -> None:
        self._rebuilding = rebuilding
        self._oldest: dict[Place, int] = {}  # positions
        self.last = 0  # the highest position of a frame that caused a message
        self.looked_at = 0
        self.ends: dict[Place, int] = {}
        self._ids: set[tuple[str, bytes]] = set()
        self._revisions: dict[tuple[str, bytes], int] = {}

    def add(self, place: Place, identifier: bytes, position: int) -> None:
        """A message of the shard is there."""
        topic, _ = place
        self.last = max(self.last, position)
        self._oldest[place] = min(position, self._oldest.get(place, position))
        if is_bar(topic):
            window, revision = split(identifier)
            self._revisions[topic, window] = max(revision, self._revisions.get((topic, window), 0))
        else:
            self._ids.add((topic, identifier))

    def has(self, message: Message) -> bool:
        """Whether a message need not be sent."""
        if self._rebuilding and self._oldest:
            oldest = self._oldest.get((message.topic, message.partition), min(self._oldest.values()))
            if message.position < oldest:
                return True
        if not is_bar(message.topic):
            return (message.topic, message.id) in self._ids
        window, revision = split(message.id)
        return revision <= self._revisions.get((message.topic, window), -1)


def is_bar(topic: str) -> bool:
    """Whether a topic is one of bars."""
    return topic.split(".")[2] == TYPES[Bar]


def split(identifier: bytes) -> tuple[bytes, int]:
    """The window and the revision of a bar's id."""
    window, _, revision = identifier.rpartition(b":")
    return window, int(revision)


def read_back(
    properties: Mapping[str, Any],
    shard: str,
    store: Store,
    starts: Mapping[Place, int | None],
    *,
    rebuilding: bool = False,
) -> Landed:
    """What has landed of a shard behind these offsets; None: look at the last messages of the partition."""
    consumer = Consumer({**properties, **CONSUMER})
    try:
        landed, own = Landed(rebuilding=rebuilding), (writer_of(store), shard)
        for message in messages(consumer, starts, landed.ends):
            landed.looked_at += 1
            headers = headers_of(message)
            if headers.writer and headers.is_simulated != (store.kind == "simulated"):
                raise mixed(message.topic(), store)
            if (headers.writer, headers.shard) == own:
                landed.add((message.topic(), message.partition()), headers.id, headers.position)
        return landed
    finally:
        consumer.close()


def mixed(topic: str, store: Store) -> KafkaError:
    """The error for topics of the other kind: who reads them must never take the one for the other."""
    other = "live" if store.kind == "simulated" else "simulated"
    return KafkaError(
        f"{topic} holds {other} records, and this store is {store.kind}",
        hint="give live and simulated stores brokers of their own",
    )


def messages(consumer: Consumer, starts: Mapping[Place, int | None], ends: dict[Place, int]) -> Iterator[Any]:
    """All messages from there to the end of each partition, which is noted."""
    consumer.assign(
        [
            TopicPartition(topic, partition, FROM_THE_END - MESSAGES_MAX if start is None else start)
            for (topic, partition), start in starts.items()
        ]
    )
    heard = monotonic()
    while len(ends) < len(starts):
        found = asked("topics cannot be read back", lambda: consumer.consume(AT_ONCE, 0.1))
        if found:
            heard = monotonic()
        elif monotonic() - heard > ANSWER_SECONDS:
            raise Unreachable("topics cannot be read back: no answer", hint="see whether the brokers run")
        for message in found:
            error = message.error()
            if error is not None and error.code() == Answer._PARTITION_EOF:
                ends[message.topic(), message.partition()] = message.offset()
            elif is_message(message, "topics cannot be read back"):
                yield message


def is_message(heard: Any, problem: str) -> bool:
    """Whether what a consumer hears is no error; KafkaError for one that does not pass by itself."""
    error = heard.error()
    if error is not None and not error.retriable() and error.code() not in TRANSIENT:
        raise named(problem, error)
    return error is None


# What a consumer says of brokers that are away, and then goes on by itself.
TRANSIENT = {Answer._TRANSPORT, Answer._ALL_BROKERS_DOWN, Answer._RESOLVE, Answer._TIMED_OUT}
