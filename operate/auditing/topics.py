"""A11: what silver has is in its topic too, and nothing else of this store.

A partition has the messages of a shard in their order, so between the oldest that is there and the newest
none may be missing. What is older was removed by retention, or was not sent to Kafka then; what is newer
waits, but not for an hour.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import Consumer
from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.brokers import client_properties
from connectors.headers import headers_of
from connectors.kafka_settings import KafkaSettings
from connectors.messages import key_of
from connectors.read_back import CONSUMER, messages
from connectors.topics import found_topics, partition_of, topic_of
from operate.auditing.checks import GAP_SECONDS_MAX
from operate.auditing.facts import Facts
from operate.auditing.findings import Finding, Offences, judged
from operate.auditing.reading import Opened, batches
from schemas import DeadLetter, Gap, Quote, Trade
from schemas.iceberg import TABLES
from schemas.shards import exchange_of

CHECKED = (Trade, Quote, Gap, DeadLetter)
MICROSECONDS = 1_000_000


class Row(NamedTuple):
    """What of a row says whether it is where it should be."""

    identifier: str
    shard: str
    position: int
    partition: int
    time: int


@dataclass
class There:
    """What one topic has of the store."""

    ids: dict[str, tuple[str, int]] = field(default_factory=dict)  # shard and position
    oldest: dict[tuple[str, int], int] = field(default_factory=dict)  # position, by shard and partition
    newest: dict[tuple[str, int], int] = field(default_factory=dict)
    repeats: int = 0

    def add(self, identifier: str, shard: str, position: int, partition: int) -> None:
        """A message of ours."""
        self.repeats += identifier in self.ids
        self.ids[identifier] = shard, position
        place = shard, partition
        self.oldest[place] = min(position, self.oldest.get(place, position))
        self.newest[place] = max(position, self.newest.get(place, position))


def published(
    catalog: Catalog,
    facts: Facts,
    tables: Mapping[type[Struct], Opened | None],
    settings: KafkaSettings,
    now: int,
) -> Finding:
    """A11."""
    offences, looked, waiting, repeats = Offences(), 0, 0, 0
    exchanges = sorted({exchange_of(shard) for shard in facts.shards()})
    partitions = {topic.wanted.name: topic.partitions for topic in found_topics(settings, exchanges)}
    for exchange in exchanges:
        for record_type in CHECKED:
            table, topic = tables[record_type], topic_of(record_type, exchange)
            if table is None or not partitions[topic]:
                continue
            there = read(settings, topic, partitions[topic], facts)
            looked, repeats = looked + len(there.ids), repeats + there.repeats
            for row in rows(catalog, facts, table, exchange, settings.partitions):
                if there.ids.pop(row.identifier, None) is not None:
                    continue
                place = row.shard, row.partition
                if row.position > there.newest.get(place, 0) and place in there.newest:
                    waiting += 1
                    if now - row.time > GAP_SECONDS_MAX * MICROSECONDS:
                        offences.add(f"{topic} lacks {row.identifier}, and what came behind it")
                elif row.position > there.oldest.get(place, row.position):
                    offences.add(f"{topic} lacks {row.identifier}")
            for identifier in strangers(facts, record_type, there):
                offences.add(f"{topic} has {identifier}, and silver has not")
    notes = [f"{waiting:,} newer rows wait to be sent"] if waiting else []
    notes += [f"{repeats:,} messages are there more than once"] if repeats else []
    return judged("A11", looked, "messages", offences, "; ".join(notes))


def read(settings: KafkaSettings, topic: str, partitions: int, facts: Facts) -> There:
    """What a topic has of our shards."""
    there, ours = There(), set(facts.shards())
    consumer = Consumer({**client_properties(settings), **CONSUMER})
    try:
        for message in messages(consumer, {(topic, number): 0 for number in range(partitions)}, {}):
            headers = headers_of(message)
            if headers.shard in ours and headers.store_id == facts.store_id:
                there.add(headers.id.decode(), headers.shard, headers.position, message.partition())
    finally:
        consumer.close()
    return there


def rows(catalog: Catalog, facts: Facts, table: Opened, exchange: str, partitions: int) -> Iterator[Row]:
    """The rows of a venue, as far as its table is complete."""
    listed, tokens = TABLES[table.record_type], facts.table(table.record_type).tokens
    market = ["market"] if "market" in table.record_type.__struct_fields__ else []
    names = ["message_id", "shard", listed.position, "symbol", listed.time, *market]
    for file in table.files:
        if file.exchange != exchange:
            continue
        for part in batches(catalog, table, file, names):
            columns: list[Any] = [part.column(name).to_pylist() for name in names[:4]]
            columns.append(part.column(listed.time).cast("int64").to_pylist())
            columns.append(part.column("market").to_pylist() if market else [None] * part.num_rows)
            for identifier, shard, position, symbol, time, of in zip(*columns, strict=True):
                token = tokens.get(shard)
                if token is not None and facts.start(shard).position < position <= token.position:
                    key = key_of(exchange, of, symbol, shard)
                    yield Row(identifier, shard, position, partition_of(key, partitions), time)


def strangers(facts: Facts, record_type: type[Struct], there: There) -> Iterator[str]:
    """What is left and should be in the table; where retention has removed rows nobody knows."""
    tokens = facts.table(record_type).tokens
    for identifier, (shard, position) in there.ids.items():
        token = tokens.get(shard)
        if token and not token.removed and facts.start(shard).position < position <= token.position:
            yield identifier
