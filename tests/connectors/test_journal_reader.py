"""A reader sees every frame once and in order, while the journal grows, tears, heals and is cut."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Literal, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from connectors import journal_reader
from connectors.blocks import encode_block
from connectors.journal import Entry, Journal, JournalError, JournalReader
from connectors.segments import segment_header, segment_path, segment_paths
from schemas import Frame
from schemas.health import FrameKind

DEADLINE_SECONDS = 30


def opened(directory: Path, **options: object) -> Journal:
    return Journal.open(directory, exchange="kraken", shard="kraken-0", now=0, **options)  # type: ignore[arg-type]


def reading(directory: Path, position: int = 0) -> JournalReader:
    return JournalReader(directory, exchange="kraken", shard="kraken-0", position=position)


def entries(first: int, count: int) -> list[Entry]:
    return [(n, 1, n, "data", b"payload %d" % n) for n in range(first, first + count)]


def expected(first: int, count: int) -> list[Frame]:
    return [
        Frame("kraken", "kraken-0", n, 1, n, n, "data", b"payload %d" % n)
        for n in range(first, first + count)
    ]


def positions(frames: list[Frame]) -> list[int]:
    return [frame.position for frame in frames]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "kraken-0"


numbers = some.integers(0, 2**62)
entry = some.tuples(
    numbers, some.integers(1, 3), numbers, some.sampled_from(get_args(FrameKind)), some.binary()
)
batches = some.lists(some.lists(entry, max_size=8), max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    batches=batches,
    reads=some.lists(some.integers(1, 9), min_size=1, max_size=9),
    segment_bytes_max=some.sampled_from([1, 150, 400, 10**6]),
    start=some.integers(0, 30),
)
def test_any_batches_come_out_the_same_by_any_reads(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Entry]],
    reads: list[int],
    segment_bytes_max: int,
    start: int,
) -> None:
    directory = tmp_path_factory.mktemp("journal")
    journal = opened(directory, segment_bytes_max=segment_bytes_max)
    following, later = reading(directory), reading(directory, position=start)
    found: dict[JournalReader, list[Frame]] = {following: [], later: []}
    for index, batch in enumerate(batches):
        journal.append(batch)
        found[following] += following.read(reads[index % len(reads)])
    written = [entry for batch in batches for entry in batch]
    frames = [
        Frame("kraken", "kraken-0", index, connection, number, received, kind, payload)
        for index, (received, connection, number, kind, payload) in enumerate(written, start=1)
    ]
    for reader, wanted in ((following, frames), (later, frames[start:])):
        for index in range(len(frames) + 1):
            part = reader.read(reads[index % len(reads)])
            assert len(part) <= reads[index % len(reads)]
            found[reader] += part
        assert found[reader] == wanted
        assert reader.read(1) == []
        reader.close()
    journal.close()


def test_a_reader_may_come_before_the_journal(directory: Path) -> None:
    directory.mkdir()
    reader = reading(directory)
    assert reader.read(10) == []
    journal = opened(directory)
    assert reader.read(10) == []
    journal.append(entries(1, 3))
    assert reader.read(10) == expected(1, 3)
    assert reader.position == 3
    reader.close()
    reader.close()
    journal.close()


@pytest.mark.parametrize("read_bytes", [40, 1_000, 2**20])
def test_blocks_larger_than_one_read_are_read(
    directory: Path, monkeypatch: pytest.MonkeyPatch, read_bytes: int
) -> None:
    monkeypatch.setattr(journal_reader, "READ_BYTES", read_bytes)
    journal = opened(directory, segment_bytes_max=5_000)
    for first in range(1, 200, 20):
        journal.append(entries(first, 20))
    reader = reading(directory)
    assert reader.read(1_000) == expected(1, 200)
    reader.close()
    journal.close()


def test_every_position_is_found_by_name_and_headers(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=500)
    for first in range(1, 100, 3):
        journal.append(entries(first, 3))
    assert len(segment_paths(directory)) > 3
    for position in range(100):
        reader = reading(directory, position=position)
        assert reader.read(5) == expected(position + 1, 5)[: 99 - position]
        reader.close()
    journal.close()


def test_half_a_block_is_not_there_yet_at_every_byte(directory: Path) -> None:
    start = segment_header("kraken", "kraken-0", 1) + encode_block(1, entries(1, 2))
    block = encode_block(3, entries(3, 2))
    directory.mkdir()
    path = segment_path(directory, 1)
    path.write_bytes(start)
    reader = reading(directory)
    assert reader.read(10) == expected(1, 2)
    with path.open("ab", buffering=0) as file:
        for index in range(len(block)):
            assert reader.read(10) == [], index
            file.write(block[index : index + 1])
    assert reader.read(10) == expected(3, 2)
    reader.close()


def test_what_was_torn_is_read_again_when_the_next_writer_has_replaced_it(directory: Path) -> None:
    journal = opened(directory)
    journal.append(entries(1, 2))
    journal.close()
    path = segment_path(directory, 1)
    size = path.stat().st_size
    torn = encode_block(3, [(9, 9, 9, "control", b"never acknowledged " * 9)])
    for end in range(1, len(torn)):
        path.write_bytes(path.read_bytes()[:size] + torn[:end])
        reader = reading(directory)
        assert positions(reader.read(10)) == [1, 2]
        assert reader.read(10) == []
        journal = opened(directory)
        journal.append(entries(3, 1))
        journal.append(entries(4, 1))
        assert reader.read(10) == expected(3, 2)
        reader.close()
        journal.close()


def test_a_reader_in_another_thread_misses_nothing_and_sees_nothing_twice(directory: Path) -> None:
    count = 30_000
    journal = opened(directory, segment_bytes_max=50_000)

    def write() -> None:
        first = 1
        while first <= count:
            size = min(1 + first % 97, count + 1 - first)
            journal.append(entries(first, size))
            first += size

    reader = reading(directory)
    thread = threading.Thread(target=write)
    thread.start()
    found = follow(reader, count)
    thread.join()
    assert found == expected(1, count)
    assert len(segment_paths(directory)) > 10
    reader.close()
    journal.close()


CHILD = """
import sys
from pathlib import Path
from connectors.journal import Journal
directory = Path(sys.argv[1])
journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=0, segment_bytes_max=50_000)
for first in range(1, 20_001, 100):
    journal.append([(n, 1, n, "data", b"payload %d" % n) for n in range(first, first + 100)])
