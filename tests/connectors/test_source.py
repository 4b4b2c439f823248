"""A partition emits what is journalled behind its snapshot, and says what the engine does not."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors import source
from connectors.durable import Durable
from connectors.journal import Journal
from connectors.positions import expected_position
from connectors.segments import JournalError
from connectors.slots import Slot
from connectors.source import JournalPartition, JournalSource, Pulse, Reading
from schemas import Frame

SLOTS = (Slot(0, "binance-0", "k0"), Slot(1, "kraken-0", "k1"))


class Clock:
    """Time that only moves when told to, and an event whose waiting moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.begun: list[JournalPartition[list[int]]] = []
        monkeypatch.setattr(source, "monotonic", lambda: self.now)
        self.stop = Event()
        self.stop.wait = self.wait  # type: ignore[method-assign]

    def wait(self, seconds: float | None = None) -> bool:
        assert seconds is not None
        self.waits.append(seconds)
        self.now += seconds
        return self.stop.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock(monkeypatch)
    yield clock
    for partition in clock.begun:
        partition.close()


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Journal]:
    directory = tmp_path / "journal" / "binance-0"
    journal = Journal.open(directory, exchange="binance", shard="binance-0", now=1)
    yield journal
    journal.close()


def append(to: Journal, count: int) -> None:
    to.append([(1, 1, number, "data", b"%d" % number) for number in range(count)])


def positions(frames: list[Frame]) -> list[int]:
    return [frame.position for frame in frames]


def begin(
    directory: Path, clock: Clock, state: Any = None, slot: Slot = SLOTS[0], **reading: Any
) -> JournalPartition[list[int]]:
    settings = {"directory": directory, "epoch_seconds": 5.0, "stop": clock.stop, "sync": lambda _: None}
    journals = JournalSource(SLOTS, Reading(**(settings | reading)), positions)
    clock.begun.append(journals.build_part("", slot.partition, state))
    return clock.begun[-1]


def test_every_slot_is_listed_in_the_order_of_numbers(tmp_path: Path) -> None:
    listed = JournalSource(SLOTS, Reading(directory=tmp_path, epoch_seconds=5), positions).list_parts()
    assert listed == ["0000-binance-0", "0001-kraken-0"] == sorted(listed)


def test_frames_come_in_batches_and_end_when_the_epoch_is_full(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 7)
    partition = begin(tmp_path, clock, batch_frames_max=2, epoch_frames_max=3)

    assert [partition.next_batch() for _ in range(4)] == [[("k0", [1, 2])], [("k0", [3])], [], []]
    assert partition.snapshot() == (1, 3)
    assert [partition.next_batch() for _ in range(2)] == [[("k0", [4, 5])], [("k0", [6])]]


def test_it_goes_on_behind_its_snapshot_and_says_so(tmp_path: Path, writing: Journal, clock: Clock) -> None:
    append(writing, 7)
    partition = begin(tmp_path, clock, state=(1, 4))

    with capture_logs() as said:
        assert partition.next_batch() == [("k0", [5, 6, 7])]
        assert partition.next_batch() == []
        append(writing, 1)
        assert partition.next_batch() == [("k0", [8])]
        assert partition.next_batch() == []

    assert [line["event"] for line in said] == ["resumed at 4, replayed 3 frames"]
    assert (partition.status.resumed_at, partition.status.replayed) == (4, 3)


def test_a_snapshot_of_another_version_is_refused(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ValueError, match="version 2"):
        begin(tmp_path, clock, state=(2, 4))


def test_it_looks_again_soon_when_there_is_nothing_and_at_once_when_there_was(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 1)
    partition = begin(tmp_path, clock)

    partition.next_batch()
    assert partition.next_awake() is None
    partition.next_batch()
    awake = partition.next_awake()
    assert awake is not None
    assert 0 < awake.timestamp() - source.time() <= source.IDLE_SECONDS


