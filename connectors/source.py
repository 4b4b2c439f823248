"""The journal as a source of the engine: one partition per slot, emitting batches of what is journalled.

A partition is told apart by its position alone: everything it emits is a function of the journal. It never
waits inside a call, but for the one pause that brings a cluster's epochs back into step, and for a disk that
refuses: an epoch does not end before what it needs is on disk, and before the engine has room for it.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, get_ident
from time import monotonic, time
from typing import Any, Generic, TypeVar

import structlog
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from msgspec import Struct

from connectors.callbacks import said_first
from connectors.disk import ROOM_BYTES, disk_errors, require_room
from connectors.durable import Durable
from connectors.failpoints import failpoint
from connectors.journal_reader import Frames, JournalReader
from connectors.positions import remember_position, sync_newest
from connectors.segments import JournalError
from connectors.slots import Slot
from schemas import Frame
from schemas.shards import exchange_of

VERSION = 1

# One item of the engine; larger ones gain nothing and delay what comes behind them.
BATCH_FRAMES_MAX = 1_000
# What an epoch of 5 s can carry through all steps and sinks; bounds what they hold while catching up.
EPOCH_FRAMES_MAX = 1_000_000
# How long a frame may lie in the journal before we look again: a look costs some 20 µs.
IDLE_SECONDS = 0.003
# Sinks run only when something arrives, and flush on a pulse: five times a second looks live.
PULSE_SECONDS = 0.2
# Ending an epoch takes 3 to 40 ms; a longer wait means that another process ends its epochs later than we do.
STALL_SECONDS_MAX = 0.15
# How close to the end of its epoch a partition begins the pause: some looks, or one large batch.
PAUSE_SECONDS_BEFORE_END = 0.05
# How many epochs one that cannot pause sleeps at a stretch: over the end of its epoch, which is due in less.
SLEEP_EPOCHS = 0.7
# How often a disk that refuses is asked again.
RETRY_SECONDS = 1.0

Batch = TypeVar("Batch")
State = tuple[int, int]  # version, position of the last frame emitted


class Pulse(Struct, frozen=True):
    """Time to flush; neither journalled nor counted, changes no state and no row."""

    shard: str


@dataclass
class PartitionStatus:
    """What metrics show of one partition."""

    shard: str
    position: int
    durable_position: int
    resumed_at: int | None = None  # None: began at the journal's beginning
    replayed: int | None = None  # frames from there to the journal's end; None until it was reached
    stall_seconds: float = 0.0  # what the end of the last epoch cost
    stall_seconds_total: float = 0.0
    pauses: int = 0  # how often it waited to be in step again
    outage: str = ""  # why the epoch cannot end


def journalled(journal: Path, shard: str, position: int) -> Frames | None:
    """What its journal has behind a position; None where there is no journal yet."""
    if not journal.exists():
        return None
    return JournalReader(journal, exchange=exchange_of(shard), shard=shard, position=position)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a process reads its journals; plain values, one for all partitions."""

    directory: Path  # of the store
    epoch_seconds: float
    alone: bool = True  # no other worker, so nobody to be in step with
    captured: Collection[str] = ()  # shards that are still written to, in any process
    ends: bool = False  # the journal's end is the end of the source
    batch_frames_max: int = BATCH_FRAMES_MAX
    epoch_frames_max: int = EPOCH_FRAMES_MAX
    asked: Event = field(default_factory=Event)  # to end: what is not read yet waits until capture has ended
    stop: Event = field(default_factory=Event)  # capture has ended, and so do the sources
    durable: Durable = field(default_factory=Durable)
    sync: Callable[[Path], None] = sync_newest  # force a journal to disk
    recovery: Path | None = None  # where the engine writes; it dies of a disk that is full
    frames: Callable[[Path, str, int], Frames | None] = journalled  # of a shard, behind a position
    paused: dict[int, float] = field(default_factory=dict)  # by thread: when its last pause ended
    built: Event = field(default_factory=Event)  # the engine has begun

    def journal(self, shard: str) -> Path:
        """The journal of a shard."""
        return self.directory / "journal" / shard


