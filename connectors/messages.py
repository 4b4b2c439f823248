"""What flows becomes messages: of each record its topic, partition, key, bytes and id. Pure.

The same batch gives the same messages in the same order, however often it is sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from schemas import Bar, DeadLetter, Frame, Gap, Quote, Trade
from schemas.framing import framed
from schemas.run import Run

MARKET = "spot"


class Message(Struct, frozen=True, gc=False):
    """One message; its fields are what state keeps of it."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    id: bytes
    position: int  # of the frame that caused it


class Batch(Protocol):
    """What is needed of the flow's batches."""

    frames: list[Frame]
    records: list[Any]


class Topic(NamedTuple):
    """Where records of one type go, and how they are written."""

    name: str
    schema: int  # the id that the registry has given it
    version: int


class Messages:
    """Makes the messages of one shard."""

    def __init__(
        self, shard: str, topics: Mapping[type[Struct], Topic], partition_of: Callable[[str], int]
    ) -> None:
        self._shard = shard
        self._topics = topics
        self._partition_of = partition_of  # of a key
        self._of_shard = shard.encode(), partition_of(shard)
        self._of_symbols: dict[tuple[str, str], tuple[bytes, int]] = {}

    def of(self, batch: Batch) -> list[Message]:
        """Of each topic in the order in which frames came."""
        sorted_out: dict[type[Struct], list[Any]] = {each: [] for each in self._topics}
        sorted_out[Frame] += batch.frames
        for record in batch.records:
            if type(record) is Run:
                sorted_out[Trade] += record.trades()
            elif type(record) in sorted_out:
                sorted_out[type(record)].append(record)
        # Quotes' dead letters stand behind those of the trades that came with them.
        sorted_out[DeadLetter].sort(key=attrgetter("platform_sequence", "index"))
        return [
            message
            for record_type, records in sorted_out.items()
            if records
            for message in self._made(record_type, records)
        ]

    def _made(self, record_type: type[Struct], records: Sequence[Any]) -> Iterable[Message]:
        topic = self._topics[record_type]
        values = framed(topic.schema, records, topic.version)
        name = topic.name
        if record_type is Frame:
            key, partition = self._of_shard
            head = f"{self._shard}:".encode()
            return [
                Message(name, partition, key, value, head + b"%d" % one.position, one.position)
                for one, value in zip(records, values, strict=True)
            ]
        is_bar = record_type is Bar
        return [
            Message(
                name,
                partition,
                window_of(one) if is_bar else key,
                value,
                one.message_id.encode(),
                one.platform_sequence,
            )
            for one, value in zip(records, values, strict=True)
            for key, partition in (self._of_symbol(one),)
        ]

    def _of_symbol(self, record: Any) -> tuple[bytes, int]:
        """Key and partition of a record."""
        if record.symbol is None:
            return self._of_shard
        found = self._of_symbols.get((record.exchange, record.symbol))
        if found is None:
            key = key_of(record.exchange, getattr(record, "market", None), record.symbol, self._shard)
            found = self._of_symbols[record.exchange, record.symbol] = key.encode(), self._partition_of(key)
        return found


def key_of(exchange: str, market: str | None, symbol: str | None, shard: str) -> str:
    """What everything of a symbol has in common; what has no symbol is its shard's."""
    if symbol is None:
        return shard
    return f"{exchange}:{market or MARKET}:{symbol}"  # older records and refused ones name no market


def window_of(bar: Bar) -> bytes:
    """A bar's key: compaction keeps the newest message of each window, its highest revision."""
    return bar.message_id.rpartition(":")[0].encode()


def versions_written(schema_version: str) -> Mapping[type[Struct], int]:
    """The version of each type that is written where trades and quotes are of that one."""
    number = int(schema_version.removeprefix("v"))
    return {Frame: 1, Trade: number, Quote: number, Gap: 1, DeadLetter: 1, Bar: 1}
