"""What a journal has acknowledged is there, byte for byte, whatever happens to the process and the disk."""

import errno
import fcntl
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path

import pytest

from connectors import journal as module
from connectors.blocks import BATCH_BYTES_MAX
from connectors.disk import lines
from connectors.journal import Entry, Journal, JournalError, JournalReader, open_file
from connectors.segments import LOST, REMOVED, Lost, Removed, segment_path, segment_paths
from schemas import Frame

NOW = 1_700_000_000_000_000


def opened(directory: Path, **options: object) -> Journal:
    return Journal.open(directory, exchange="binance", shard="binance-0", now=NOW, **options)  # type: ignore[arg-type]


def entries(first: int, count: int, payload: bytes = b"payload %d") -> list[Entry]:
    return [
        (NOW + number, 1, number, "data", payload % number if b"%d" in payload else payload)
        for number in range(first, first + count)
    ]


def read_all(directory: Path, position: int = 0) -> list[Frame]:
    reader = JournalReader(directory, exchange="binance", shard="binance-0", position=position)
    try:
        found: list[Frame] = []
        while frames := reader.read(1_000):
            found += frames
        return found
    finally:
        reader.close()


def expected(batch: Sequence[Entry], first: int = 1) -> list[Frame]:
    return [
        Frame("binance", "binance-0", first + index, connection, number, received, kind, payload)
        for index, (received, connection, number, kind, payload) in enumerate(batch)
    ]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "binance-0"


def test_frames_are_numbered_densely_over_restarts_and_segments(directory: Path) -> None:
    for start in (1, 101, 201):
        journal = opened(directory, segment_bytes_max=1_000)
        assert journal.next_position == start
        for first in range(start, start + 100, 10):
            assert journal.append(entries(first, 10)) == first + 9
        journal.close()
    assert read_all(directory) == expected(entries(1, 300))
    paths = segment_paths(directory)
    assert len(paths) > 10
    assert all(path.stat().st_size <= 1_000 for path in paths)


def test_an_empty_batch_is_nothing(directory: Path) -> None:
    journal = opened(directory)
    assert journal.append([]) == 0
    assert (journal.next_position, journal.durable_position) == (1, 0)
    journal.close()


def test_a_batch_is_one_write(directory: Path) -> None:
    writes: list[int] = []

    class Counting(FileIO):
        def write(self, data: object) -> int:
            writes.append(len(data))  # type: ignore[arg-type]
            return super().write(data)  # type: ignore[arg-type]

    journal = opened(directory, open_file=faulty(Counting))
    writes.clear()
    journal.append(entries(1, 1_000))
    assert len(writes) == 1
    journal.close()


def test_sync_makes_durable_what_was_appended(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        module, "sync_file", lambda descriptor: synced.append(f"file {os.fstat(descriptor).st_size}")
    )
    monkeypatch.setattr(module, "sync_folder", lambda folder: synced.append(folder.name))
    journal = opened(directory)
    header = segment_paths(directory)[0].stat().st_size
    assert synced == [f"file {header}"]
    synced.clear()
    journal.append(entries(1, 3))
    assert (journal.durable_position, synced) == (0, [])
    size = segment_paths(directory)[0].stat().st_size
    assert journal.sync() == journal.durable_position == 3
    assert synced == [f"file {size}", "binance-0"]  # the segment is new: its name must last too
    synced.clear()
    assert journal.sync() == 3
    assert synced == []
    journal.append(entries(4, 1))
    journal.close()
    assert len(synced) == 1


