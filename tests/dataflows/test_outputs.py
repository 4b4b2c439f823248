"""What sinks beside the lake say of themselves becomes samples of metrics that there are."""

from connectors.bus import BusStatus
from connectors.kafka import KafkaStatus, ShardStatus
from connectors.redis import RedisStatus
from dataflows.metrics import METRICS
from dataflows.outputs import kafka_samples, redis_samples

BUS = BusStatus(True, 0.0, "", {"market.crypto.trades.binance": 7}, {"transport": 1}, {"binance-0": (2, 300)})
SHARDS = {"binance-0": ShardStatus(9, 4, 3)}


def test_kafka_says_what_it_has_and_what_waits() -> None:
    place = ("binance", "binance-0")
    samples = list(kafka_samples(KafkaStatus(BUS, SHARDS)))
    assert samples == [
        ("tape_kafka_up", (), True),
        ("tape_kafka_outage_seconds", (), 0.0),
        ("tape_kafka_errors_total", ("transport",), 1),
        ("tape_kafka_messages_total", ("market.crypto.trades.binance",), 7),
        ("tape_kafka_queue_messages", place, 2),
        ("tape_kafka_queue_bytes", place, 300),
        ("tape_kafka_position", place, 9),
        ("tape_kafka_read_back_total", place, 4),
        ("tape_kafka_repeats_total", place, 3),
    ]
    assert all(len(METRICS[name][0]) == len(labels) for name, labels, _ in samples)


def test_an_outage_of_kafka_is_told() -> None:
    away = KafkaStatus(BusStatus(True, 4.5, "no broker", {}, {}, {}), {})
    assert list(kafka_samples(away)) == [
        ("tape_kafka_up", (), False),
        ("tape_kafka_outage_seconds", (), 4.5),
    ]


def test_redis_says_what_it_has_and_what_waits() -> None:
    samples = list(redis_samples(RedisStatus(True, {"trade": 5}, 2)))
    assert samples == [
        ("tape_redis_up", (), True),
        ("tape_redis_waiting", (), 2),
        ("tape_redis_updates_total", ("trade",), 5),
    ]
    assert all(len(METRICS[name][0]) == len(labels) for name, labels, _ in samples)