class JournalSource(FixedPartitionedSource[tuple[str, Batch | Pulse], State], Generic[Batch]):
    """All journals of a store, as far as they are in reach of this process."""

    def __init__(
        self, slots: Sequence[Slot], reading: Reading, batch_of: Callable[[list[Frame]], Batch]
    ) -> None:
        self.name = "receive"
        self._slots = {slot.partition: slot for slot in slots}
        self._reading = reading
        self._batch_of = batch_of
        self.partitions: list[JournalPartition[Batch]] = []

    def list_parts(self) -> list[str]:
        """Every slot ever given: the engine dies of state without its partition."""
        return list(self._slots)

    @said_first
    def build_part(
        self, step_id: str, for_part: str, resume_state: State | None
    ) -> "JournalPartition[Batch]":
        """Go on behind the last frame of the snapshot."""
        failpoint("source.build")
        self._reading.built.set()
        partition = JournalPartition(self._slots[for_part], self._reading, self._batch_of, resume_state)
        self.partitions.append(partition)
        return partition

    def status(self) -> list[PartitionStatus]:
        """The partitions that this process reads."""
        return [partition.status for partition in self.partitions]


class JournalPartition(StatefulSourcePartition[tuple[str, Batch | Pulse], State], Generic[Batch]):
    """One shard's journal, from the snapshot to its end and on."""

    def __init__(
        self,
        slot: Slot,
        reading: Reading,
        batch_of: Callable[[list[Frame]], Batch],
        state: State | None,
    ) -> None:
        if state is not None and state[0] != VERSION:
            raise ValueError(
                f"{slot.partition}: a snapshot of version {state[0]}, this release knows {VERSION}"
            )
        self.name = slot.partition
        self._slot, self._reading, self._batch_of = slot, reading, batch_of
        self._position = state[1] if state else 0
        self._reader: Frames | None = None
        self._captured = slot.shard in reading.captured
        self._idle = False
        self._epoch_frames = 0
        self._epoch_end = monotonic() + reading.epoch_seconds
        self._snapshot_at: float | None = None
        self._behind_seconds = 0.0  # how much later than we another process ends its epochs
        self._behind_since = 0.0
        self._asleep_until = 0.0
        self._next_pulse = 0.0
        self._is_behind = False  # there was more than one batch takes
        self._is_last = False
        self._synced = self._position
        self.status = PartitionStatus(slot.shard, self._position, self._position)
        self.status.resumed_at = self._position if state else None

    @said_first
    def next_batch(self) -> list[tuple[str, Batch | Pulse]]:
        """What the journal has behind the last batch."""
        failpoint("source.next_batch")
        now = monotonic()
        if self._snapshot_at is not None:
            self._epoch_became_durable(now - self._snapshot_at)
        stopping = self._reading.stop.is_set()
        if stopping:
            # What capture left is a batch; what is further behind is for the next start.
            if self._is_last or self._is_behind:
                raise StopIteration
            self._is_last = True
        elif self._reading.asked.is_set():
            self._idle = True
            return []
        elif self._behind_seconds and now >= self._epoch_end - PAUSE_SECONDS_BEFORE_END:
            self._pause(self._epoch_end - now)
            return []
        frames = self._read()
        self._idle = not frames
        if not frames and (stopping or (self._reading.ends and self._at_end(now))):
            raise StopIteration
        items: list[tuple[str, Batch | Pulse]] = []
        if frames:
            self._epoch_frames += len(frames)
            items.append((self._slot.key, self._batch_of(frames)))
        if self._captured and now >= self._next_pulse:
            self._next_pulse = now + PULSE_SECONDS
            items.append((self._slot.key, Pulse(self._slot.shard)))
        return items

    @said_first
    def next_awake(self) -> datetime | None:
        """At once while there is more, else a look later; at once too when in step again."""
        asleep = self._asleep_until - monotonic()
        # Only the end of the epoch must be slept through: until then we read, and can be told to stop.
        if 0 < asleep <= SLEEP_EPOCHS * self._reading.epoch_seconds:
            return datetime.fromtimestamp(time() + asleep, UTC)
        if not self._idle:
            return None
        return datetime.fromtimestamp(time() + IDLE_SECONDS, UTC)

    @said_first
    def snapshot(self) -> State:
        """The position of the last frame emitted; on disk before the engine has it."""
        failpoint("source.snapshot")
        self._outlast_disk()
        self._snapshot_at = monotonic()
        self._epoch_end = self._snapshot_at + self._reading.epoch_seconds
        self._epoch_frames = 0
        self._synced = self._position
        self._reading.durable.snapshot(self._slot.shard, self._position)
        return VERSION, self._position

    @said_first
    def close(self) -> None:
        """The source has ended."""
        if self._reader is not None:
            self._reader.close()

    def _outlast_disk(self) -> None:
        """Force to disk what the snapshot is about to say; where that cannot be, wait until it can."""
        logger: Any = structlog.get_logger()
        while True:
            try:
                self._prepare_disk()
            except JournalError as error:
                if not self.status.outage:
                    logger.warning("flow waits for the disk", shard=self._slot.shard, why=str(error))
                self.status.outage = str(error)
                if self._reading.stop.wait(RETRY_SECONDS):
                    raise
            else:
                if self.status.outage:
                    self.status.outage = ""
                    logger.info("flow goes on", shard=self._slot.shard)
                return

    def _prepare_disk(self) -> None:
        """All that the end of an epoch needs of disks."""
        if self._reading.recovery is not None:
            with disk_errors("write", self._reading.recovery, JournalError):
                require_room(self._reading.recovery, ROOM_BYTES)
        if self._position > self._synced:
            self._reading.sync(self._reading.journal(self._slot.shard))
            remember_position(self._reading.directory, self._slot.shard, self._position)

    def _epoch_became_durable(self, waited: float) -> None:
        """Pass the word on, and see whether we waited for another process."""
        failpoint("source.durable")
        self._snapshot_at = None
        self.status.durable_position = self._synced
        self.status.stall_seconds = waited
        self.status.stall_seconds_total += waited
        self._reading.durable.reached(self._slot.shard)
        self._fall_into_step(waited)

    def _fall_into_step(self, waited: float) -> None:
        """Plan to end later epochs when the others do, if they end theirs later than we do."""
        self._behind_seconds = 0.0
        if self._reading.alone or waited <= STALL_SECONDS_MAX or monotonic() < self._asleep_until:
            return
        epoch = self._reading.epoch_seconds
        if waited < epoch - PAUSE_SECONDS_BEFORE_END:
            self._behind_seconds, self._behind_since = waited, monotonic()
        else:
            # This epoch ends at once, as would all later ones: half a one more, and the rest is a pause.
            self._asleep_until = monotonic() + 1.5 * epoch

    def _pause(self, left: float) -> None:
        """End this epoch as late as the others do theirs, once; another partition may have done it for us."""
        seconds, self._behind_seconds, self._idle = self._behind_seconds, 0.0, False
        if self._reading.paused.get(get_ident(), 0.0) > self._behind_since:
            return
        self._reading.stop.wait(left + seconds)
        self._reading.paused[get_ident()] = monotonic()
        self.status.pauses += 1

    def _read(self) -> list[Frame]:
        """The next frames, within what one batch and one epoch may hold."""
        room = self._reading.epoch_frames_max - self._epoch_frames
        if room <= 0:
            return []
        if self._reader is None:
            journal, shard = self._reading.journal(self._slot.shard), self._slot.shard
            self._reader = self._reading.frames(journal, shard, self._position)
        if self._reader is None:
            return []
        limit = min(room, self._reading.batch_frames_max)
        frames = self._reader.read(limit)
        self._is_behind = len(frames) == limit
        self._position = self.status.position = self._reader.position
        if self.status.replayed is None and not frames:
            self._caught_up()
        return frames

    def _at_end(self, now: float) -> bool:
        """Whether nothing came because there is nothing, not because the epoch is full; sinks know of us."""
        is_quiet = not self._captured or now < self._next_pulse
        return is_quiet and self._epoch_frames < self._reading.epoch_frames_max

    def _caught_up(self) -> None:
        """Say once how far behind we had started."""
        start = self.status.resumed_at
        self.status.replayed = self._position - (start or 0)
        logger: Any = structlog.get_logger()
        if start is not None:
            logger.info(
                f"resumed at {start}, replayed {self.status.replayed} frames",
                shard=self._slot.shard,
                position=start,
                replayed=self.status.replayed,
            )