def test_a_segment_is_durable_before_the_next_one_exists(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(directory, segment_bytes_max=200)
    journal.append(entries(1, 3))
    newest: list[Path] = []
    monkeypatch.setattr(module, "sync_file", lambda descriptor: newest.append(segment_paths(directory)[-1]))
    journal.append(entries(4, 3))
    assert newest[0] == segment_path(directory, 1)
    assert segment_paths(directory)[-1] == segment_path(directory, 4)
    assert journal.durable_position == 3
    journal.close()


def test_one_thread_syncs_while_another_appends_and_ends_segments(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=2_000)
    done = threading.Event()
    seen: list[int] = []

    def sync() -> None:
        while not done.is_set():
            before = journal.next_position - 1
            seen.append(journal.sync())
            assert seen[-1] >= before

    thread = threading.Thread(target=sync)
    thread.start()
    for first in range(1, 2_001, 10):
        journal.append(entries(first, 10))
    done.set()
    thread.join()
    assert seen == sorted(seen)
    journal.close()
    assert read_all(directory) == expected(entries(1, 2_000))


@pytest.mark.parametrize("segment_bytes_max", [10_000, 200], ids=["the same segment", "the next segment"])
def test_what_another_thread_does_to_a_segment_waits_until_its_sync_is_done(
    segment_bytes_max: int, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is done with the first sync only when the other thread has to wait, or was let through."""
    syncing, others_turn = threading.Event(), threading.Event()
    real = module.sync_file

    class Turn:
        """A lock that tells when somebody waits for it."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            if not self.lock.acquire(blocking=False):
                others_turn.set()
                self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    def slow_once(descriptor: int) -> None:
        if not syncing.is_set():
            syncing.set()
            assert others_turn.wait(60)
        real(descriptor)

    def go_on() -> int:
        try:
            journal.append(entries(4, 3))
            return journal.sync()
        finally:
            others_turn.set()

    monkeypatch.setattr(module, "Lock", Turn)
    journal = opened(directory, segment_bytes_max=segment_bytes_max)
    journal.append(entries(1, 3))
    monkeypatch.setattr(module, "sync_file", slow_once)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(journal.sync)
        assert syncing.wait(60)
        second = threads.submit(go_on)
    assert first.result() in (3, 6)
    assert (second.result(), journal.durable_position) == (6, 6)
    journal.close()
    assert len(segment_paths(directory)) == (2 if segment_bytes_max == 200 else 1)
    assert read_all(directory) == expected(entries(1, 6))


# What a crash leaves.


def test_a_torn_end_is_dropped_at_every_byte(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 5))
    path = segment_path(directory, 1)
    before = path.stat().st_size
    journal.append(entries(6, 3))
    journal.close()
    whole = path.read_bytes()
    last = range(before, len(whole))
    assert len(last) > 100
    cut = [whole[:end] for end in last]
    flipped = [whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :] for index in last]
    for data in cut + flipped:
        path.write_bytes(data)
        journal = opened(directory)
        assert (journal.next_position, journal.torn) == (6, len(data) - before)
        assert path.stat().st_size == before
        journal.append(entries(6, 1, b"after"))
        journal.close()
        assert read_all(directory) == expected(entries(1, 5) + entries(6, 1, b"after"))


def test_damage_before_the_end_is_refused_with_its_place(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 5))
    path = segment_path(directory, 1)
    offset = path.stat().st_size
    journal.append(entries(6, 5))
    end = path.stat().st_size
    journal.sync()
    journal.append(entries(11, 5))
    journal.close()
    whole = path.read_bytes()
    for index in range(offset, end):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        with pytest.raises(JournalError, match=f"{path.name} is damaged at byte {offset:,}") as caught:
            opened(directory)
        assert f"tape journal verify {directory}" in caught.value.hint
        assert path.stat().st_size == len(whole), "nothing may be cut off"


@dataclass(frozen=True)
class Written:
    """A part of a segment file that a disk keeps or loses as a whole."""

    start: int
    end: int
    position: int  # the first of which it holds a byte
    durable: int  # what its writer knew to be durable; 0 where it holds no whole block


def eight_blocks(directory: Path) -> tuple[bytes, list[Written], int]:
    """A segment, its eight blocks of which a sync followed the third and the fifth, and what is durable."""
    journal = opened(directory)
    path, blocks, durable = segment_path(directory, 1), [], 0
    for number in range(8):
        start, first = path.stat().st_size, journal.next_position
        journal.append(entries(first, 1 + number % 3))
        blocks.append(Written(start, path.stat().st_size, first, durable))
        if number in (2, 4):
            durable = journal.sync()
    assert len({block.durable for block in blocks}) == 3
    data = path.read_bytes()
    journal.close()
    return data, blocks, durable


