"""What venues say, into journals: one background thread with one asyncio loop for all shards of the process.

Started before the flow and living through its outages. Nobody waits for this thread and it waits for nobody
but the disk; what it did is in the journals, how it stands is in `Capture.status`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import msgspec
import structlog

from connectors.connection import Access, access
from connectors.errors import TapeError
from connectors.intake import Intake, IntakeStatus, Writes
from connectors.journal import Journal
from connectors.journal_reader import JournalReader
from connectors.keeper import Keeper, KeeperStatus
from connectors.resilience import BreakerState, Policy
from connectors.turns import take_short_turns
from connectors.venues.protocol import Instrument, Venue
from schemas.health import ConnectionEvent

__all__ = ["Capture", "CaptureStatus", "KeeperStatus", "ShardPlan", "ShardStatus"]

# Part of each tick in which sockets are not read while too much memory is in use: slow, but never dead.
MEMORY_PAUSE_PART = 0.8
# Trades and quotes: what one instrument takes of a venue's limit of streams on a connection.
STREAMS_PER_INSTRUMENT = 2
# How long `stop` waits for the disk before it says what was not written.
FINISH_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """What one shard captures and where to."""

    venue: Venue  # with the URLs that are to be used
    shard: str
    instruments: tuple[Instrument, ...]
    directory: Path  # of the journal
    connections: int = 1  # two are redundant: a disconnect of one loses nothing


@dataclass(frozen=True)
class ShardStatus:
    """One shard as it stands."""

    venue: str
    shard: str
    symbols: tuple[str, ...]
    intake: IntakeStatus
    keepers: tuple[KeeperStatus, ...]


@dataclass(frozen=True)
class CaptureStatus:
    """All shards, and the breaker of each endpoint (WebSocket and REST)."""

    alive: bool
    failure: str  # the bug that ended it
    shards: tuple[ShardStatus, ...]
    breakers: dict[str, BreakerState]


@dataclass(frozen=True)
class Shard:
    """A plan at work."""

    plan: ShardPlan
    intake: Intake
    keepers: tuple[Keeper, ...]


class Capture:
    """All shards of this process; `start` and `stop` are for any other thread."""

    def __init__(
        self,
        plans: Sequence[ShardPlan],
        *,
        policy: Policy | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        random: Random | None = None,
        open_journal: Callable[[ShardPlan], Writes] | None = None,
        logger: Any = None,
    ) -> None:
        self.plans = tuple(map(checked, plans))
        self.policy = policy or Policy()
        self.clock = clock
        self.random = random or SystemRandom()
        self.open_journal = open_journal or self.open_shard_journal
        self.logger = logger or structlog.get_logger()
        self.shards: tuple[Shard, ...] = ()
        self.venues: dict[str, Access] = {}
        self.failure: BaseException | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.main: asyncio.Task[None] | None = None
        self.started = threading.Event()
        self.finished = threading.Event()
        self.thread = threading.Thread(target=self.live, name="capture", daemon=True)

    def start(self) -> None:
        """Return once all journals are open and connecting has begun; raises what prevents that."""
        take_short_turns()
        self.thread.start()
        self.started.wait()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Close connections, write and sync what was received; raises the bug that ended it, if any."""
        if self.loop is not None and self.main is not None:
            with suppress(RuntimeError):  # the loop is closed: it has ended by itself
                self.loop.call_soon_threadsafe(self.main.cancel)
            # Not the thread itself: it may still wait for a name server that does not answer.
            self.finished.wait()
        if self.failure is not None:
            raise self.failure

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Schedule work of another thread, such as repair, on the loop; returns a concurrent future."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def is_ending(self) -> bool:
        """Whether it was told to stop."""
        return self.main is not None and self.main.cancelling() > 0

    def live(self) -> None:
        """The thread's whole life."""
        try:
            asyncio.run(self.capture())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001  # told to who started us, and raised there
            self.failure = error
        finally:
            if self.failure is not None and not isinstance(self.failure, TapeError):
                self.logger.error("capture crashed", exc_info=self.failure)
            self.started.set()
            self.finished.set()

    async def capture(self) -> None:
        """Open the journals, keep the connections, finish in order."""
        self.loop, self.main = asyncio.get_running_loop(), asyncio.current_task()
        self.loop.set_exception_handler(self.crash)
        self.venues = {plan.venue.name: access(plan.venue, self.policy) for plan in self.plans}
        self.shards = tuple(self.open_shard(plan) for plan in self.plans)
        writing = [asyncio.create_task(shard.intake.write()) for shard in self.shards]
        try:
            async with asyncio.TaskGroup() as group:
                for shard in self.shards:
                    group.create_task(shard.intake.sync())
                    for keeper in shard.keepers if shard.plan.instruments else ():
                        group.create_task(keeper.keep())
                for each in writing:
                    group.create_task(crash_with(each))
                group.create_task(self.tick())
                self.started.set()
        finally:
            for shard, task in zip(self.shards, writing, strict=True):
                await shard.intake.finish(task, FINISH_SECONDS)
            for shared in self.venues.values():
                await shared.rest.client.aclose()
            if self.is_ending():
                self.finished.set()

    def open_shard(self, plan: ShardPlan) -> Shard:
        """A shard with its journal, whose first frames of this life say what it captures."""
        logger = self.logger.bind(venue=plan.venue.name, shard=plan.shard)
        journal = self.open_journal(plan)
        if journal.torn:
            why = "a crash left it unfinished, and nothing says that it was durable"
            logger.warning("end of the journal dropped", bytes=journal.torn, why=why)
        newest = newest_time(plan, journal.next_position - 1)
        intake = Intake(
            journal, policy=self.policy, clock=self.clock, steady=steady, logger=logger, newest=newest
        )
        started = ConnectionEvent("started", intake.own)
        intake.note("connection", msgspec.json.encode(started))
        intake.note("metadata", msgspec.json.encode(plan.instruments))
        if not plan.instruments:
            logger.warning("shard without symbols")
        keepers = tuple(
            Keeper(
                self.venues[plan.venue.name],
                plan.instruments,
                intake,
                policy=self.policy,
                random=self.random,
                logger=logger,
            )
            for _ in range(plan.connections)
        )
        return Shard(plan, intake, keepers)

    async def tick(self) -> None:
        """Write how time passes into each journal that takes frames, and watch the memory."""
        while True:
            await asyncio.sleep(self.policy.tick_seconds)
            used = resident_bytes()
            slowed = f"{used} bytes in use" if used > self.policy.memory_bytes_max else ""
            for shard in self.shards:
                is_open = [each.state == "open" for keeper in shard.keepers for each in keeper.open]
                if not shard.intake.brakes:
                    shard.intake.note("tick", b'{"open":%d}' % sum(is_open))
                shard.intake.slow(slowed)
                if slowed:
                    shard.intake.pause()
            if slowed:
                await asyncio.sleep(self.policy.tick_seconds * MEMORY_PAUSE_PART)
                for shard in self.shards:
                    shard.intake.resume()

    def open_shard_journal(self, plan: ShardPlan) -> Writes:
        """The journal of a plan, ours alone."""
        return Journal.open(
            plan.directory,
            exchange=plan.venue.name,
            shard=plan.shard,
            now=self.clock(),
            segment_bytes_max=self.policy.segment_bytes_max,
        )

    def crash(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """End the thread on an error in a callback: it is a bug of ours and must not look like weather."""
        error = context.get("exception")
        if isinstance(error, OSError) or error is None:
            self.logger.debug("loop", message=context["message"])
            return
        self.failure = error
        if self.main is not None:
            self.main.cancel()

    def status(self) -> CaptureStatus:
        """How everything stands, for tables and metrics; may be asked from any thread."""
        breakers = {
            endpoint.url: endpoint.breaker.state(time.monotonic())
            for each in self.venues.values()
            for endpoint in (*each.endpoints, *each.rest.endpoints)
        }
        return CaptureStatus(
            alive=self.started.is_set() and not self.finished.is_set(),
            failure=f"{type(self.failure).__name__}: {self.failure}" if self.failure else "",
            shards=tuple(shard_status(each) for each in self.shards),
            breakers=breakers,
        )


def shard_status(shard: Shard) -> ShardStatus:
    """One shard's snapshot."""
    keepers = tuple(keeper.status() for keeper in shard.keepers)
    symbols = tuple(each.symbol for each in shard.plan.instruments)
    return ShardStatus(shard.plan.venue.name, shard.plan.shard, symbols, shard.intake.status(), keepers)


async def crash_with(task: asyncio.Task[None]) -> None:
    """End when a task fails, without ending it when cancelled."""
    await asyncio.shield(task)


def newest_time(plan: ShardPlan, position: int) -> int:
    """When the frame of that position was received; 0 where it is not there to be read."""
    reader = JournalReader(
        plan.directory, exchange=plan.venue.name, shard=plan.shard, position=max(0, position - 1)
    )
    try:
        return max((frame.received for frame in reader.read(1)), default=0)
    finally:
        reader.close()


def checked(plan: ShardPlan) -> ShardPlan:
    """The plan, or TapeError where one connection cannot carry all of its symbols."""
    streams, allowed = len(plan.instruments) * STREAMS_PER_INSTRUMENT, plan.venue.limits.subscriptions_max
    if streams <= allowed:
        return plan
    raise TapeError(
        f"{plan.shard} would carry {streams} streams, the venue allows {allowed}",
        hint=f"set venues.{plan.venue.name}.shards higher, so that each carries less",
    )


def resident_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say it cheaply."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    except FileNotFoundError:
        return 0


PAGE_BYTES = 4096


def steady() -> int:
    """Microseconds that nobody puts back; they begin anywhere."""
    return time.monotonic_ns() // 1_000
