"""How fast trades become messages of a bus, beside confluent-kafka's own serializer of the same schema.

CPU time of one core, medians of interleaved rounds, so that a busy machine slows all alike. The peer is
measured twice: with records, of which its user makes what Avro's library takes, and with rows that somebody
has made already. Its registry is the one in memory that it brings itself.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import median
from typing import Any

import msgspec
from msgspec.structs import asdict

from benchmarks.decode import BATCH_FRAMES, NATIVE, binance, trades
from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments
from schemas import Frame, Trade
from schemas.avro import avro_schema, newest
from schemas.framing import framed
from schemas.run import records_of

ROUNDS = 9
# Of what waits in a sink's batch while a market is busy.
BATCH_TRADES = 400
# Of what it takes for one answer, in so many rounds: the peer needs a tenth of them.
PEER_TRADES = 2_000

Round = Callable[[], float]  # nanoseconds of CPU time a trade


def measure() -> dict[str, float]:
    records = trade_records()
    rounds = {"ours": ours(records)} | confluent(records[:PEER_TRADES])
    spent: dict[str, list[float]] = {name: [] for name in rounds}
    for _ in range(ROUNDS):
        for name, one in rounds.items():
            spent[name].append(one())
    cost = {name: median(values) for name, values in spent.items()}
    figures = {"encode_messages_per_second": 1e9 / cost["ours"]}
    if "confluent" in cost:
        figures["kafka_vs_confluent_serializer"] = cost["confluent"] / cost["ours"]
        figures["kafka_vs_confluent_serializer_of_rows"] = cost["confluent rows"] / cost["ours"]
    return figures


def trade_records() -> list[Trade]:
    """What a busy market brings."""
    frames = [
        Frame("binance", "binance-0", number, 1, number, one["time"] + 2_000, "data", binance(one).encode())
        for number, one in enumerate(trades(), 1)
    ]
    instruments = {NATIVE["binance"]: shipped_instruments("binance")[NATIVE["binance"]]}
    decode = VENUES["binance"].decode_many
    return [
        record
        for start in range(0, len(frames), BATCH_FRAMES)
        for record in records_of(decode(frames[start : start + BATCH_FRAMES], instruments))
    ]


def ours(records: list[Trade]) -> Round:
    batches = [records[start : start + BATCH_TRADES] for start in range(0, len(records), BATCH_TRADES)]

    def one_round() -> float:
        started = time.process_time()
        for batch in batches:
            messages = framed(1, batch, newest(Trade))
            assert len(messages) == len(batch)
        return (time.process_time() - started) / len(records) * 1e9

    return one_round


def confluent(records: list[Trade]) -> dict[str, Round]:
    """Rounds of their serializer, once it gives the same bytes as ours; none where it is not installed."""
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient, avro  # noqa: PLC0415
        from confluent_kafka.serialization import MessageField, SerializationContext  # noqa: PLC0415
    except ImportError:
        return {}
    client = SchemaRegistryClient.new_client({"url": "mock://benchmark"})
    context = SerializationContext("market.crypto.trades.binance", MessageField.VALUE)
    text = json.dumps(avro_schema(Trade, newest(Trade)))
    of_records = avro.AvroSerializer(client, text, lambda record, _: row_of(record))
    of_rows = avro.AvroSerializer(client, text)
    rows = [row_of(record) for record in records]
    (message,) = framed(int.from_bytes(of_rows(rows[7], context)[1:5], "big"), records[7:8], newest(Trade))
    assert of_records(records[7], context) == of_rows(rows[7], context) == message

    def one_round(serialize: Any, items: list[Any]) -> float:
        started = time.process_time()
        for item in items:
            serialize(item, context)
        return (time.process_time() - started) / len(items) * 1e9

    return {
        "confluent": lambda: one_round(of_records, records),
        "confluent rows": lambda: one_round(of_rows, rows),
    }


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def row_of(record: Trade) -> dict[str, Any]:
    """A record as Avro's libraries take it."""
    row = asdict(record)
    row["timestamp"] = EPOCH + timedelta(microseconds=record.timestamp)
    row["ingestion_timestamp"] = EPOCH + timedelta(microseconds=record.ingestion_timestamp)
    row["price"], row["quantity"] = Decimal(record.price), Decimal(record.quantity)
    row["vendor_data"] = msgspec.json.decode(record.vendor_data or "null")
    return row