def spoiled(data: bytes, parts: Sequence[Written], how: str) -> bytes:
    """The file with these parts never written, or written badly."""
    spoilt = bytearray(data)
    for part in parts:
        size = part.end - part.start
        kept = data[part.start : part.end]
        bad = {"zeros": bytes(size), "last byte": kept[:-1] + bytes([kept[-1] ^ 1]), "noise": b"TAPE"[:size]}
        spoilt[part.start : part.end] = bad[how].ljust(size, b"\xa5")
    return bytes(spoilt)


def subsets(parts: Sequence[Written]) -> Iterator[list[Written]]:
    """Every way to choose some of the parts."""
    for chosen in range(1, 2 ** len(parts)):
        yield [part for index, part in enumerate(parts) if chosen >> index & 1]


@pytest.mark.parametrize("how", ["zeros", "last byte", "noise"])
def test_whatever_blocks_are_lost_only_what_was_known_to_be_durable_is_refused(
    directory: Path, how: str
) -> None:
    data, blocks, durable = eight_blocks(directory)
    path = segment_path(directory, 1)
    refused = dropped = 0
    for bad in subsets(blocks):
        torn = spoiled(data, bad, how)
        path.write_bytes(torn)
        if any(block.durable >= bad[0].position for block in blocks if block not in bad):
            assert min(block.position for block in bad) <= durable
            with pytest.raises(JournalError, match=f"{path.name} is damaged at byte {bad[0].start:,}"):
                opened(directory)
            assert path.read_bytes() == torn, "nothing may be cut off"
            refused += 1
        else:
            assert recovered(directory, len(torn) - bad[0].start) == bad[0].position
            dropped += 1
    assert refused > 100
    assert dropped > 10


def test_of_what_was_not_durable_a_power_cut_may_keep_any_part(directory: Path) -> None:
    data, blocks, durable = eight_blocks(directory)
    [unsynced] = [block.start for block in blocks if block.position == durable + 1]
    # Of such a size that a block is in several pages, and several blocks are in one.
    size = -(-(len(data) - unsynced) // 8)
    edges = [*range(unsynced, len(data), size), len(data)]
    pages = [Written(start, end, 0, 0) for start, end in pairwise(edges)]
    assert len(pages) == 8
    path = segment_path(directory, 1)
    for how in ("zeros", "last byte", "noise"):
        for bad in subsets(pages):
            torn = spoiled(data, bad, how)
            path.write_bytes(torn)
            # A page without a single byte of another value was not lost.
            first = next(index for index, byte in enumerate(torn) if byte != data[index])
            [broken] = [block for block in blocks if block.start <= first < block.end]
            assert recovered(directory, len(torn) - broken.start) == broken.position > durable


def recovered(directory: Path, dropped: int) -> int:
    """Open a journal that has that many bytes to drop, go on in it; returns the position that came next."""
    journal = opened(directory)
    position = journal.next_position
    assert (journal.torn, journal.durable_position) == (dropped, position - 1)
    after = entries(99, 1)
    journal.append(after)
    journal.close()
    assert read_all(directory) == expected(entries(1, position - 1) + after)
    return position


def test_an_unfinished_start_of_a_segment_is_forgotten(directory: Path) -> None:
    opened(directory).close()
    (directory / f"{segment_path(directory, 9).name}.new").write_bytes(b"half a head")
    journal = opened(directory)
    assert journal.next_position == 1
    journal.close()
    assert sorted(path.name for path in directory.iterdir()) == [segment_path(directory, 1).name, "lock"]


CHILD = """
import sys
from pathlib import Path
from connectors.journal import Journal
directory = Path(sys.argv[1])
journal = Journal.open(directory, exchange="binance", shard="binance-0", now=0, segment_bytes_max=20_000)
print(journal.next_position - 1, flush=True)
while True:
    first = journal.next_position
    count = 1 + first % 50
    numbers = range(first, first + count)
    position = journal.append([(n, 1, n, "data", b"payload %d " % n * (n % 30)) for n in numbers])
    if position % 3 == 0:
        journal.sync()
    print(position, flush=True)
"""


def writer(directory: Path) -> "subprocess.Popen[bytes]":
    """A process that appends until it is killed, and says what it has acknowledged."""
    command = [sys.executable, "-c", CHILD, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])