def test_a_captured_shard_pulses_and_a_retired_one_emits_nothing(tmp_path: Path, clock: Clock) -> None:
    captured = begin(tmp_path, clock, captured=("binance-0",))
    retired = begin(tmp_path, clock, captured=("binance-0",), slot=SLOTS[1])
    emitted = []
    for _ in range(100):
        emitted += captured.next_batch()
        assert retired.next_batch() == []
        clock.now += 0.01

    assert emitted == [("k0", Pulse("binance-0"))] * 5


def test_what_a_snapshot_names_is_on_disk_and_noted_before(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 3)
    synced: list[Path] = []
    partition = begin(tmp_path, clock, sync=synced.append)
    partition.next_batch()

    assert partition.snapshot() == (1, 3)
    assert synced == [tmp_path / "journal" / "binance-0"]
    assert expected_position(tmp_path, "binance-0") == 3
    assert partition.snapshot() == (1, 3)
    assert len(synced) == 1


def test_a_disk_that_refuses_is_waited_for_and_said_once(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 3)
    refusals = [JournalError(f"the disk is full, {number}") for number in range(3)]

    def sync(_: Path) -> None:
        if refusals:
            assert expected_position(tmp_path, "binance-0") is None
            raise refusals.pop(0)
        assert partition.status.outage == "the disk is full, 2"

    partition = begin(tmp_path, clock, sync=sync)
    partition.next_batch()
    with capture_logs() as said:
        assert partition.snapshot() == (1, 3)

    assert clock.waits == [source.RETRY_SECONDS] * 3
    assert [(line["event"], line.get("why")) for line in said] == [
        ("flow waits for the disk", "the disk is full, 0"),
        ("flow goes on", None),
    ]
    assert partition.status.outage == ""
    assert expected_position(tmp_path, "binance-0") == 3
    partition.next_batch()
    assert partition.status.stall_seconds == 0  # of an epoch that had to wait for us nobody else is to blame


def test_an_epoch_ends_only_with_room_for_the_engine(
    tmp_path: Path, writing: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, int]] = []

    def room(path: Path, size: int) -> None:
        asked.append((path, size))
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(source, "require_room", room)
    partition = begin(tmp_path, clock, recovery=tmp_path)
    with capture_logs() as said:
        assert partition.snapshot() == (1, 0)

    assert asked == [(tmp_path, source.ROOM_BYTES)] * 2
    assert said[0]["why"].startswith(f"cannot write {tmp_path} (file system ")


def test_asked_to_stop_it_does_not_wait_for_a_disk(tmp_path: Path, writing: Journal, clock: Clock) -> None:
    append(writing, 3)

    def sync(_: Path) -> None:
        raise JournalError("the disk is full")

    partition = begin(tmp_path, clock, sync=sync)
    partition.next_batch()
    clock.stop.set()
    with pytest.raises(JournalError, match="the disk is full"):
        partition.snapshot()
    assert len(clock.waits) == 1


def test_an_epoch_is_durable_when_the_next_one_begins(tmp_path: Path, writing: Journal, clock: Clock) -> None:
    append(writing, 3)
    durable = Durable()
    heard: list[int] = []
    durable.tell("binance-0", heard.append)
    partition = begin(tmp_path, clock, durable=durable)

    partition.next_batch()
    partition.snapshot()
    assert (heard, partition.status.durable_position) == ([], 0)
    partition.next_batch()
    assert (heard, partition.status.durable_position) == ([3], 3)
    partition.next_batch()
    assert heard == [3]


def test_asked_to_end_it_reads_nothing_until_capture_has_ended_and_then_what_is_left(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 3)
    asked = Event()
    partition = begin(tmp_path, clock, batch_frames_max=4, asked=asked)
    assert partition.next_batch() == [("k0", [1, 2, 3])]
    asked.set()
    append(writing, 3)
    assert [partition.next_batch() for _ in range(2)] == [[], []]
    assert partition.next_awake() is not None  # not at once: others need the time
    clock.stop.set()

    assert partition.next_batch() == [("k0", [4, 5, 6])]
    append(writing, 1)
    with pytest.raises(StopIteration):
        partition.next_batch()
    assert partition.snapshot() == (1, 6)


