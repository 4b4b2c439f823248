"""Every metric, in one file: counted from what has left the last step, and asked of what runs when scraped.

Steps know nothing of this. Label sets are closed: what venues and people write never becomes a label, and a
symbol only where METRICS says so, within SYMBOLS_MAX. Counters begin with the process, as Prometheus expects.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from connectors.capture import CaptureStatus, KeeperStatus, ShardStatus
from connectors.connection import State
from connectors.intake import Brake
from connectors.resilience import BreakerState, ProblemKind
from connectors.source import PartitionStatus
from dataflows.distribution import MICROSECONDS, Distribution
from dataflows.steps.bars import LATENESS_SECONDS
from dataflows.steps.batch import Batch
from dataflows.steps.gaps import OpenHole
from schemas import Bar, Control, DeadLetter, Gap, Quote, StaleWindow, Trade
from schemas.health import FrameKind, Reason
from schemas.run import Run
from schemas.shards import exchange_of

LATENESS = LATENESS_SECONDS * MICROSECONDS
# A gauge for each symbol is worth its series up to here; beyond, the stalest of the others stands for them.
SYMBOLS_MAX = 100
OTHER = "other"
# From one look of the source at the journal to what nobody calls live any more.
LATENCY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)
# From one answer of a venue to the longest patience of the repairer.
REPAIR_SECONDS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)

OUTCOMES = ("accepted", "dead_letter", "duplicate", "control")
# What batches count: why a trade or quote came twice, and why a series of ids ended.
DUPLICATE, SERIES_END = "duplicates_", "sequence_"
DUPLICATES = ("overlap", "venue", "repair", "replay", "batch", "stale")
GAP_STATUSES = ("open", "repaired", "lost", "split")
SERIES_ENDS = ("restarts", "jumps")

# Labels and meaning of each; `_total` is a counter, LATENCIES are histograms, the rest are gauges.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "tape_build_info": (("version",), "Always 1; which release runs."),
    "tape_frames_total": (("venue", "kind"), "Frames that the flow took from the journal."),
    "tape_frame_bytes_total": (("venue",), "Their payloads."),
    "tape_messages_total": (("venue", "outcome"), "What decoding made of frames: the outcomes sum up to it."),
    "tape_dead_letters_total": (("venue", "reason"), "Messages that were refused, by why."),
    "tape_duplicates_total": (("venue", "reason"), "Messages that were dropped, by why they came twice."),
    "tape_late_trades_total": (("venue",), "Trades behind the time at which their bar was issued."),
    "tape_bars_total": (("venue", "interval", "issue"), "Bars issued for the first time, or again."),
    "tape_stale_windows_total": (("venue",), "Windows whose bar is to be made again from stored trades."),
    "tape_gaps_total": (("venue", "status"), "Rows of gaps: found, and how they ended."),
    "tape_gap_ids_total": (("venue", "status"), "Ids in these gaps."),
    "tape_gaps_open": (("venue",), "Holes that are being repaired now."),
    "tape_gap_ids_open": (("venue",), "Ids in these holes."),
    "tape_series_ends_total": (
        ("venue", "cause"),
        "How often ids began again, or jumped too far to be a gap.",
    ),
    "tape_repair_seconds": (("venue",), "From finding a gap to its last id."),
    "tape_event_to_decoded_seconds": (
        ("venue",),
        "From the venue's time of a live trade to the end of the last step, catching up included.",
    ),
    "tape_last_trade_age_seconds": (("venue", "symbol"), "Since the newest trade, by the venue's time."),
    "tape_capture_alive": ((), "1 while frames are captured by this process."),
    "tape_connections": (("venue", "shard", "state"), "Connections by how they stand."),
    "tape_connection_frames": (("venue", "shard"), "Frames on the connections that are open now."),
    "tape_last_data_age_seconds": (("venue", "shard"), "Since a message with market data came in."),
    "tape_connection_ends_total": (("venue", "shard", "problem"), "Connections that ended or never opened."),
    "tape_rotations_total": (("venue", "shard"), "Connections replaced before the venue cut them."),
    "tape_reconnect_delay_seconds": (("venue", "shard"), "Longest wait before a next attempt, now."),
    "tape_connect_failures": (("venue", "shard"), "Failures in a row."),
    "tape_breaker_state": (("endpoint", "state"), "1 for the state that the endpoint's breaker is in."),
    "tape_queue_frames": (("venue", "shard"), "Frames waiting for the journal."),
    "tape_queue_bytes": (("venue", "shard"), "What they take."),
    "tape_queue_limit_bytes": (("venue", "shard"), "At which sockets are not read any more."),
    "tape_brake": (("venue", "shard", "brake"), "1 while sockets are not read because of it."),
    "tape_memory_slowed": (("venue", "shard"), "1 while sockets are read less for want of memory."),
    "tape_journal_position": (("venue", "shard"), "Of the last frame written."),
    "tape_journal_durable_position": (("venue", "shard"), "Of the last frame that is on disk."),
    "tape_flow_position": (("venue", "shard"), "Of the last frame that entered the flow."),
    "tape_flow_lag_frames": (("venue", "shard"), "Frames in the journal that the flow has not taken."),
    "tape_flow_durable_position": (("venue", "shard"), "Of the last frame of the last durable epoch."),
    "tape_epochs_total": (("venue", "shard"), "Epochs that became durable."),
    "tape_durable_epoch_age_seconds": (("venue", "shard"), "Since an epoch became durable, or since start."),
    "tape_epoch_stall_seconds": (("venue", "shard"), "What the end of the last epoch cost."),
    "tape_epoch_stall_seconds_total": (("venue", "shard"), "What the ends of all epochs cost."),
    "tape_epoch_pauses_total": (("venue", "shard"), "Pauses to end epochs when other processes do."),
    "tape_flow_waits_for_disk": (("venue", "shard"), "1 while an epoch cannot end for want of the disk."),
    "tape_kafka_up": ((), "1 while Kafka takes what is sent; absent where none is configured."),
    "tape_kafka_outage_seconds": ((), "Since Kafka took the last message, while one waits in vain."),
    "tape_kafka_errors_total": (("kind",), "What brokers and registry said no with, or did not say."),
    "tape_kafka_messages_total": (("topic",), "Messages that Kafka has acknowledged."),
    "tape_kafka_queue_messages": (("venue", "shard"), "Messages that nobody has acknowledged."),
    "tape_kafka_queue_bytes": (("venue", "shard"), "What they take."),
    "tape_kafka_position": (("venue", "shard"), "Up to here all that frames caused is acknowledged."),
    "tape_kafka_read_back_total": (("venue", "shard"), "Messages looked at to see what had landed before."),
    "tape_kafka_repeats_total": (("venue", "shard"), "Of them, what was not sent a second time."),
    "tape_redis_up": ((), "1 while Redis takes what is sent; absent where none is configured."),
    "tape_redis_updates_total": (("record",), "Values that Redis has taken; what was superseded was none."),
    "tape_redis_waiting": ((), "Values that are newer here than in Redis."),
}
LATENCIES = {"tape_repair_seconds": REPAIR_SECONDS, "tape_event_to_decoded_seconds": LATENCY_SECONDS}

Sample = tuple[str, tuple[str, ...], float]


class Metrics(Collector):
    """Counts batches, and says at each scrape how everything stands."""

    def __init__(
        self,
        *,
        version: str,
        venues: Iterable[str],
        partitions: Callable[[], Sequence[PartitionStatus]] = lambda: (),
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.capture: Callable[[], CaptureStatus] | None = None  # None: this process captures nothing
        self.outputs: list[Callable[[], Iterator[Sample]]] = []  # what other sinks than the lake say
        self.partitions = partitions
        self.registry = CollectorRegistry()
        self._clock = clock
        self._began = clock()
        self._lock = Lock()
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._distributions: dict[tuple[str, str], Distribution] = {}
        self._newest: dict[tuple[str, str], int] = {}  # event time by venue and symbol
        self._newest_of_venue: dict[str, int] = {}
        self._holes: dict[str, tuple[int, int]] = {}  # by shard: holes, ids in them
        self._durable: dict[str, int] = {}  # by shard: when an epoch became durable
        self._counts["tape_build_info", version] = 1
        for venue in venues:
            self._begin(venue)
        ProcessCollector(registry=self.registry)
        self.registry.register(self)

    def observe(self, batch: Batch) -> None:
        """Count a batch that has left the last step."""
        frames, now = batch.frames, self._clock()
        venue = frames[0].exchange
        with self._lock:
            counts = self._counts
            for frame_kind, number in Counter([frame.kind for frame in frames]).items():
                counts["tape_frames_total", venue, frame_kind] += number
            counts["tape_frame_bytes_total", venue] += sum([len(frame.payload) for frame in frames])
            kinds = Counter(map(type, batch.records))
            trades = sum([len(one) for one in batch.records if type(one) is Run]) + kinds[Trade]
            repeated = 0
            for name, number in batch.counts.items():
                if name.startswith(DUPLICATE):
                    counts["tape_duplicates_total", venue, name.removeprefix(DUPLICATE)] += number
                    repeated += number
                elif name.startswith(SERIES_END):
                    counts["tape_series_ends_total", venue, name.removeprefix(SERIES_END)] += number
            counts["tape_messages_total", venue, "accepted"] += trades + kinds[Quote]
            counts["tape_messages_total", venue, "dead_letter"] += kinds[DeadLetter]
            counts["tape_messages_total", venue, "duplicate"] += repeated
            counts["tape_messages_total", venue, "control"] += kinds[Control]
            if kinds[Gap] or kinds[Bar] or kinds[DeadLetter] or kinds[StaleWindow]:
                self._count_rows(batch, venue)
            self._measure(batch, venue, now)

    def holes(self, shard: str, holes: Sequence[OpenHole]) -> None:
        """What a shard misses now."""
        self._holes[shard] = len(holes), sum(last - first + 1 for _, _, _, first, last, *_ in holes)

    def durable(self, shard: str) -> None:
        """An epoch of the shard has become durable."""
        with self._lock:
            self._durable[shard] = self._clock()
            self._counts["tape_epochs_total", exchange_of(shard), shard] += 1

    def collect(self) -> Iterator[Any]:
        """The families of this moment."""
        families = {name: family(name) for name in METRICS}
        with self._lock:
            for name, labels, value in self._counted():
                families[name].add_metric(labels, value)
            for (name, venue), distribution in self._distributions.items():
                families[name].add_metric((venue,), distribution.buckets(), seconds(distribution.sum))
        for name, labels, value in self._asked():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _begin(self, venue: str) -> None:
        """Let each counter of a venue begin at nought, so that its first increase is seen."""
        closed: dict[str, Iterable[str]] = {
            "tape_frames_total": get_args(FrameKind),
            "tape_messages_total": OUTCOMES,
            "tape_dead_letters_total": get_args(Reason),
            "tape_duplicates_total": DUPLICATES,
            "tape_gaps_total": GAP_STATUSES,
            "tape_gap_ids_total": GAP_STATUSES,
            "tape_series_ends_total": SERIES_ENDS,
        }
        for name, values in closed.items():
            for value in values:
                self._counts[name, venue, value] = 0
        for name in ("tape_frame_bytes_total", "tape_late_trades_total", "tape_stale_windows_total"):
            self._counts[name, venue] = 0
        for name, bounds in LATENCIES.items():
            self._distributions[name, venue] = Distribution(bounds)

    def _count_rows(self, batch: Batch, venue: str) -> None:
        """What is rare among records."""
        counts = self._counts
        for record in batch.records:
            if type(record) is DeadLetter:
                counts["tape_dead_letters_total", venue, record.reason] += 1
            elif type(record) is Bar:
                issue = "again" if record.revision else "first"
                counts["tape_bars_total", venue, record.interval, issue] += 1
            elif type(record) is StaleWindow:
                counts["tape_stale_windows_total", venue] += 1
            elif type(record) is Gap:
                counts["tape_gaps_total", venue, record.status] += 1
                ids = record.last_missing - record.first_missing + 1
                counts["tape_gap_ids_total", venue, record.status] += ids
                if record.status == "repaired" and record.ended is not None:
                    self._distributions["tape_repair_seconds", venue].add([record.found], record.ended)

    def _measure(self, batch: Batch, venue: str, now: int) -> None:
        """Latencies, the newest event of each symbol, and who was late."""
        symbols: list[str] = []
        times: list[int] = []
        repaired: list[int] = []
        for one in batch.records:
            if type(one) is Run:
                symbols += one.symbols
                times += one.times
            elif type(one) is Trade:
                symbols.append(one.symbol)
                times.append(one.timestamp)
                if one.origin != "live":
                    repaired.append(one.timestamp)
        if not times:
            return
        live = list((Counter(times) - Counter(repaired)).elements()) if repaired else times
        self._distributions["tape_event_to_decoded_seconds", venue].add(sorted(live), now)
        newest = self._newest_of_venue.get(venue, 0)
        self._newest_of_venue[venue] = max(newest, *times)
        if not repaired and times == sorted(times) and times[0] >= newest - LATENESS:
            # Nobody is late, and the last trade of a symbol is its newest.
            for symbol, last in dict(zip(symbols, times, strict=True)).items():
                self._newest[venue, symbol] = max(last, self._newest.get((venue, symbol), 0))
            return
        for symbol, moment in zip(symbols, times, strict=True):
            newest = self._newest.get((venue, symbol), 0)
            self._newest[venue, symbol] = max(moment, newest)
            self._counts["tape_late_trades_total", venue] += moment < newest - LATENESS

    def _counted(self) -> Iterator[Sample]:
        """What was seen in the stream."""
        for (name, *labels), count in self._counts.items():
            yield name, tuple(labels), count
        now, others = self._clock(), dict[str, int]()
        for place, ((venue, symbol), newest) in enumerate(self._newest.items()):
            if place < SYMBOLS_MAX:
                yield "tape_last_trade_age_seconds", (venue, symbol), seconds(now - newest)
            else:
                others[venue] = min(newest, others.get(venue, newest))
        for venue, newest in others.items():
            yield "tape_last_trade_age_seconds", (venue, OTHER), seconds(now - newest)

    def _asked(self) -> Iterator[Sample]:
        """How what runs beside the stream stands."""
        now = self._clock()
        captured = self.capture() if self.capture else None
        written: dict[str, int] = {}
        if captured is not None:
            yield "tape_capture_alive", (), captured.alive
            for url, is_in in captured.breakers.items():
                for state in get_args(BreakerState):
                    yield "tape_breaker_state", (url, state), state == is_in
            for shard in captured.shards:
                written[shard.shard] = shard.intake.next_position - 1
                yield from labelled((shard.venue, shard.shard), intake_samples(shard))
                yield from labelled((shard.venue, shard.shard), connection_samples(shard, now))
        for partition in self.partitions():
            since = self._durable.get(partition.shard, self._began)
            last = written.get(partition.shard)
            place = exchange_of(partition.shard), partition.shard
            yield from labelled(place, partition_samples(partition, last, seconds(now - since)))
        for samples in self.outputs:
            yield from samples()
        for venue, holes in by_venue(self._holes).items():
            yield "tape_gaps_open", (venue,), sum(number for number, _ in holes)
            yield "tape_gap_ids_open", (venue,), sum(ids for _, ids in holes)


def intake_samples(shard: ShardStatus) -> Iterator[Sample]:
    """What waits for a shard's journal, and what is in it."""
    intake = shard.intake
    yield "tape_queue_frames", (), intake.queue_frames
    yield "tape_queue_bytes", (), intake.queue_bytes
    yield "tape_queue_limit_bytes", (), intake.queue_bytes_max
    yield "tape_memory_slowed", (), bool(intake.slowed)
    yield "tape_journal_position", (), intake.next_position - 1
    yield "tape_journal_durable_position", (), intake.durable_position
    for brake in get_args(Brake):
        yield "tape_brake", (brake,), brake in intake.brakes


