"""Messages and others: Confluent's own consumer reads ours, we read its producer's, by one real registry."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.serialization import MessageField, SerializationContext
from msgspec.structs import replace

from connectors.registry import Registry
from schemas import Trade
from schemas.avro import avro_schema
from schemas.framing import Reader, framed, identifier_of
from tests.schemas.anything import TRADE
from tests.services.programs import NotHere
from tests.services.twice import LINES, sent_twice

if TYPE_CHECKING:
    from tests.services.kafka import Kafka
    from tests.services.registry import Registry as RealRegistry

ROOT = Path(__file__).parent.parent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The usual trade as Avro's libraries for Python give it.
ROW: dict[str, Any] = {
    "message_id": "binance:spot:BTC-USDT:0:28457",
    "trade_id": "28457",
    "symbol": "BTC-USDT",
    "exchange": "binance",
    "asset_class": "crypto",
    "timestamp": EPOCH + timedelta(microseconds=1_700_000_000_123_456),
    "price": Decimal("43250.1"),
    "quantity": Decimal("0.002"),
    "currency": "USDT",
    "side": "SELL",
    "trade_conditions": ["A", "B"],
    "source_sequence": 28457,
    "ingestion_timestamp": EPOCH + timedelta(microseconds=1_700_000_000_200_000),
    "platform_sequence": 7,
    "vendor_data": {"base_asset": "BTC", "quote_asset": "USDT", "native_symbol": "BTCUSDT"},
    "market": "spot",
    "base_asset": "BTC",
    "quote_asset": "USDT",
    "native_symbol": "BTCUSDT",
    "first_sequence": 28457,
    "last_sequence": 28457,
    "series": 0,
    "origin": "live",
    "shard": "binance-0",
}
KNOWN = {2: list(ROW)[:15], 3: list(ROW)}


@pytest.fixture
def topic() -> str:
    return f"market.crypto.trades.{uuid.uuid4().hex}"


@pytest.fixture
def ours(registry: "RealRegistry") -> Iterator[Registry]:
    with Registry(registry.url) as client:
        yield client


@pytest.fixture
def theirs(registry: "RealRegistry") -> Iterator["Confluent"]:
    """Confluent's own package of serializers, with its own client of registries."""
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient, avro  # noqa: PLC0415  # may lack a part
    except ImportError as error:
        raise NotHere(
            f"{error.name} is missing (pip install --no-deps -r requirements-services.txt)"
        ) from error
    with SchemaRegistryClient({"url": registry.url}) as client:
        yield Confluent(client, avro)


class Confluent:
    """What writes and reads one topic of Confluent's."""

    def __init__(self, client: Any, package: Any) -> None:
        self._client, self._package = client, package

    def write(self, topic: str, schema: dict[str, Any], row: dict[str, Any]) -> bytes:
        """A message of a row, its schema registered."""
        write = self._package.AvroSerializer(self._client, json.dumps(schema))
        return bytes(write(row, SerializationContext(topic, MessageField.VALUE)))

    def read(self, topic: str, message: bytes, schema: dict[str, Any] | None = None) -> dict[str, Any]:
        """The row of a message, as a schema or else the writer's has it."""
        read = self._package.AvroDeserializer(self._client, schema and json.dumps(schema))
        return dict(read(message, SerializationContext(topic, MessageField.VALUE)))


@pytest.mark.parametrize("version", [2, 3])
def test_confluents_consumer_reads_our_messages(
    ours: Registry, theirs: Confluent, topic: str, version: int
) -> None:
    identifier = ours.prepare(f"{topic}-value", avro_schema(Trade, version))
    (message,) = framed(identifier, [TRADE], version)
    assert theirs.read(topic, message) == {name: ROW[name] for name in KNOWN[version]}


@pytest.mark.parametrize("version", [2, 3])
def test_we_read_messages_of_confluents_producer(
    ours: Registry, theirs: Confluent, topic: str, version: int
) -> None:
    row = {name: ROW[name] for name in KNOWN[version]}
    message = theirs.write(topic, avro_schema(Trade, version), row)
    shortest = replace(TRADE, price="43250.1")
    expected = Trade(**{name: getattr(shortest, name) for name in KNOWN[version]})
    assert Reader(Trade, ours.schema).record(message) == expected
    assert message == framed(identifier_of(message), [TRADE], version)[0]


def test_versions_of_both_are_mixed_in_one_topic(ours: Registry, theirs: Confluent, topic: str) -> None:
    second = theirs.write(topic, avro_schema(Trade, 2), {name: ROW[name] for name in KNOWN[2]})
    (third,) = framed(ours.prepare(f"{topic}-value", avro_schema(Trade, 3)), [TRADE], 3)
    assert identifier_of(second) != identifier_of(third)
    reader = Reader(Trade, ours.schema)
    assert [reader.record(message).origin for message in (second, third)] == [None, "live"]
    rows = [theirs.read(topic, message, avro_schema(Trade, 3)) for message in (second, third)]
    assert [row["origin"] for row in rows] == [None, "live"]


def test_the_example_for_python_reads_each_message_once(
    kafka: "Kafka", registry: "RealRegistry", ours: Registry, topic: str
) -> None:
    count = sent_twice(kafka.plain, ours, topic)
    assert count == len(LINES) + 40
    example = ROOT / "docs" / "examples" / "read_trades.py"
    done = subprocess.run(
        [sys.executable, str(example), kafka.plain, registry.url, topic],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, sorted(done.stdout.splitlines())) == (0, LINES), done.stderr