def test_kill_9_at_any_moment_loses_nothing_acknowledged(directory: Path, seed: int) -> None:
    chance = random.Random(seed)
    acknowledged = kept = 0
    for _ in range(20):
        with writer(directory) as child:
            assert child.stdout is not None
            start = int(child.stdout.readline())
            assert start >= acknowledged
            for _ in range(chance.randint(1, 60)):
                child.stdout.readline()
            timer = threading.Timer(chance.uniform(0, 0.002), child.kill)
            timer.start()
            said = child.stdout.read().split(b"\n")
            timer.join()
        assert child.returncode == -signal.SIGKILL
        # The last word may be cut off by the kill.
        acknowledged = max([start, *(int(word) for word in said[:-1])])
        found = read_all(directory, position=kept)
        assert found == appended(kept + 1, len(found))
        kept += len(found)
        assert kept >= acknowledged
    assert acknowledged > 100
    opened(directory).close()
    assert read_all(directory) == appended(1, kept)


def appended(first: int, count: int) -> list[Frame]:
    """What the child writes."""
    return [
        Frame("binance", "binance-0", n, 1, n, n, "data", b"payload %d " % n * (n % 30))
        for n in range(first, first + count)
    ]


# A disk that fails.


def faulty(kind: type[FileIO]) -> Callable[[Path], FileIO]:
    """Opens files as the journal does, as another kind of file."""
    return lambda path: kind(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o644))


class Disk:
    """Says how many bytes the files below take before they fail."""

    room = 10**9
    code = errno.ENOSPC
    truncates = True
    failures = 0


@pytest.fixture
def disk() -> Iterator[type[FileIO]]:
    Disk.room, Disk.code, Disk.truncates, Disk.failures = 10**9, errno.ENOSPC, True, 0

    class Failing(FileIO):
        def write(self, data: object) -> int:
            part = bytes(data)[: Disk.room]  # type: ignore[call-overload]
            if not part and Disk.room == 0:
                Disk.failures += 1
                raise OSError(Disk.code, os.strerror(Disk.code))
            Disk.room -= len(part)
            return super().write(part)

        def truncate(self, size: int | None = None) -> int:
            if not Disk.truncates:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().truncate(size)

    yield Failing
    assert Disk.failures, "the fault did not fire"


@pytest.mark.parametrize(
    "code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ETIMEDOUT]
)
def test_a_failed_append_leaves_nothing_and_a_later_one_succeeds(
    directory: Path, disk: type[FileIO], code: int
) -> None:
    journal = opened(directory, open_file=faulty(disk))
    journal.append(entries(1, 5))
    size = segment_path(directory, 1).stat().st_size
    for room in (0, 1, 20, 60):
        Disk.room, Disk.code = room, code
        with pytest.raises(JournalError) as caught:
            journal.append(entries(6, 5))
        assert str(directory) in str(caught.value)
        assert "file system /" in str(caught.value)
        assert os.strerror(code) in str(caught.value)
        assert caught.value.hint
        assert (journal.next_position, segment_path(directory, 1).stat().st_size) == (6, size)
    Disk.room = 10**9
    assert journal.append(entries(6, 5)) == 10
    journal.close()
    assert read_all(directory) == expected(entries(1, 10))


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_append_that_was_interrupted_is_taken_back(directory: Path, error: type[BaseException]) -> None:
    interrupt = False

    class Interrupted(FileIO):
        def write(self, data: object) -> int:
            written = super().write(data)  # type: ignore[arg-type]
            if interrupt:
                raise error
            return written

    journal = opened(directory, open_file=faulty(Interrupted))
    interrupt = True
    with pytest.raises(error):
        journal.append(entries(1, 5))
    interrupt = False
    assert journal.append(entries(1, 3)) == 3
    journal.close()
    assert read_all(directory) == expected(entries(1, 3))