def connection_samples(shard: ShardStatus, now: int) -> Iterator[Sample]:
    """How a shard's connections are, and what they went through."""
    connections = [one for keeper in shard.keepers for one in keeper.connections]
    states = Counter(one.state for one in connections)
    states["backoff"] += sum(map(is_waiting, shard.keepers))
    for state in get_args(State):
        yield "tape_connections", (state,), states[state]
    yield "tape_connection_frames", (), sum(one.frames for one in connections)
    if last := max((one.last_data for one in connections), default=0):
        yield "tape_last_data_age_seconds", (), seconds(now - last)
    ends: Counter[str] = Counter()
    for keeper in shard.keepers:
        ends.update(keeper.ends)
    for problem in get_args(ProblemKind):
        yield "tape_connection_ends_total", (problem,), ends[problem]
    yield "tape_rotations_total", (), sum(keeper.rotations for keeper in shard.keepers)
    waits = [keeper.waiting_seconds for keeper in shard.keepers]
    yield "tape_reconnect_delay_seconds", (), max(waits, default=0.0)
    yield "tape_connect_failures", (), max((keeper.failures for keeper in shard.keepers), default=0)


def is_waiting(keeper: KeeperStatus) -> bool:
    return not keeper.connections and keeper.waiting_seconds > 0


