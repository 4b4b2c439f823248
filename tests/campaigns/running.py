"""One process of the flow over recorded journals, into files or the lake: what tests and campaigns start.

`command(job)` starts it in a process of its own.
"""

import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Timer
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from connectors.journal_reader import JournalReader
from connectors.slots import Slot, Store, read
from connectors.source import JournalPartition, JournalSource, Reading
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.crypto import build
from dataflows.steps.batch import Batch, batch_of
from tests.campaigns.exactly_once import FileSink, Row, rows_of

if TYPE_CHECKING:
    from connectors.kafka import Kafka
    from connectors.kafka_settings import KafkaSettings
    from connectors.lake import Lake

PATIENCE_SECONDS = 60.0


class Job(msgspec.Struct, frozen=True):
    """What one process does."""

    directory: str  # of the store
    recovery: str = ""
    process: int = 0
    addresses: tuple[str, ...] = ()
    epoch_seconds: float = 0.05
    batch_frames_max: int = 100
    epoch_frames_max: int = 300
    ends: bool = True
    captured: tuple[str, ...] = ()
    seconds: float = 0.0  # after which it is told to stop; 0: never
    pause_process: int = -1  # which waits once, just before an epoch's end
    pause_seconds: float = 0.0
    heals: bool = True  # whether partitions bring epochs back into step
    sink: str = "files"  # or "lake", "kafka", "naive"
    catalog: str = ""  # of the lake; empty: beside the store
    warehouse: str = ""
    access: dict[str, str] = {}
    brokers: str = ""  # of Kafka
    registry: str = ""


def output(directory: Path) -> Path:
    """Where the rows of a store's flow are."""
    return directory / "output"


class Watched(JournalSource[Batch]):
    """The source, remembering what the ends of epochs cost, and pausing where a test wants it to."""

    pause_seconds = 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stalls: list[float] = []

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> JournalPartition[Batch]:
        partition = super().build_part(step_id, for_part, resume_state)
        next_batch, durable = partition.next_batch, partition._epoch_became_durable

        def pausing() -> list[Any]:
            if self.pause_seconds and len(self.stalls) == 2 and partition._epoch_end - monotonic() < 0.05:
                sleep(self.pause_seconds)
                self.pause_seconds = 0.0
                partition._idle = False  # the engine would add the pause to an idle partition's wait
                return []
            return next_batch()

        def remembering(waited: float) -> None:
            self.stalls.append(waited)
            durable(waited)

        partition.next_batch = pausing  # type: ignore[method-assign]
        partition._epoch_became_durable = remembering  # type: ignore[method-assign]
        return partition


def command(job: Job) -> list[str]:
    """How to start a process that does it."""
    return [sys.executable, "-m", "tests.campaigns.running", msgspec.json.encode(job).decode()]


def main(job: Job) -> None:
    """Run until the journals end."""
    directory = Path(job.directory)
    store = read(directory)
    assert store is not None
    reading = Reading(
        directory=directory,
        epoch_seconds=job.epoch_seconds,
        alone=len(job.addresses) < 2 or not job.heals,
        captured=job.captured,
        ends=job.ends,
        batch_frames_max=job.batch_frames_max,
        epoch_frames_max=job.epoch_frames_max,
    )
    source = Watched(store.slots, reading, batch_of)
    source.pause_seconds = job.pause_seconds if job.process == job.pause_process else 0.0
    if job.seconds:
        Timer(job.seconds, reading.stop.set).start()
    lake = lake_of(job, directory, store, reading) if job.sink == "lake" else None
    kafka = kafka_of(job, store, reading) if job.sink == "kafka" else None
    sink = lake or kafka or wrong_sink(job, directory, store)
    sink = sink or FileSink(output(directory), store.slots, reading.durable)
    cli_main(
        build(source, {"write": sink}, chain(VENUES)),
        process_id=job.process if job.addresses else None,
        addresses=list(job.addresses) or None,
        epoch_interval=timedelta(seconds=job.epoch_seconds),
        recovery_config=RecoveryConfig(Path(job.recovery)) if job.recovery else None,
    )
    reading.durable.ended()
    for closing in filter(None, (lake, kafka)):
        assert closing.close(PATIENCE_SECONDS)
    (directory / f"stalls-{job.process}.json").write_bytes(msgspec.json.encode(source.stalls))


def lake_of(job: Job, directory: Path, store: Store, reading: Reading) -> "Lake":
    """The product's lake, for the shards of this process."""
    # A second to import, which most tests need not spend.
    from connectors.catalog import open_catalog  # noqa: PLC0415
    from connectors.lake import Lake  # noqa: PLC0415

    own = [slot.shard for slot in store.slots if slot.number % max(1, len(job.addresses)) == job.process]
    lake = Lake(
        partial(open_catalog, directory, job.catalog, job.warehouse, **job.access),
        store,
        directory,
        own,
        durable=reading.durable,
        stop=reading.stop,
        commit_seconds=0.0,
        logger=structlog.get_logger(),
    )
    lake.start()
    return lake


def kafka_of(job: Job, store: Store, reading: Reading) -> "Kafka":
    """The product's topics, for the shards of this process."""
    from connectors.kafka import Kafka  # noqa: PLC0415  # as above

    own = [slot.shard for slot in store.slots if slot.number % max(1, len(job.addresses)) == job.process]
    kafka = Kafka(topics_of(job), store, own, stop=reading.stop, logger=structlog.get_logger())
    kafka.start()
    return kafka


def topics_of(job: Job) -> "KafkaSettings":
    """Where the topics of a campaign are."""
    from connectors.kafka_settings import KafkaSettings  # noqa: PLC0415  # as above

    # What is recorded is years old and must not be too old to be kept.
    return KafkaSettings(
        bootstrap_servers=(job.brokers,), registry_url=job.registry, partitions=3, retention_days=36_500
    )


def wrong_sink(job: Job, directory: Path, store: Store) -> Any:
    """The sink that a campaign must catch, where one asks for it."""
    if job.sink != "naive":
        return None
    from connectors.catalog import open_catalog  # noqa: PLC0415  # as above
    from tests.campaigns.naive import naive_sink  # noqa: PLC0415

    opened = partial(open_catalog, directory, job.catalog, job.warehouse, **job.access)
    return naive_sink(opened, store)


def straight(directory: Path, slots: tuple[Slot, ...]) -> dict[str, list[Row]]:
    """What the same journals give when the steps are simply called one after the other."""
    rows: dict[str, list[Row]] = {slot.shard: [] for slot in slots}
    for batch in batches(directory, slots):
        rows[batch.shard] += msgspec.json.decode(msgspec.json.encode(rows_of(batch)))
    return rows


def batches(directory: Path, slots: tuple[Slot, ...]) -> Iterator[Batch]:
    """What leaves the last step, shard by shard, without engine, crash or sink."""
    for slot in slots:
        exchange = slot.shard.rpartition("-")[0]
        reader = JournalReader(directory / "journal" / slot.shard, exchange=exchange, shard=slot.shard)
        steps = [begin(slot.shard, None) for begin in chain(VENUES)]
        while frames := reader.read(1_000):
            batch: Batch = batch_of(frames)
            for step in steps:
                batch = step.step(batch)
            yield batch
        reader.close()


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Job))
