"""Records as they land in topics: read by the id of their schema, whatever version wrote them, each once."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import click
from confluent_kafka import Consumer, TopicPartition
from msgspec import Struct

from connectors.brokers import ANSWER_SECONDS, asked, client_properties
from connectors.errors import TapeError
from connectors.headers import headers_of
from connectors.kafka import registry_of
from connectors.kafka_settings import KafkaSettings
from connectors.read_back import CONSUMER, is_message
from connectors.registry import Registry
from connectors.topics import found_topics, topic_of
from schemas.framing import Reader, Unreadable
from schemas.once import Once

# As long as a look at tables may take to see a row.
LOOK_SECONDS = 0.2
AT_ONCE = 1_000
PROBLEM = "topics cannot be followed"


def follow_topics(
    settings: KafkaSettings, record_type: type[Struct], exchanges: Sequence[str], symbol: str | None
) -> Iterator[list[Any]]:
    """What lands from now on in the topics of these venues."""
    properties = client_properties(settings)
    names = {topic_of(record_type, exchange) for exchange in exchanges}
    places = [
        TopicPartition(topic.wanted.name, number)
        for topic in found_topics(settings, exchanges)
        if topic.wanted.name in names
        for number in range(topic.partitions)
    ]
    if not places:
        hint = "`tape run` makes topics; --tables follows the tables"
        raise TapeError(f"Kafka has no {', '.join(sorted(names))}", hint=hint)
    consumer = Consumer({**properties, **CONSUMER, "enable.partition.eof": False})
    for place in places:
        ask = partial(consumer.get_watermark_offsets, place, ANSWER_SECONDS)
        _, place.offset = asked(PROBLEM, ask)
    consumer.assign(places)
    return landing(consumer, record_type, registry_of(settings), symbol)


def landing(
    consumer: Consumer, record_type: type[Struct], registry: Registry, symbol: str | None
) -> Iterator[list[Any]]:
    """The records that come, until somebody has enough."""
    reader, once = Reader(record_type, registry.schema), defaultdict[str, Once](Once)
    simulated: set[str] = set()
    try:
        while True:
            messages = asked(PROBLEM, lambda: consumer.consume(AT_ONCE, LOOK_SECONDS))
            say_simulated(messages, simulated)
            records = [record for message in messages for record in read(message, reader, once)]
            yield [one for one in records if symbol in (None, getattr(one, "symbol", None))]
    finally:
        consumer.close()
        registry.close()


def say_simulated(messages: Sequence[Any], said: set[str]) -> None:
    """Say of each topic once that it has what no real venue said, before any of that is shown."""
    new = {message.topic() for message in messages if headers_of(message).is_simulated} - said
    if new:
        click.echo(f"SIMULATED · no real venue speaks in {', '.join(sorted(new))}", err=True)
        said |= new


def read(message: Any, reader: "Reader[Any]", once: Mapping[str, Once]) -> Iterator[Any]:
    """The record of a message, if it was not there before; what cannot be read is said and passed by."""
    if not is_message(message, PROBLEM):
        return
    identifier = headers_of(message).id
    if identifier and not once[message.topic()].is_new(identifier):
        return
    try:
        yield reader.record(message.value())
    except Unreadable as problem:
        place = f"{message.topic()} {message.partition()}/{message.offset()}"
        click.echo(f"cannot read {place}: {problem}", err=True)
