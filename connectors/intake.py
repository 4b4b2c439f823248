"""From sockets to the journal of one shard: a bounded queue, writing threads, and the brake when all is full.

A frame that has its number is never dropped. When the queue, the disk or the memory is full, the sockets are
no longer read, so that the venue is held back by TCP itself.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

from connectors.blocks import Entry
from connectors.resilience import Policy
from connectors.segments import JournalError
from schemas.health import FrameKind

Brake = Literal["queue", "append", "sync"]  # what is full, or fails

# What a queued frame costs beside its payload, so that a flood of tiny ones is bounded too.
ENTRY_BYTES = 200
# One append; large enough to be cheap, small enough that the others in the process get their turn.
BATCH_FRAMES_MAX = 4_096
# Reading goes on when the queue is down to this part, not at each frame that leaves.
RESUME_PART = 0.5
# Microseconds by which a clock may have been put back before it is worth a word.
CLOCK_BEHIND_MAX = 1_000_000


class Writes(Protocol):
    """What is needed of a journal."""

    next_position: int
    durable_position: int
    torn: int

    def append(self, entries: Sequence[Entry]) -> int: ...
    def sync(self) -> int: ...
    def close(self) -> None: ...


class Readable(Protocol):
    """What is held back."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


@dataclass(frozen=True)
class IntakeStatus:
    """What waits for the journal, and why nothing more is read."""

    queue_bytes: int
    queue_bytes_max: int
    queue_frames: int
    brakes: dict[Brake, str]
    slowed: str
    next_position: int
    durable_position: int