def test_a_disk_that_takes_few_bytes_at_a_time_gets_them_all_and_one_that_takes_none_fails(
    directory: Path,
) -> None:
    most = 7

    class Slow(FileIO):
        def write(self, data: object) -> int:
            return super().write(bytes(data)[:most])  # type: ignore[call-overload]

    journal = opened(directory, open_file=faulty(Slow))
    journal.append(entries(1, 5))
    most = 0
    with pytest.raises(JournalError, match="Input/output error"):
        journal.append(entries(6, 5))
    journal.close()
    assert read_all(directory) == expected(entries(1, 5))


@pytest.mark.parametrize("by", ["append", "open"])
def test_what_a_failed_append_could_not_take_back_is_taken_back_later(
    directory: Path, disk: type[FileIO], by: str
) -> None:
    journal = opened(directory, open_file=faulty(disk))
    journal.append(entries(1, 5))
    size = segment_path(directory, 1).stat().st_size
    Disk.room, Disk.truncates = 30, False
    for _ in range(2):
        with pytest.raises(JournalError):
            journal.append(entries(6, 5))
        assert segment_path(directory, 1).stat().st_size == size + 30
    Disk.room, Disk.truncates = 10**9, True
    if by == "open":
        journal.close()
        journal = opened(directory)
        assert journal.torn == 30
    assert journal.append(entries(6, 5)) == 10
    journal.close()
    assert read_all(directory) == expected(entries(1, 10))


