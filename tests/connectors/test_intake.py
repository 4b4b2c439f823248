"""The queue and its brakes, with a journal on a real disk and one that fails on order."""

import asyncio
import errno
import time
from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
import structlog

from connectors.intake import ENTRY_BYTES, Entry, Intake
from connectors.journal import Journal
from connectors.journal import open_file as open_real_file
from connectors.journal_reader import JournalReader
from connectors.resilience import Policy
from schemas import Frame


class Disk:
    """Files that fail as long as `error` is set."""

    def __init__(self) -> None:
        self.error = 0
        self.refused = 0

    def open(self, path: Path) -> FileIO:
        disk = self

        class File(FileIO):
            def write(self, data: Any) -> int:
                if disk.error:
                    disk.refused += 1
                    raise OSError(disk.error, "injected")
                return super().write(data)

        opened = open_real_file(path)
        opened.close()
        return File(path, "r+")


class Peer:
    """Remembers whether it is held back."""

    paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Clock:
    """Says these times one after another, then the last."""

    def __init__(self, *times: int) -> None:
        self.times = list(times)

    def __call__(self) -> int:
        return self.times.pop(0) if len(self.times) > 1 else self.times[0]


@pytest.fixture
def lines() -> Any:
    with structlog.testing.capture_logs() as captured:
        yield captured


def open_intake(
    directory: Path,
    policy: Policy,
    clock: Any = lambda: 7,
    disk: Disk | None = None,
    steady: Any = lambda: 0,
) -> Intake:
    journal = Journal.open(
        directory, exchange="binance", shard="binance-0", now=0, open_file=(disk or Disk()).open
    )
    return Intake(journal, policy=policy, clock=clock, steady=steady, logger=structlog.get_logger())


def frames(directory: Path) -> list[Frame]:
    reader = JournalReader(directory, exchange="binance", shard="binance-0")
    try:
        return reader.read(1_000_000)
    finally:
        reader.close()


