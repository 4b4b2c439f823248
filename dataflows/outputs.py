"""What metrics show of the sinks beside the lake."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dataflows.metrics import Sample
from schemas.shards import exchange_of

if TYPE_CHECKING:
    from connectors.kafka import KafkaStatus
    from connectors.redis import RedisStatus


def kafka_samples(kafka: "KafkaStatus") -> Iterator[Sample]:
    """What Kafka has, and what it does not take."""
    bus = kafka.bus
    yield "tape_kafka_up", (), bus.begun and not bus.outage_seconds
    yield "tape_kafka_outage_seconds", (), bus.outage_seconds
    for kind, number in bus.errors.items():
        yield "tape_kafka_errors_total", (kind,), number
    for topic, number in bus.acknowledged.items():
        yield "tape_kafka_messages_total", (topic,), number
    for shard, (waiting, taken) in bus.queued.items():
        place = exchange_of(shard), shard
        yield "tape_kafka_queue_messages", place, waiting
        yield "tape_kafka_queue_bytes", place, taken
    for shard, own in kafka.shards.items():
        place = exchange_of(shard), shard
        yield "tape_kafka_position", place, own.acknowledged
        yield "tape_kafka_read_back_total", place, own.looked_at
        yield "tape_kafka_repeats_total", place, own.repeats


def redis_samples(redis: "RedisStatus") -> Iterator[Sample]:
    """What Redis has, and what it does not take."""
    yield "tape_redis_up", (), redis.is_up
    yield "tape_redis_waiting", (), redis.waiting
    for record, number in redis.updates.items():
        yield "tape_redis_updates_total", (record,), number
