"""One producer for all shards of a process: what nobody has acknowledged, how long that has been so, and what
ended it.

Messages wait as long as they must: the client repeats them in order and without repeats of its own, so only
what no waiting will change comes back, and ends the process through whoever asks next. Messages that wait are
bounded in bytes, and then so is the source.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException, Producer
from msgspec import Struct

from connectors.brokers import AGAIN, ALL_AWAY, KINDS, KafkaError, is_outage, kind_of, named, words
from connectors.failpoints import failpoint
from connectors.headers import writer_of
from connectors.messages import Message, Topic
from connectors.outages import has_begun, outlast
from connectors.slots import Store
from connectors.topics import MESSAGE_BYTES_MAX

# Of all shards together, waiting to be acknowledged: some seconds of a burst, a minute of a busy market.
QUEUE_BYTES_MAX = 64 * 1024 * 1024
# What a message costs beside its bytes, here and in the client.
MESSAGE_BYTES = 1_000
# Messages between two looks at what is acknowledged.
AT_ONCE = 100
# Messages gather so long: a tenth of what a frame takes from venue to reader.
LINGER_MILLISECONDS = 5
# Without any acknowledgement for so long it is an outage; one that is well takes milliseconds.
OUTAGE_SECONDS = 3.0
# How late we may see that there is room and what is acknowledged.
ROOM_SECONDS = 0.01

PRODUCER: Mapping[str, Any] = {
    "enable.idempotence": True,  # and with it the order of each partition
    "acks": "all",
    "message.timeout.ms": 0,  # whoever gives up loses the order
    "linger.ms": LINGER_MILLISECONDS,
    "message.max.bytes": MESSAGE_BYTES_MAX,
    # Our own limit comes first; the client's must not.
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 1_000_000,
}


Pairs = list[tuple[str, str | bytes | None]]  # headers, as the client has them


class BusStatus(Struct, frozen=True):
    """What metrics and readiness show of it."""

    begun: bool
    outage_seconds: float  # without an acknowledgement, where one is waited for
    problem: str  # the newest, of an outage
    acknowledged: Mapping[str, int]  # messages, by topic
    errors: Mapping[str, int]  # by kind
    queued: Mapping[str, tuple[int, int]]  # messages and bytes that wait, by shard


class Outgoing:
    """What one shard has sent and nobody has acknowledged."""

    def __init__(self, shard: str, store: Store) -> None:
        self.shard = shard
        self.waiting: dict[int, Message] = {}  # in the order in which they were sent
        self.sent = self.acknowledged = 0  # bytes; each is written by one thread at a time
        self._number = 0
        self._frame = f"{writer_of(store)}:{shard}:".encode()

    @property
    def taken(self) -> int:
        """What waits takes."""
        return self.sent - self.acknowledged

    def put(self, message: Message) -> tuple[int, Pairs]:
        """Keep a message until it is acknowledged; its number and its headers."""
        self._number = number = self._number + 1
        self.waiting[number] = message
        self.sent += len(message.value) + MESSAGE_BYTES
        frame = self._frame + b"%d" % message.position
        return number, [("id", message.id), ("frame", frame)]

    def take(self, number: int) -> None:
        """It is acknowledged."""
        self.acknowledged += len(self.waiting.pop(number).value) + MESSAGE_BYTES


class Delivery(Struct, gc=False):
    """What the client is to call for one message; there are too many to be looked through for garbage."""

    told: Callable[[Outgoing, int, Any, Any], None]
    outgoing: Outgoing
    number: int

    def __call__(self, error: Any, message: Any) -> None:
        self.told(self.outgoing, self.number, error, message)


class Bus:
    """Sends what shards give it, once it has begun."""

    def __init__(self, shards: Iterable[str], store: Store, *, stop: threading.Event, logger: Any) -> None:
        self.topics: Mapping[str, Mapping[type[Struct], Topic]] = {}  # by exchange
        self.outgoing = {shard: Outgoing(shard, store) for shard in shards}
        self.offsets: dict[tuple[str, int], int] = {}  # behind the newest message of ours, by partition
        self._share = QUEUE_BYTES_MAX // max(1, len(self.outgoing))
        self._stop = stop  # the process is to end: what finds no room is not waited for
        self._logger = logger
        self._begun = threading.Event()
        self._closing = threading.Event()
        self._hearing = threading.Lock()  # the client calls back in the thread that asks it
        self._failure: BaseException | None = None
        self._errors = Counter(dict.fromkeys(KINDS, 0))
        self._acknowledged: Counter[str] = Counter()
        self._problem = ""
        self._seen = 0  # how much was acknowledged when we last looked
        self._moved = time.monotonic()
        self._is_outage = False
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)

    def start(self, prepare: Callable[[], Any], properties: Mapping[str, Any]) -> None:
        """Begin to make ready what messages need, and to connect; the engine need not wait for it."""
        self._prepare, self._properties = prepare, properties
        self._thread.start()

    def has_begun(self, *, wait: bool) -> bool:
        """Whether messages can be sent; KafkaError where the process ends before."""
        ended = KafkaError("ended before Kafka could be used", hint=AGAIN)
        return has_begun(self._begun, wait=wait, check=self.check, stop=self._stop, otherwise=ended)

    def check(self) -> None:
        """Raise what ended it."""
        if self._failure is not None:
            raise self._failure

    def send(self, outgoing: Outgoing, messages: Sequence[Message]) -> None:
        """Send messages of a shard in order, each once there is room for it."""
        self.check()
        produce, delivered = self._producer.produce, self._delivered
        for count, message in enumerate(messages):
            if outgoing.sent - outgoing.acknowledged > self._share:
                self.wait_for_room(outgoing)
            number, headers = outgoing.put(message)
            done = Delivery(delivered, outgoing, number)
            try:
                produce(message.topic, message.value, message.key, message.partition, done, headers=headers)
            except KafkaException as error:
                self._fail(named(f"a message of {message.topic} cannot be sent", error.args[0]))
                self.check()
            if count % AT_ONCE == 0:
                self._hear()
        failpoint("kafka.sent")

    def _hear(self) -> None:
        """Be told what is acknowledged; by whoever has Python anyway, as the client asks for it each time."""
        if self._hearing.acquire(blocking=False):
            try:
                self._producer.poll(0)
            finally:
                self._hearing.release()

    def wait_for_room(self, outgoing: Outgoing) -> None:
        """Wait until not too much of a shard waits; KafkaError where the process ends before."""
        while outgoing.taken > self._share:
            self.check()
            if self._stop.is_set() and self._is_outage:
                raise KafkaError(
                    f"ended while Kafka could not be written: {self._problem or 'no acknowledgement'}",
                    hint=AGAIN,
                )
            time.sleep(ROOM_SECONDS)
            self._hear()

    def drain(self, outgoing: Outgoing, bytes_max: int, seconds: float) -> None:
        """Wait until only so much of a shard waits, or no longer."""
        deadline = time.monotonic() + seconds
        while outgoing.taken > bytes_max and time.monotonic() < deadline and not self._is_outage:
            time.sleep(ROOM_SECONDS)
            self._hear()

    def close(self, seconds: float) -> bool:
        """Send all, now; whether it was acknowledged within the time."""
        if not self._begun.is_set():
            return self._is_settled()
        self._closing.set()
        with self._hearing:
            self._producer.flush(0 if self._is_outage else seconds)
        self.check()
        return self._is_settled()

    def _is_settled(self) -> bool:
        """Whether everything is acknowledged."""
        return not any(each.waiting for each in self.outgoing.values())

    def status(self) -> BusStatus:
        """How it stands."""
        waiting = {shard: (len(each.waiting), each.taken) for shard, each in self.outgoing.items()}
        idle = time.monotonic() - self._moved if self._is_outage or not self._begun.is_set() else 0.0
        return BusStatus(
            self._begun.is_set(),
            idle,
            self._problem if idle else "",
            dict(self._acknowledged),
            dict(self._errors),
            waiting,
        )

    def said(self, error: Any) -> None:
        """What a client says of its own."""
        self._errors[kind_of(error)] += 1
        if error.code() != ALL_AWAY:  # which one, and why, was said before
            self._problem = words(error)
        if error.fatal():
            self._fail(named("Kafka's client cannot go on", error))

    def _run(self) -> None:
        try:
            self.topics = outlast(
                "use Kafka", self._prepare, waits=self._waits, until=self._stop, logger=self._logger
            )
            self._producer = Producer({**self._properties, **PRODUCER})
            self._acknowledged.update(
                {topic.name: 0 for topics in self.topics.values() for topic in topics.values()}
            )
            self._moved = time.monotonic()
            self._begun.set()
            while not self._closing.wait(ROOM_SECONDS):
                self._hear()
                self._look()
        except BaseException as error:  # noqa: BLE001  # this thread has no caller: the engine's raise it
            self._fail(error)

    def _waits(self, error: Exception) -> bool:
        if is_outage(error):
            self._errors["transport"] += 1
            self._problem = str(error)
        return is_outage(error)

    def _look(self) -> None:
        """Notice an outage, and its end."""
        acknowledged, now = self._acknowledged.total(), time.monotonic()
        if acknowledged > self._seen or self._is_settled():
            if self._is_outage:
                self._is_outage = False
                self._logger.info("can publish to Kafka again", seconds=round(now - self._moved, 1))
            self._seen, self._moved = acknowledged, now
        elif not self._is_outage and now - self._moved > OUTAGE_SECONDS:
            self._is_outage = True
            problem = self._problem or "no acknowledgement"
            self._logger.warning("cannot publish to Kafka, trying again", problem=problem)

    def _delivered(self, outgoing: Outgoing, number: int, error: Any, message: Any) -> None:
        """Called by the client, in the thread that hears it."""
        topic = message.topic()
        if error is not None:
            self._errors[kind_of(error)] += 1
            self._fail(named(f"{topic} has refused a message of {outgoing.shard}", error))
            return
        failpoint("kafka.acknowledged")
        place = topic, message.partition()
        self.offsets[place] = message.offset() + 1  # they come in their order
        outgoing.take(number)
        self._acknowledged[topic] += 1

    def _fail(self, error: BaseException) -> None:
        """What comes first is what it is about."""
        if self._failure is None:
            self._failure = error