async def soon(holds: Callable[[], bool]) -> None:
    """Return when it is so."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # nothing tells us
            await asyncio.sleep(0.001)


def entry(number: int, payload: bytes = b"x") -> Entry:
    return (number, 1, number, "data", payload)


def test_what_is_put_is_journalled_in_order_and_finished_on_request(tmp_path: Path, policy: Policy) -> None:
    async def main() -> int:
        intake = open_intake(tmp_path, policy)
        writing = asyncio.create_task(intake.write())
        for number in range(1, 10_001):
            intake.put(*entry(number, b"%d" % number))
            if number % 1_000 == 0:
                await asyncio.sleep(0.001)
        return await intake.finish(writing, 1.0)

    assert asyncio.run(main()) == 0
    got = [(each.position, each.number, each.payload) for each in frames(tmp_path)]
    assert got == [(number, number, b"%d" % number) for number in range(1, 10_001)]


def test_time_never_goes_back_and_connections_only_rise(tmp_path: Path, policy: Policy) -> None:
    async def main() -> tuple[list[int], list[int]]:
        intake = open_intake(tmp_path, policy, Clock(100, 200, 150, 150, 300))
        times = [intake.clock() for _ in range(4)]
        connections = [intake.own, intake.new_connection(), intake.new_connection()]
        intake.journal.close()
        return times, connections

    assert asyncio.run(main()) == ([200, 200, 200, 300], [100, 300, 301])


def test_time_goes_on_at_half_its_speed_where_the_clock_was_put_back_until_it_is_here_again(
    tmp_path: Path, policy: Policy, lines: Any
) -> None:
    second, minute = 1_000_000, 60_000_000

    async def main() -> list[int]:
        begun, moments = 10 * minute, [0]

        def wall() -> int:
            return begun + moments[-1] - (5 * minute if moments[-1] >= minute else 0)

        intake = open_intake(tmp_path, policy, wall, steady=lambda: 77 + moments[-1])
        times = []
        for moment in (0, minute - second, minute, 3 * minute, 5 * minute, 12 * minute, 16 * minute):
            moments.append(moment)
            times.append(intake.clock() - begun)
        intake.journal.close()
        return times

    found = asyncio.run(main())
    assert found[:2] == [0, minute - second]
    assert found[2] == minute - second
    assert found[3:5] == [2 * minute - second, 3 * minute - second]
    assert found[5:] == [7 * minute, 11 * minute]  # the clock is ahead again
    told = [line["seconds"] for line in lines if line["event"] == "the clock is behind the journal"]
    assert told == [299]


def test_a_clock_that_is_put_back_twice_is_warned_of(tmp_path: Path, policy: Policy, lines: Any) -> None:
    async def main() -> None:
        second = 1_000_000
        intake = open_intake(tmp_path, policy, Clock(*(second * each // 2 for each in (20, 19, 10, 9, 8))))
        for _ in range(4):
            intake.clock()
        intake.journal.close()

    asyncio.run(main())
    told = [line["seconds"] for line in lines if line["event"] == "the clock is behind the journal"]
    assert told == [5]


def test_frames_of_our_own_are_numbered_densely_and_no_time_goes_back(tmp_path: Path, policy: Policy) -> None:
    async def main() -> None:
        intake = open_intake(tmp_path, policy, Clock(5))
        intake.note("tick", b"{}")
        intake.put(6, 9, 1, "data", b"live")
        intake.put(4, 9, 2, "data", b"of a read that began earlier")
        intake.note("repair", b"page")
        assert intake.newest_position() == 4
        await intake.finish(asyncio.create_task(intake.write()), 1.0)

    asyncio.run(main())
    told = [(each.connection, each.number, each.kind, each.received) for each in frames(tmp_path)]
    assert told == [(5, 1, "tick", 5), (9, 1, "data", 6), (9, 2, "data", 6), (5, 2, "repair", 6)]


def test_a_full_queue_stops_the_reading_and_a_half_empty_one_resumes_it(
    tmp_path: Path, policy: Policy, lines: Any
) -> None:
    small = replace(policy, queue_bytes_max=10 * (ENTRY_BYTES + 100))

    async def main() -> None:
        intake, peer = open_intake(tmp_path, small), Peer()
        intake.add(peer)
        for number in range(1, 11):
            intake.put(*entry(number, bytes(100)))
        assert (peer.paused, intake.status().queue_bytes) == (False, 3_000)
        intake.put(*entry(11, bytes(100)))
        late = Peer()
        intake.add(late)
        status = intake.status()
        assert (peer.paused, late.paused, intake.flowing.is_set()) == (True, True, False)
        assert (status.queue_frames, status.brakes) == (11, {"queue": "3300 bytes wait for the journal"})
        await intake.append()
        assert (peer.paused, late.paused, intake.flowing.is_set()) == (False, False, True)
        assert (intake.status().queue_bytes, intake.status().queue_frames) == (0, 0)
        await intake.finish(asyncio.create_task(intake.write()), 1.0)

    asyncio.run(main())
    assert [line["event"] for line in lines] == ["intake stopped", "intake released"]
    assert len(frames(tmp_path)) == 11


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_stops_the_reading_is_named_and_loses_nothing(
    code: int, tmp_path: Path, policy: Policy, lines: Any
) -> None:
    disk = Disk()

    async def main() -> None:
        intake, peer = open_intake(tmp_path, policy, disk=disk), Peer()
        intake.add(peer)
        writing = asyncio.create_task(intake.write())
        syncing = asyncio.create_task(intake.sync())
        intake.put(*entry(1))
        await soon(lambda: not intake.frames)
        disk.error = code
        for number in range(2, 1_000):
            intake.put(*entry(number))
        await soon(lambda: disk.refused >= 3)
        assert (peer.paused, intake.status().queue_frames) == (True, 998)
        assert str(tmp_path) in intake.status().brakes["append"]
        disk.error = 0
        await soon(lambda: not intake.frames)
        assert (peer.paused, intake.status().brakes) == (False, {})
        await soon(lambda: intake.journal.durable_position == 999)
        syncing.cancel()
        await intake.finish(writing, 1.0)

    asyncio.run(main())
    assert [each.number for each in frames(tmp_path)] == list(range(1, 1_000))
    told = [(line["event"], line["brake"]) for line in lines]
    assert told == [("intake stopped", "append"), ("intake released", "append")]


def test_what_a_dead_disk_did_not_take_by_the_end_is_said(tmp_path: Path, policy: Policy, lines: Any) -> None:
    disk = Disk()

    async def main() -> int:
        intake = open_intake(tmp_path, policy, disk=disk)
        disk.error = errno.ENOSPC
        intake.put(*entry(1))
        began = time.monotonic()
        left = await intake.finish(asyncio.create_task(intake.write()), 0.2)
        assert time.monotonic() - began < 1.0
        return left

    assert asyncio.run(main()) == 1
    assert [line["event"] for line in lines] == ["intake stopped", "journal not finished"]


def test_a_stalled_disk_stalls_nobody_else(tmp_path: Path, policy: Policy) -> None:
    """While the disk takes its time the loop goes on, so pings are answered."""

    class Slow(Disk):
        def open(self, path: Path) -> FileIO:
            class File(FileIO):
                def write(self, data: Any) -> int:
                    time.sleep(1.5)
                    return super().write(data)

            open_real_file(path).close()
            return File(path, "r+")

    async def main() -> float:
        intake = open_intake(tmp_path, policy, disk=Slow())
        writing = asyncio.create_task(intake.write())
        intake.put(*entry(1))
        longest, before = 0.0, time.monotonic()
        while intake.frames:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        await intake.finish(writing, 10.0)
        return longest

    assert asyncio.run(main()) < 1.0


def test_the_numbers_of_the_queue_hold_under_any_order_of_events(
    tmp_path: Path, policy: Policy, seed: int
) -> None:
    source, disk = Random(seed), Disk()

    async def main() -> int:
        intake = open_intake(tmp_path, policy, disk=disk)
        writing = asyncio.create_task(intake.write())
        put = 0
        for _ in range(300):
            for _ in range(source.randrange(20)):
                put += 1
                intake.put(*entry(put, bytes(source.randrange(50))))
            disk.error = errno.ENOSPC if source.random() < 0.1 else 0
            await asyncio.sleep(0.0005)
        disk.error = 0
        assert await intake.finish(writing, 5.0) == 0
        assert (intake.bytes, intake.frames) == (0, 0)
        return put

    put = asyncio.run(main())
    assert [each.number for each in frames(tmp_path)] == list(range(1, put + 1))
