"""A topic in which messages of both versions stand twice, for consumers that are to see each once."""

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec.structs import replace

from connectors.registry import Registry
from schemas import Trade
from schemas.avro import VERSIONS, avro_schema
from schemas.framing import framed
from tests.schemas.anything import TRADE

TRADES = [
    replace(TRADE, message_id=f"binance:spot:BTC-USDT:0:{number}", trade_id=str(number), price=f"0.{number}0")
    for number in range(100, 160)
]
# What both examples write of them.
LINES = [f"{one.message_id} SELL 0.002 at {one.price.rstrip('0')}" for one in TRADES]


def sent_twice(brokers: str, registry: Registry, topic: str) -> int:
    """Make it; how many messages it has."""
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(10)
    subject, parts = f"{topic}-value", {2: TRADES[:30], 3: TRADES[30:]}
    ids = {version: registry.prepare(subject, avro_schema(Trade, version)) for version in VERSIONS[Trade]}
    messages = [
        (trade, message)
        for version, some in parts.items()
        for trade, message in zip(some, framed(ids[version], some, version), strict=True)
    ]
    producer = Producer({"bootstrap.servers": brokers})
    # The last ones again, as after a crash, and then all.
    for trade, message in [*messages[:40], *messages[20:], *messages[:20]]:
        headers: list[tuple[str, str | bytes | None]] = [("id", trade.message_id.encode())]
        producer.produce(topic, message, headers=headers, partition=int(trade.trade_id) % 3)
    assert producer.flush(30) == 0
    return 40 + len(messages)