def partition_samples(partition: PartitionStatus, written: int | None, age: float) -> Iterator[Sample]:
    """How far the flow is with a shard; `written` is known where this process captures it too."""
    yield "tape_flow_position", (), partition.position
    if written is not None:
        yield "tape_flow_lag_frames", (), max(0, written - partition.position)
    yield "tape_flow_durable_position", (), partition.durable_position
    yield "tape_durable_epoch_age_seconds", (), age
    yield "tape_epoch_stall_seconds", (), partition.stall_seconds
    yield "tape_epoch_stall_seconds_total", (), partition.stall_seconds_total
    yield "tape_epoch_pauses_total", (), partition.pauses
    yield "tape_flow_waits_for_disk", (), bool(partition.outage)


def labelled(first: tuple[str, ...], samples: Iterable[Sample]) -> Iterator[Sample]:
    """The samples with these labels before their own."""
    for name, labels, value in samples:
        yield name, first + labels, value


def by_venue(holes: dict[str, tuple[int, int]]) -> dict[str, list[tuple[int, int]]]:
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for shard, counted in list(holes.items()):
        found[exchange_of(shard)].append(counted)
    return found


def family(name: str) -> Any:
    """An empty family of the metric."""
    labels, meaning = METRICS[name]
    if name in LATENCIES:
        return HistogramMetricFamily(name, meaning, labels=labels)
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    return kind(name, meaning, labels=labels)


def seconds(microseconds: int) -> float:
    return microseconds / MICROSECONDS