def test_told_to_stop_it_does_not_work_off_a_backlog(tmp_path: Path, writing: Journal, clock: Clock) -> None:
    append(writing, 300)
    partition = begin(tmp_path, clock, batch_frames_max=2)
    assert partition.next_batch() == [("k0", [1, 2])]
    clock.stop.set()
    with pytest.raises(StopIteration):
        partition.next_batch()
    assert partition.snapshot() == (1, 2)


def test_a_replay_ends_with_the_journal_and_not_with_a_full_epoch(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    append(writing, 3)
    partition = begin(tmp_path, clock, ends=True, epoch_frames_max=2)

    assert [partition.next_batch() for _ in range(3)] == [[("k0", [1, 2])], [], []]
    partition.snapshot()
    assert partition.next_batch() == [("k0", [3])]
    with pytest.raises(StopIteration):
        partition.next_batch()


def epoch(partition: JournalPartition[list[int]], clock: Clock, stall: float) -> None:
    """Live through an epoch whose end the others come to so much later."""
    while clock.now < partition._epoch_end:
        partition.next_batch()
        clock.now += 0.01
    partition.snapshot()
    clock.now += stall
    partition.next_batch()


def test_one_that_waited_for_others_ends_its_next_epoch_as_late_as_they_do(
    tmp_path: Path, clock: Clock
) -> None:
    partition = begin(tmp_path, clock, alone=False)

    epoch(partition, clock, 0.5)
    began = clock.now
    epoch(partition, clock, 0.0)

    assert clock.waits == [pytest.approx(0.5, abs=0.051)]
    assert clock.now - began == pytest.approx(5.0, abs=0.011)  # 4.5 s were left, and the pause
    assert (partition.status.stall_seconds, partition.status.stall_seconds_total) == (0.0, pytest.approx(0.5))
    assert partition.status.pauses == 1
    epoch(partition, clock, 0.0)
    assert len(clock.waits) == 1


@pytest.mark.parametrize(("alone", "stall"), [(True, 0.5), (False, 0.14), (False, 5.0), (False, 60.0)])
def test_it_does_not_pause_where_that_heals_nothing(
    tmp_path: Path, clock: Clock, alone: bool, stall: float
) -> None:
    partition = begin(tmp_path, clock, alone=alone)

    epoch(partition, clock, stall)
    epoch(partition, clock, 0.0)

    assert clock.waits == []


def test_one_that_waited_a_whole_epoch_sleeps_until_it_can_pause(
    tmp_path: Path, writing: Journal, clock: Clock
) -> None:
    partition = begin(tmp_path, clock, alone=False)

    epoch(partition, clock, 5.0)
    partition.snapshot()  # the engine ends this epoch at once
    began = clock.now
    append(writing, 3)
    assert partition.next_batch() == [("k0", [1, 2, 3])]
    while (left := asleep(partition)) < 1:
        assert partition.next_batch() == []
        clock.now += 0.01
    assert clock.now - began + left == pytest.approx(7.5, abs=1)
    assert left < 5.0  # this is how long it may be deaf to a wish to stop
    clock.now += left
    partition.next_batch()
    assert asleep(partition) < 1
    assert clock.waits == []
    epoch(partition, clock, 2.5)
    epoch(partition, clock, 0.0)

    assert clock.waits == [pytest.approx(2.5, abs=0.051)]


def asleep(partition: JournalPartition[list[int]]) -> float:
    """For how long the engine is to leave it alone."""
    awake = partition.next_awake()
    return 0.0 if awake is None else awake.timestamp() - source.time()


def test_partitions_of_one_worker_pause_once(tmp_path: Path, clock: Clock) -> None:
    paused: dict[int, float] = {}
    partitions = [begin(tmp_path, clock, alone=False, paused=paused, slot=slot) for slot in SLOTS]
    for partition in partitions:
        partition.next_batch()
        partition.snapshot()
    clock.now += 0.5
    for _ in range(600):
        for partition in partitions:
            partition.next_batch()
        clock.now += 0.01

    assert clock.waits == [pytest.approx(0.5, abs=0.051)]