journal.close()
"""


def test_a_reader_follows_a_writer_in_another_process(directory: Path) -> None:
    directory.mkdir()
    command = [sys.executable, "-c", CHILD, str(directory)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2]) as child:
        reader = reading(directory)
        assert follow(reader, 20_000) == expected(1, 20_000)
        reader.close()
    assert child.returncode == 0


def follow(reader: JournalReader, count: int) -> list[Frame]:
    """Read until so many frames came, or too much time has passed."""
    found: list[Frame] = []
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        found += reader.read(1_000)
    return found


def test_damage_is_refused_after_what_came_before_it(directory: Path) -> None:
    journal = opened(directory)
    offsets = []
    for first in (1, 4, 7):
        offsets.append(segment_path(directory, 1).stat().st_size)
        journal.append(entries(first, 3))
        journal.sync()
    journal.close()
    path = segment_path(directory, 1)
    whole = path.read_bytes()
    for index in range(offsets[1], offsets[2]):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
        reader = reading(directory)
        assert reader.read(10) == expected(1, 3)
        for _ in range(2):
            with pytest.raises(JournalError, match=f"is damaged at byte {offsets[1]:,}"):
                reader.read(10)
        reader.close()


def test_a_torn_segment_that_is_not_the_newest_is_damaged(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=150)
    journal.append(entries(1, 3))
    journal.append(entries(4, 3))
    path = segment_path(directory, 1)
    path.write_bytes(path.read_bytes()[:-1])
    reader = reading(directory)
    with pytest.raises(JournalError, match=f"{path.name} is damaged"):
        reader.read(10)
    reader.close()
    journal.close()


def test_kinds_of_a_newer_program_are_refused_and_not_stepped_over(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(directory)
    journal.append([(1, 1, 1, "outcome", b"")])
    journal.close()
    older = msgspec.msgpack.Decoder(list[tuple[int, int, int, Literal["data"], bytes]])
    monkeypatch.setattr("connectors.blocks._decode", older.decode)
    reader = reading(directory)
    for _ in range(2):
        with pytest.raises(JournalError, match="holds a block that this program cannot read"):
            reader.read(10)
    reader.close()


def test_a_missing_segment_and_a_removed_one_are_not_stepped_over(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=150)
    for first in (1, 4, 7, 10):
        journal.append(entries(first, 3))
    journal.remove_through(3)
    reader = reading(directory)
    with pytest.raises(JournalError, match="positions 1 to 3 are not in") as caught:
        reader.read(10)
    assert caught.value.hint.startswith("the oldest position is 4;")
    reader.close()
    segment_path(directory, 7).unlink()
    reader = reading(directory, position=3)
    assert reader.read(10) == expected(4, 3)
    with pytest.raises(JournalError, match="positions 7 to 9 are not in"):
        reader.read(10)
    reader.close()
    journal.close()


def test_a_segment_that_is_removed_while_it_is_read_is_read_to_its_end(directory: Path) -> None:
    journal = opened(directory, segment_bytes_max=150)
    journal.append(entries(1, 3))
    reader = reading(directory)
    assert reader.read(1) == expected(1, 1)
    journal.append(entries(4, 3))
    assert len(journal.remove_through(3)) == 1
    assert reader.read(10) == expected(2, 5)
    reader.close()
    journal.close()


def test_the_journal_of_another_shard_is_refused(directory: Path) -> None:
    opened(directory).close()
    reader = JournalReader(directory, exchange="kraken", shard="kraken-1")
    with pytest.raises(JournalError, match="is of kraken kraken-0, not of kraken kraken-1"):
        reader.read(1)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot read .*nowhere .*: No such file"):
        reading(tmp_path / "nowhere").read(1)


def test_large_frames_are_read_some_at_a_time(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_reader, "PAYLOADS_BYTES", 100)
    journal = opened(directory)
    for position in range(1, 11):
        journal.append([(1, 1, position, "repair", b"p" * 40)])
    reader = reading(directory)
    found = []
    while frames := reader.read(1_000):
        found.append(positions(frames))
    assert found == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
    reader.close()
    # However much of a block is before the position that was asked for.
    monkeypatch.setattr(journal_reader, "PAYLOADS_BYTES", 1)
    later = reading(directory, position=9)
    assert positions(later.read(1_000)) == [10]
    later.close()
    journal.close()
