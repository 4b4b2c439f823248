"""What publishing to a real broker costs, and how soon a trade can be read from its topic.

Cost is CPU time of the process, all of its threads and the client's, from decoded runs to the last
acknowledgement, as the sink takes them: trades alone, and with the frames that brought them. How soon: a flow
as users start it, its simulated venue and the broker on this machine, and a consumer beside it, whose time is
in the figure. It reads only what the broker has taken for good, so an acknowledgement comes no later.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from subprocess import Popen
from threading import Event
from typing import Any

import structlog
from confluent_kafka import Consumer

from benchmarks.decode import BATCH_FRAMES, NATIVE, binance, trades
from benchmarks.latency import STOP_SECONDS, percentile, simulator, start_flow
from connectors.children import stop_child
from connectors.kafka import Kafka, registry_of
from connectors.kafka_settings import KafkaSettings
from connectors.slots import Slot, Store
from connectors.topics import topic_of
from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments
from dataflows.steps.batch import Batch
from schemas import Frame, Trade
from schemas.framing import Reader
from tests.services.kafka import kafka
from tests.services.programs import NotHere
from tests.services.registry import registry

SHARD = "benchmark-0"  # of topics of its own
# A broker that has just begun takes little at a time, and so costs its clients more.
WARM_ROUNDS, ROUNDS = 3, 7
LOOK_SECONDS = 0.01
RATE, SECONDS, WARM_SECONDS = 1_000.0, 30.0, 8.0
# What a round may take on the slowest machine, and what the first message may.
PATIENCE_SECONDS = 60.0


def measure(rate: float = RATE, seconds: float = SECONDS) -> dict[str, float]:
    try:
        with kafka() as broker, registry() as schemas:
            settings = KafkaSettings(bootstrap_servers=(broker.plain,), registry_url=schemas.url)
            return published(settings) | read_from_topic(settings, rate, seconds)
    except NotHere as error:
        print(error)
        return {}


def published(settings: KafkaSettings) -> dict[str, float]:
    """Trades a second of one core."""
    batches = {"trades": list(decoded(frames=False)), "trades_with_frames": list(decoded(frames=True))}
    spent: dict[str, list[float]] = {name: [] for name in batches}
    slot = Slot(0, SHARD, SHARD)
    store = Store(1, "benchmark", "simulated", (slot,))
    sink = Kafka(settings, store, [SHARD], stop=Event(), logger=structlog.get_logger())
    sink.start()
    partition = sink.build_part("", slot.partition, None)
    assert partition.snapshot()  # which waits until it has begun
    for number in range(WARM_ROUNDS + ROUNDS):
        for name, some in batches.items():
            count = sum(len(batch.records[0]) for batch in some)
            before, started = time.process_time(), time.monotonic()
            for batch in some:
                partition.write_batch([batch])
            while any(waiting for waiting, _ in sink.bus.status().queued.values()):
                assert time.monotonic() - started < PATIENCE_SECONDS
                time.sleep(LOOK_SECONDS)
            if number >= WARM_ROUNDS:
                spent[name].append((time.process_time() - before) / count)
    assert sink.close(PATIENCE_SECONDS)
    return {f"kafka_{name}_per_second": 1 / median(values) for name, values in spent.items()}


def decoded(*, frames: bool) -> Iterator[Any]:
    """A busy market's batches as they come to the sink."""
    found = [
        Frame("binance", SHARD, number, 1, number, one["time"] + 2_000, "data", binance(one).encode())
        for number, one in enumerate(trades(), 1)
    ]
    instruments = {NATIVE["binance"]: shipped_instruments("binance")[NATIVE["binance"]]}
    decode = VENUES["binance"].decode_many
    for start in range(0, len(found), BATCH_FRAMES):
        some = found[start : start + BATCH_FRAMES]
        run = decode(some, instruments)
        yield Batch(SHARD, some[0].position, some[-1].position, some if frames else [], list(run), {})


def read_from_topic(settings: KafkaSettings, rate: float, seconds: float) -> dict[str, float]:
    """From receiving a frame until its trades are read from the topic."""
    with tempfile.TemporaryDirectory() as folder, simulator(rate) as variables, consumer(settings) as topic:
        flow = start_flow(
            variables
            | {
                "TAPE_DATA_DIR": folder,
                "TAPE_KAFKA__BOOTSTRAP_SERVERS": settings.bootstrap_servers[0],
                "TAPE_KAFKA__REGISTRY_URL": settings.registry_url,
            }
        )
        try:
            took = list(taken(settings, topic, flow, seconds))
        finally:
            stop_child(flow, STOP_SECONDS)
    return {
        "kafka_trades_read_per_second": len(took) / seconds,
        "receive_to_broker_ack_p99_ms": percentile(took, 99) / 1_000,
        "receive_to_broker_ack_p50_ms": percentile(took, 50) / 1_000,
    }


def taken(settings: KafkaSettings, topic: Consumer, flow: "Popen[str]", seconds: float) -> Iterator[float]:
    """Microseconds of each trade that is read once the flow runs warm."""
    reader: Reader[Trade] | None = None
    begins, patience = float("inf"), time.monotonic() + PATIENCE_SECONDS
    with registry_of(settings) as schemas:
        while time.monotonic() < begins + seconds:
            assert flow.poll() is None, "the flow ended by itself"
            assert reader is not None or time.monotonic() < patience, "no message came"
            messages = topic.consume(1_000, 0.002)
            now = time.time_ns() // 1_000
            for message in messages:
                if message.error():
                    continue  # the topic is made only now
                if reader is None:
                    reader, begins = Reader(Trade, schemas.schema), time.monotonic() + WARM_SECONDS
                if time.monotonic() >= begins:
                    trade = reader.record(message.value())
                    if trade.origin == "live":
                        yield now - trade.ingestion_timestamp


@contextmanager
def consumer(settings: KafkaSettings) -> Iterator[Consumer]:
    """Who reads the trades of all partitions as soon as they come."""
    found = Consumer(
        {
            "bootstrap.servers": ",".join(settings.bootstrap_servers),
            "group.id": "benchmark",
            "group.protocol": "consumer",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "allow.auto.create.topics": False,
            "topic.metadata.refresh.interval.ms": 500,
            "fetch.wait.max.ms": 5,
        }
    )
    found.subscribe([topic_of(Trade, "binance")])
    try:
        yield found
    finally:
        found.close()