def test_of_a_large_batch_the_blocks_before_the_failure_are_in(directory: Path, disk: type[FileIO]) -> None:
    batch = entries(1, 12, b"x" * (BATCH_BYTES_MAX // 4))
    journal = opened(directory, open_file=faulty(disk))
    Disk.room = BATCH_BYTES_MAX + 1_000
    with pytest.raises(JournalError):
        journal.append(batch)
    done = journal.next_position - 1
    assert 0 < done < len(batch)
    assert read_all(directory) == expected(batch[:done])
    Disk.room = 10**9
    assert journal.append(batch[done:]) == len(batch)
    journal.close()
    assert read_all(directory) == expected(batch)


def test_no_space_for_the_next_segment_leaves_this_one_in_use(directory: Path, disk: type[FileIO]) -> None:
    journal = opened(directory, open_file=faulty(disk), segment_bytes_max=200)
    journal.append(entries(1, 3))
    for room in (0, 10):
        Disk.room = room
        with pytest.raises(JournalError):
            journal.append(entries(4, 3))
        assert segment_paths(directory) == [segment_path(directory, 1)]
    Disk.room = 10**9
    assert journal.append(entries(4, 3)) == 6
    journal.close()
    assert segment_paths(directory) == [segment_path(directory, 1), segment_path(directory, 4)]
    assert read_all(directory) == expected(entries(1, 6))


def test_a_failed_sync_acknowledges_nothing_and_hands_the_bytes_over_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(directory)
    journal.append(entries(1, 3))
    journal.sync()
    journal.append(entries(4, 3))
    written: list[int] = []
    pwrite = os.pwrite

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def record(descriptor: int, data: bytes, offset: int) -> int:
        written.append(len(data))
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(module, "sync_file", fail)
        with pytest.raises(JournalError, match=r"cannot sync .*Input/output error"):
            journal.sync()
    assert journal.durable_position == 3
    journal.append(entries(7, 3))
    monkeypatch.setattr(os, "pwrite", record)
    assert journal.sync() == 9
    assert len(written) == 1
    assert written[0] > 6 * len(b"payload 4")
    journal.close()
    assert read_all(directory) == expected(entries(1, 9))


def test_a_device_that_is_full_is_named(directory: Path) -> None:
    class Full(FileIO):
        def write(self, data: object) -> int:
            with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123
                return full.write(data)  # type: ignore[arg-type]

    with pytest.raises(JournalError, match=r"file system /.* bytes free\): No space left on device"):
        opened(directory, open_file=faulty(Full))
    opened(directory).close()  # the lock was not kept


def small_file_system(folder: Path) -> bool:
    """Mount a file system of 300 kB, if that is allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
import pytest
sys.path.insert(0, ".")
sys.path.insert(0, "tests/connectors")
import test_journal
unlimited = resource.RLIM_INFINITY, resource.RLIM_INFINITY
directory = test_journal.Path(sys.argv[1])
test_journal.fill(directory, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, unlimited))
"""


def append_each(journal: Journal, batch: Sequence[Entry]) -> None:
    for entry in batch:
        journal.append([entry])


def fill(directory: Path, make_room: Callable[[], object]) -> None:
    """Append until the disk is full, make room, go on; everything acknowledged must be there."""
    journal = opened(directory, segment_bytes_max=10**9)
    batch = entries(1, 1_000_000 // 5_000, b"x" * 5_000)
    with pytest.raises(JournalError) as caught:
        append_each(journal, batch)
    assert str(directory) in str(caught.value)
    done = journal.next_position - 1
    assert 10 < done < len(batch)
    assert read_all(directory) == expected(batch[:done])
    make_room()
    assert journal.append(batch[done : done + 5]) == done + 5
    journal.close()
    assert read_all(directory) == expected(batch[: done + 5])


def test_a_full_disk_loses_nothing_and_is_used_again_when_there_is_room(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    if small_file_system(mounted):
        try:
            fill(
                mounted / "binance-0",
                lambda: subprocess.run(["mount", "-o", "remount,size=2m", mounted], check=True),
            )
        finally:
            subprocess.run(["umount", mounted], check=True)
    else:
        command = [sys.executable, "-c", LIMITED, str(tmp_path / "binance-0")]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


def test_a_limit_on_file_size_is_a_full_disk(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "binance-0")]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True)


# A disk that is lost, and what is removed on purpose.


def test_a_journal_shorter_than_the_snapshot_goes_on_behind_it_and_records_the_hole(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 100))
    journal.close()
    journal = opened(directory, expected_position=250)
    assert (journal.next_position, journal.durable_position) == (251, 250)
    journal.close()
    for _ in range(2):  # the same snapshot again finds nothing more missing
        journal = opened(directory, expected_position=250)
        journal.append(entries(journal.next_position, 10))
        journal.close()
    assert lines(directory / LOST, Lost) == [Lost(101, 250, "2023-11-14T22:13:20.000000Z")]
    assert read_all(directory) == expected(entries(1, 100)) + expected(entries(251, 20), 251)
    assert read_all(directory, position=180) == expected(entries(251, 20), 251)


def test_a_torn_end_before_a_hole_is_dropped_too(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 5))
    journal.close()
    with segment_path(directory, 1).open("ab") as file:
        file.write(b"TAPE and no more")
    opened(directory, expected_position=50).close()
    assert read_all(directory) == expected(entries(1, 5))


@pytest.mark.parametrize("position", [0, 99, 100])
def test_a_snapshot_within_the_journal_is_no_loss(directory: Path, position: int) -> None:
    journal = opened(directory)
    journal.append(entries(1, 100))
    journal.close()
    journal = opened(directory, expected_position=position)
    assert journal.next_position == 101
    journal.close()
    assert not (directory / LOST).exists()


def test_a_snapshot_one_frame_beyond_the_journal_is_a_loss_of_that_frame(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 100))
    journal.close()
    journal = opened(directory, expected_position=101)
    assert journal.next_position == 102
    journal.close()
    assert lines(directory / LOST, Lost) == [Lost(101, 101, "2023-11-14T22:13:20.000000Z")]


def test_a_crash_between_the_record_and_the_segment_loses_no_position(directory: Path) -> None:
    opened(directory, expected_position=50).close()
    for path in segment_paths(directory):
        path.unlink()
    journal = opened(directory)
    assert journal.next_position == 51
    journal.close()


