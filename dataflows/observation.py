"""What a process says of itself: brings the metrics to all that they are counted from, and serves them.

Served until the process is gone: how it ends is worth a look too.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from connectors import VERSION
from connectors.capture import Capture
from connectors.durable import Durable
from connectors.serving import Serving
from connectors.settings import MetricsSettings
from connectors.slots import Slot
from connectors.source import JournalSource
from connectors.venues import VENUES
from dataflows.holes import Tell
from dataflows.metrics import Metrics
from dataflows.outputs import kafka_samples, redis_samples
from dataflows.readiness import unready
from dataflows.steps.batch import Batch
from dataflows.steps.gaps import OpenHole

if TYPE_CHECKING:
    from connectors.kafka import KafkaStatus
    from connectors.redis import RedisStatus

# Metrics whose second label ends a count of the ledger.
LEDGER = {
    "tape_frames": "frames_",
    "tape_dead_letters": "dead_letters_",
    "tape_duplicates": "duplicates_",
    "tape_gaps": "gaps_",
}


class Observation:
    """The metrics of one process, and where they are served."""

    def __init__(self, slots: Iterable[Slot], durable: Durable, captured: Collection[str]) -> None:
        self._metrics = Metrics(version=VERSION, venues=VENUES)
        self._captured = captured
        self._kafka: Callable[[], KafkaStatus] | None = None
        for slot in slots:
            durable.tell(slot.shard, partial(self._epoch_became_durable, slot.shard))

    def observe(self, batch: Batch) -> None:
        """Count what has left the last step."""
        self._metrics.observe(batch)

    def of_capture(self, capture: Capture) -> None:
        """Ask this one how it stands."""
        self._metrics.capture = capture.status

    def of_source(self, source: JournalSource[Batch]) -> None:
        """Ask this one how far it is."""
        self._metrics.partitions = source.status

    def of_kafka(self, status: "Callable[[], KafkaStatus]") -> None:
        """Ask this one what it has sent."""
        self._kafka = status
        self._metrics.outputs.append(lambda: kafka_samples(status()))

    def of_redis(self, status: "Callable[[], RedisStatus]") -> None:
        """Ask this one what it has sent; it makes nobody unready, for nothing depends on it."""
        self._metrics.outputs.append(lambda: redis_samples(status()))

    def before(self, tell: Tell) -> Tell:
        """The same, but open holes are noted first."""

        def noted(shard: str, holes: list[OpenHole], position: int, now: int) -> None:
            self._metrics.holes(shard, holes)
            tell(shard, holes, position, now)

        return noted

    def serve(self, settings: MetricsSettings, process: int, logger: Any) -> None:
        """Answer from now on; each process of a cluster at its own port."""
        port = settings.port + process if settings.port else 0
        serving = Serving(
            host=settings.host, port=port, registry=self._metrics.registry, unready=self.unready
        )
        serving.start()
        logger.info(f"metrics at {serving.address}/metrics", address=serving.address, process=process)

    def totals(self) -> dict[str, dict[str, int]]:
        """What a scrape would say now, by venue and in the words in which the ledger counts the same."""
        found: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for family in self._metrics.collect():
            for sample in family.samples if family.name in LEDGER else ():
                venue, kind = sample.labels.values()
                found[venue][LEDGER[family.name] + kind] = int(sample.value)
        return found

    def unready(self) -> list[str]:
        """Why this process cannot be relied on; of a shard that nobody captures nothing is expected."""
        capture, kafka = self._metrics.capture, self._kafka
        partitions = [one for one in self._metrics.partitions() if one.shard in self._captured]
        return unready(capture() if capture else None, partitions, kafka() if kafka else None)

    def _epoch_became_durable(self, shard: str, position: int) -> None:
        self._metrics.durable(shard)