class Intake:
    """The queue of one shard and its way into the journal."""

    def __init__(
        self,
        journal: Writes,
        *,
        policy: Policy,
        clock: Callable[[], int],
        steady: Callable[[], int],
        logger: Any,
        newest: int = 0,
    ) -> None:
        """`newest` is the time of the journal's last frame, behind which a clock put back does not go.

        `clock` says what time it is, `steady` how time goes by, both in microseconds.
        """
        self.journal = journal
        self.policy = policy
        self.wall, self.steady = clock, steady
        self.ahead: tuple[int, int] | None = None  # since when by `steady`, and what time it was then
        self.warned = False
        self.logger = logger
        self.entries: list[Entry] = []
        self.bytes = 0
        self.frames = 0
        self.filled = asyncio.Event()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.brakes: dict[Brake, str] = {}
        self.slowed = ""
        self.sockets: set[Readable] = set()
        self.deadline: float | None = None
        self.newest = self.last_time = self.last_connection = newest
        # One thread appends and one syncs, so that a disk that stalls stalls no ping.
        self.writers = ThreadPoolExecutor(2, thread_name_prefix="journal")
        self.own = self.new_connection()
        self.own_number = 0

    def clock(self) -> int:
        """The time in microseconds, never going back; where the clock was, it goes on at half its speed."""
        wall = self.wall()
        if wall >= self.last_time:
            self.last_time, self.ahead, self.warned = wall, None, False
            return wall
        # Standing still until the clock is here again, no deadline would pass: nothing would be repaired.
        now = self.steady()
        if self.ahead is None:
            self.ahead = now, self.last_time
        if not self.warned and self.last_time - wall > CLOCK_BEHIND_MAX:
            self.warned = True
            behind = (self.last_time - wall) // 1_000_000
            self.logger.warning("the clock is behind the journal", seconds=behind)
        since, time = self.ahead
        self.last_time = max(self.last_time, time + (now - since) // 2)
        return self.last_time

    def new_connection(self) -> int:
        """A connection's id: when it was opened, and higher than all before."""
        self.last_connection = max(self.last_connection + 1, self.clock())
        return self.last_connection

    def put(self, received: int, connection: int, number: int, kind: FrameKind, payload: bytes) -> None:
        """Queue a frame; of two whose times are out of order the later one has the earlier one's."""
        received = self.newest = max(received, self.newest)
        if not self.entries:
            self.filled.set()
        self.entries.append((received, connection, number, kind, payload))
        self.frames += 1
        self.bytes += len(payload) + ENTRY_BYTES
        if self.bytes > self.policy.queue_bytes_max and "queue" not in self.brakes:
            self.stop_reading("queue", f"{self.bytes} bytes wait for the journal")

    def note(self, kind: FrameKind, payload: bytes) -> None:
        """Queue a frame of our own: a tick, an event, an answer."""
        self.own_number += 1
        self.put(self.clock(), self.own, self.own_number, kind, payload)

    def add(self, socket: Readable) -> None:
        """Hold this socket back too when need be."""
        self.sockets.add(socket)
        if self.brakes:
            socket.pause()

    def pause(self) -> None:
        """Read nothing for now."""
        for socket in self.sockets:
            socket.pause()

    def resume(self) -> None:
        """Read on, unless a brake holds."""
        if not self.brakes:
            for socket in self.sockets:
                socket.resume()

    def slow(self, why: str) -> None:
        """Say that, and why, reading is paused now and then; nothing ends that."""
        if bool(why) != bool(self.slowed):
            self.logger.warning("intake slowed", why=why) if why else self.logger.info("intake at full speed")
        self.slowed = why

    def stop_reading(self, brake: Brake, why: str) -> None:
        """Hold all sockets back, and say so."""
        if brake not in self.brakes:
            self.logger.warning("intake stopped", brake=brake, why=why)
        self.brakes[brake] = why
        self.flowing.clear()
        self.pause()

    def read_on(self, brake: Brake) -> None:
        """Release one brake; reading goes on when none is left."""
        if self.brakes.pop(brake, None) is None:
            return
        self.logger.info("intake released", brake=brake)
        if not self.brakes:
            self.flowing.set()
        self.resume()

    async def write(self) -> None:
        """Append what is queued until it is finished; frames of a few milliseconds make one block."""
        while self.deadline is None or self.entries:
            await self.filled.wait()
            self.filled.clear()
            await self.append()
            await asyncio.sleep(self.policy.flush_seconds)

    async def append(self) -> None:
        """Append all that is queued now; returns when it is in the journal."""
        batch, self.entries = self.entries, []
        for start in range(0, len(batch), BATCH_FRAMES_MAX):
            part = batch[start : start + BATCH_FRAMES_MAX]
            await self.insist("append", partial(self.append_rest, self.journal.next_position, part))
            self.frames -= len(part)
            self.bytes -= sum(len(entry[4]) for entry in part) + ENTRY_BYTES * len(part)
            if self.bytes <= self.policy.queue_bytes_max * RESUME_PART:
                self.read_on("queue")

    def append_rest(self, first: int, part: Sequence[Entry]) -> int:
        """Append what is not in yet, of frames of which the first has, or will have, that position."""
        return self.journal.append(part[self.journal.next_position - first :])

    async def sync(self) -> None:
        """Force the journal to disk on an interval, for ever."""
        while True:
            await asyncio.sleep(self.policy.sync_seconds)
            if self.journal.durable_position < self.journal.next_position - 1:
                await self.insist("sync", self.journal.sync)

    async def insist(self, brake: Brake, work: Callable[[], int]) -> None:
        """Do it in the writing thread until the disk accepts; nothing is read meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.run_in_executor(self.writers, work)
            except JournalError as error:
                self.stop_reading(brake, str(error))
                if self.deadline is not None and loop.time() > self.deadline:
                    raise
                await asyncio.sleep(self.policy.retry_seconds)
            else:
                self.read_on(brake)
                return

    async def finish(self, writing: asyncio.Task[None], seconds: float) -> int:
        """Append and sync what is left, then close; returns how many frames the disk did not take in time."""
        loop = asyncio.get_running_loop()
        self.deadline = loop.time() + seconds
        self.filled.set()
        try:
            await writing
            await self.insist("sync", self.journal.sync)
        except JournalError as error:
            self.logger.error("journal not finished", frames=self.frames, why=str(error))
        await loop.run_in_executor(self.writers, self.journal.close)
        self.writers.shutdown(wait=False)
        return self.frames

    def newest_position(self) -> int:
        """At least the position that the last queued frame gets."""
        return self.journal.next_position - 1 + self.frames

    def status(self) -> IntakeStatus:
        """How it stands."""
        return IntakeStatus(
            queue_bytes=self.bytes,
            queue_bytes_max=self.policy.queue_bytes_max,
            queue_frames=self.frames,
            brakes=dict(self.brakes),
            slowed=self.slowed,
            next_position=self.journal.next_position,
            durable_position=self.journal.durable_position,
        )