def test_removed_segments_leave_a_record_and_positions_go_on(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=300)
    for first in range(1, 51, 5):
        journal.append(entries(first, 5))
    paths = segment_paths(directory)
    firsts = [int(path.stem) for path in paths]
    sizes = [path.stat().st_size for path in paths]
    assert len(paths) > 4
    assert journal.remove_through(firsts[1] - 2) == []
    assert [each.first for each in journal.remove_through(firsts[1] - 1)] == [1]
    assert segment_paths(directory) == paths[1:]
    journal.remove_through(10**9)
    assert segment_paths(directory) == paths[-1:]
    journal.close()
    found = lines(directory / REMOVED, Removed)
    assert [(each.first, each.last, each.count, each.bytes) for each in found] == [
        (first, following - 1, following - first, size)
        for first, following, size in zip(firsts, firsts[1:], sizes, strict=False)
    ]
    journal = opened(directory)
    assert journal.append(entries(51, 1)) == 51
    journal.close()
    assert read_all(directory, firsts[-1] - 1) == expected(entries(1, 51))[firsts[-1] - 1 :]


def test_a_record_survives_a_crash_before_its_segment_goes_and_is_not_doubled(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(directory, segment_bytes_max=200)
    journal.append(entries(1, 3))
    journal.append(entries(4, 3))

    def die(path: Path) -> None:
        assert lines(directory / REMOVED, Removed)[0].last == 3, "the record comes first"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            journal.remove_through(3)
    assert len(segment_paths(directory)) == 2
    assert [each.first for each in journal.remove_through(3)] == [1]
    assert [each.first for each in lines(directory / REMOVED, Removed)] == [1]
    journal.close()


def test_a_damaged_segment_is_not_removed(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=200)
    journal.append(entries(1, 3))
    journal.append(entries(4, 3))
    path = segment_path(directory, 1)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(JournalError, match=f"{path.name} is damaged"):
        journal.remove_through(5)
    assert path.exists()
    assert not (directory / REMOVED).exists()
    journal.close()


# One writer.


def test_a_second_writer_is_refused_and_told_who_writes(directory: Path) -> None:
    journal = opened(directory)
    with pytest.raises(JournalError) as caught:
        opened(directory)
    holder = f"process {os.getpid()} on {os.uname().nodename} since 2023-11-14T22:13:20.000000Z"
    assert str(caught.value) == f"{directory} is written by {holder}"
    assert json.loads((directory / "lock").read_bytes())["pid"] == os.getpid()
    journal.append(entries(1, 1))
    journal.close()
    journal.close()
    assert (directory / "lock").read_bytes() == b""
    opened(directory).close()


def test_who_only_looks_keeps_no_writer_out(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(directory).close()
    waited: list[float] = []
    with (directory / "lock").open("rb") as lock:
        assert module.try_lock(lock.fileno(), fcntl.LOCK_SH)

        def look_no_more(seconds: float) -> None:
            waited.append(seconds)
            fcntl.flock(lock.fileno(), fcntl.LOCK_UN)

        monkeypatch.setattr("connectors.journal.time.sleep", look_no_more)
        opened(directory).close()
    assert waited == [module.LOOK_SECONDS]


def test_another_process_is_refused_and_a_dead_one_holds_nothing(directory: Path) -> None:
    with writer(directory) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(JournalError, match=f"is written by process {child.pid} on "):
            opened(directory)
        child.kill()
        child.stdout.read()
    opened(directory).close()


def test_the_journal_of_another_shard_is_refused(directory: Path) -> None:
    opened(directory).close()
    with pytest.raises(JournalError, match="is the journal of binance binance-0, not of kraken kraken-0"):
        Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW)
    opened(directory).close()


def test_files_are_opened_for_reading_and_writing(tmp_path: Path) -> None:
    with open_file(tmp_path / "new") as file:
        file.write(b"x")
    with open_file(tmp_path / "new") as file:
        assert file.read() == b"x"
