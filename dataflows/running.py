"""A process of the flow: what is started before the engine, and what is done when the engine has returned.

Capture runs beside the flow and begins before it: a peer that is missing costs no frame.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import structlog
from bytewax.dataflow import Dataflow

from connectors import log
from connectors.capture import Capture, ShardPlan
from connectors.closing import Closing, leave
from connectors.configuration import load
from connectors.errors import EXIT_COULD_NOT, TapeError, explain
from connectors.intake import Writes
from connectors.journal import Journal, JournalError
from connectors.mode import decide
from connectors.mode import store as store_directory
from connectors.placement import WORKERS_MAX
from connectors.plans import plan_shards, policy_of, shard_names, venues_of
from connectors.positions import expected_position, prepare_position, sync_newest
from connectors.repair import RepairPolicy, Repairs
from connectors.settings import Settings
from connectors.simulation import simulated
from connectors.slots import Slot, Store, held, open_store
from connectors.source import JournalSource, Reading
from connectors.text import visible
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.crypto import build
from dataflows.ending import Ending, again, gone
from dataflows.execution import PeerLost, execute
from dataflows.holes import Tell
from dataflows.observation import Observation
from dataflows.recovery import EPOCH_SECONDS, Command, adopt, arrange, command
from dataflows.steps.batch import batch_of
from dataflows.summary import Summary
from schemas.shards import exchange_of

if TYPE_CHECKING:
    from connectors.kafka import Kafka
    from connectors.lake import Lake
    from connectors.redis import Redis

# Within the time that a process has to end; a catalog that is well takes a tenth of it.
CLOSE_SECONDS = 5.0

ALONE = Command(None, None, 0, (), 1)


def run_as_told() -> NoReturn:
    """A whole process of ours, as the engine's own command was told; what goes wrong is two lines.

    The engine runs within: what is done behind it needs pools of threads, which Python closes before anything
    that is called at exit.
    """
    try:
        told = command()
        file = os.environ.get("TAPE_CONFIG")
        settings = load(Path(file) if file else None).settings
        log.start(settings.log.level)
        run(settings, told)
    except (TapeError, OSError) as error:
        message, hint = explain(error)
        lines = [f"error: {message}", *([f"hint: {hint}"] if hint else [])]
        print("\n".join(map(visible, lines)), file=sys.stderr, flush=True)  # noqa: T201  # the log may not have begun
        # Not sys.exit: threads of an engine that has failed would abort it.
        gone(error.exit_code if isinstance(error, TapeError) else EXIT_COULD_NOT)
    gone()


def run(settings: Settings, told: Command = ALONE) -> None:
    """Run the flow until told to stop."""
    process, recovery = Process.of(settings, told)
    try:
        execute(process.start(), told, recovery)
    except BaseException as error:
        process.ending.failed()
        if isinstance(error, PeerLost) and process.ending.is_wanted():
            logger: Any = structlog.get_logger()
            logger.warning("another process of the cluster is gone: starting again to wait for it")
            again()
        raise
    process.ending.returned()


class Process:
    """One process of the flow, alone or of a cluster."""

    def __init__(
        self, settings: Settings, directory: Path, store: Store, told: Command, recovery: Path
    ) -> None:
        self._settings, self._directory, self.store, self._told = settings, directory, store, told
        self._logger: Any = structlog.get_logger()
        self._started = ExitStack()
        self._turn = Lock()  # two threads may release; the second waits until all is done
        self._journals_turn = Lock()  # a journal is not closed while it is synced
        self._journals: dict[Path, Journal] = {}
        self._untrimmed: set[str] = set()  # shards whose journals refused to be trimmed
        self._tell: Tell = lambda *_: None
        shards = set(shard_names(settings))
        self._reading = Reading(
            directory=directory,
            epoch_seconds=told.epoch_seconds or EPOCH_SECONDS,
            alone=told.workers == 1,
            captured=shards,
            sync=self._sync,
            recovery=recovery,
        )
        self._observation = Observation(store.slots, self._reading.durable, shards)
        self._summary = Summary(store.slots, self._observation.observe)
        self._lake: Lake | None = None
        self._kafka: Kafka | None = None
        self._redis: Redis | None = None
        self._captured = [slot for slot in store.slots if slot.shard in shards]
        self.ending = Ending(
            asked=self._reading.asked,
            stop=self._reading.stop,
            begun=self._reading.built,
            release=self._release,
            complete=self._complete,
            logger=self._logger,
        )

    @classmethod
    def of(cls, settings: Settings, told: Command) -> tuple["Process", Path]:
        """A process over the store that the settings name, and the store's recovery files."""
        if told.processes > 1 and settings.mode == "auto":
            raise TapeError(
                "a cluster needs to be told what it captures",
                hint='set mode = "live" or "simulated" (TAPE_MODE)',
            )
        decision = decide(settings.mode, settings.data_dir, venues_of(settings))
        directory = store_directory(settings.data_dir, decision.kind)
        store = open_store(directory, decision.kind, shard_names(settings))
        ours = [slot.shard for slot in store.slots if told.captures(slot.number)]
        # Who writes them may be in the middle of a recovery file: it is he who is named then, not the file.
        with held(directory, ours, time.time_ns() // 1_000):
            recovery = told.recovery or arrange(directory, store, told, shared=settings.data_dir_shared)
            adopt(directory, store, recovery)
        structlog.get_logger().info(decision.said)
        return cls(settings, directory, store, told, recovery), recovery

    def start(self) -> Dataflow:
        """Begin to capture what is ours, and build the flow."""
        self.ending.listen()
        own = {slot.shard for slot in self._captured if self._told.captures(slot.number)}
        for line in cautions(self._told, self._captured):
            self._logger.warning(line)
        lake = self._make_lake()
        if own:
            self._capture(own)
        # The state and tokens of shards that are captured no more are ours too, or somebody's who still runs.
        ours = (slot.shard for slot in self.store.slots if self._told.captures(slot.number))
        others = [shard for shard in ours if shard not in own]
        self._started.enter_context(held(self._directory, others, time.time_ns() // 1_000))
        if not self._told.backup_seconds:  # else an older state may be taken up again
            lake.courier.published = self._trim
        lake.start()  # only behind the journals' locks: it would take the tables from who holds them
        self._lake = lake
        self._kafka = self._make_kafka()
        self._redis = self._make_redis()
        source = JournalSource(self.store.slots, self._reading, batch_of)
        self._observation.of_source(source)
        self._observation.serve(self._settings.metrics, self._told.process, self._logger)
        steps = chain(VENUES, self._observation.before(self._tell))
        chosen = {each.name: each for each in (self._kafka, self._redis) if each is not None}
        return build(source, {"lake": lake, **chosen, "summarise": self._summary}, steps)

    def _capture(self, own: set[str]) -> None:
        """Capture these shards until released."""
        settings = only(self._settings, own)
        venues = venues_of(settings)
        if self.store.kind == "simulated" and not is_placed(settings):
            chosen = settings.simulator
            venues = self._started.enter_context(
                simulated(venues, seed=chosen.seed, rate=chosen.rate, faults=chosen.faults)
            )
        plans = plan_shards(settings, venues, self._directory, self._logger)
        capture = Capture(
            [plan for plan in plans if plan.shard in own],
            policy=policy_of(settings.capture),
            open_journal=self._open_journal,
            logger=self._logger,
        )
        capture.start()
        self._started.callback(capture.stop)
        self._observation.of_capture(capture)
        self._tell = Repairs(capture, RepairPolicy(), self._logger).tell

    def _make_lake(self) -> "Lake":
        """All tables, for our shards."""
        # A second to import, which nobody who is refused need spend.
        from connectors.catalog import at_once, open_catalog  # noqa: PLC0415
        from connectors.lake import Lake  # noqa: PLC0415
        from connectors.tail import FOLDER  # noqa: PLC0415

        chosen = self._settings.lake
        opened = partial(open_catalog, self._directory, chosen.catalog, chosen.warehouse, **chosen.access())
        return Lake(
            # A lake that was there before is waited for: capture must not depend on it.
            opened if (self._directory / FOLDER).exists() else partial(at_once, opened),
            self.store,
            self._directory,
            [slot.shard for slot in self.store.slots if self._told.captures(slot.number)],
            durable=self._reading.durable,
            stop=self._reading.stop,
            commit_seconds=chosen.commit_seconds,
            logger=self._logger,
        )

    def _make_kafka(self) -> "Kafka | None":
        """All topics, for our shards, once it has begun; nothing where no brokers are configured."""
        if not self._settings.kafka.bootstrap_servers:
            return None
        from connectors.kafka import Kafka  # noqa: PLC0415  # a client that most never need

        own = [slot.shard for slot in self.store.slots if self._told.captures(slot.number)]
        kafka = Kafka(self._settings.kafka, self.store, own, stop=self._reading.stop, logger=self._logger)
        kafka.start()
        self._observation.of_kafka(kafka.status)
        return kafka

    def _make_redis(self) -> "Redis | None":
        """The newest of each symbol, for who wants it there; nothing where no Redis is configured."""
        if not self._settings.redis.url:
            return None
        try:
            from connectors.redis import Redis  # noqa: PLC0415  # a client that most do not have
        except ModuleNotFoundError as error:
            raise TapeError(
                f"Redis is configured and its client is not here: {error}",
                hint="pip install 'tapekeeper[redis]'",
            ) from error
        redis = Redis(self._settings.redis, self.store, stop=self._reading.stop, logger=self._logger)
        redis.start()
        self._observation.of_redis(redis.status)
        return redis

    def _open_journal(self, plan: ShardPlan) -> Writes:
        """The journal of a shard, going on behind what recovery knows of it."""
        prepare_position(self._directory, plan.shard)
        journal = Journal.open(
            plan.directory,
            exchange=plan.venue.name,
            shard=plan.shard,
            now=time.time_ns() // 1_000,
            expected_position=expected_position(self._directory, plan.shard),
            segment_bytes_max=self._settings.capture.segment_bytes_max,
        )
        self._journals[plan.directory] = journal
        return journal

    def _sync(self, directory: Path) -> None:
        """Force a journal to disk, by its writer as long as that is we."""
        with self._journals_turn:
            journal = self._journals.get(directory)
            if journal is not None:
                journal.sync()
                return
        sync_newest(directory)

    def _trim(self, shard: str, position: int) -> None:
        """Remove what nobody needs of a journal that we write: it is durable and in the table of frames."""
        if self._kafka:
            position = min(position, self._kafka.acknowledged(shard))
        with self._journals_turn:
            journal = self._journals.get(self._reading.journal(shard))
            if journal is None or shard in self._untrimmed:
                return
            try:
                removed = journal.remove_through(position)
            except JournalError as error:  # a segment more on the disk is no reason to end
                self._untrimmed.add(shard)
                self._logger.warning("the journal is not trimmed any more", shard=shard, problem=str(error))
                return
        for segment in removed:
            self._logger.info("a segment is in the lake and removed", shard=shard, last=segment.last)

    def _release(self) -> None:
        """End capture, and the simulator where we had started one."""
        with self._journals_turn:
            self._journals.clear()
        with self._turn:
            self._started.close()

    def _complete(self) -> None:
        """The engine has returned: the last epoch is durable."""
        self._reading.durable.ended()
        if self._lake and not self._lake.close(CLOSE_SECONDS):
            self._logger.warning("not everything is published: the next start does it")
        elif self._lake:
            lives = dict(partition.life() for partition in self._lake.partitions)
            leave(self._directory, self._told.process, Closing(lives, self._observation.totals()))
        if self._kafka and not self._kafka.close(CLOSE_SECONDS):
            self._logger.warning("not everything is in Kafka: the next start does it")
        if self._redis:
            self._redis.close(CLOSE_SECONDS)
        for line in self._summary.lines():
            self._logger.info(line)


def only(settings: Settings, shards: Iterable[str]) -> Settings:
    """The settings with only the venues that these shards are of."""
    names = {exchange_of(shard) for shard in shards}
    venues = {
        name: venue.model_copy(update={"enabled": name in names}) for name, venue in settings.venues.items()
    }
    return settings.model_copy(update={"venues": venues})


def is_placed(settings: Settings) -> bool:
    """Whether the settings say where to find every venue, so that no simulator of ours is needed."""
    return all(venue.websocket_urls and venue.rest_urls for venue in settings.enabled().values())


def cautions(told: Command, captured: Iterable[Slot]) -> Iterator[str]:
    """What a person should know about the number of workers that he chose."""
    shards = list(captured)
    if told.workers > len(shards):
        yield (
            f"more workers ({told.workers}) than shards ({len(shards)}): some have nothing to do; "
            "venues.NAME.shards spreads a venue over more"
        )
    if told.workers > WORKERS_MAX:
        yield f"beyond {WORKERS_MAX} workers batches travel between processes, which costs throughput"
    if told.workers_per_process > 1:
        yield "workers of one process share one Python: run one worker per process (-i, -a) to go faster"
