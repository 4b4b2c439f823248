"""Reads the trades that a topic has, each once: `python read_trades.py BROKERS REGISTRY TOPIC`."""

import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from connectors.registry import Registry
from schemas import Trade
from schemas.framing import Reader
from schemas.once import Once


def main(brokers: str, registry_url: str, topic: str) -> None:
    """Write one line for each trade."""
    consumer = Consumer(
        {"bootstrap.servers": brokers, "group.id": "read-trades", "enable.partition.eof": True}
    )
    left = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
    once = Once()
    with Registry(registry_url) as registry:
        trades = Reader(Trade, registry.schema)
        while left:
            for message in consumer.consume(1_000, timeout=1.0):
                error = message.error()
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:
                        raise KafkaException(error)
                    left.discard(message.partition())
                elif once.is_new(dict(message.headers())["id"]):
                    trade = trades.record(message.value())
                    sys.stdout.write(f"{trade.message_id} {trade.side} {trade.quantity} at {trade.price}\n")
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
