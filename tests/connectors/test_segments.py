"""What segments may hold, and what is refused with the file's name."""

from pathlib import Path

import pytest

from connectors.blocks import Entry, encode_block
from connectors.segments import (
    JournalError,
    Lost,
    inspect,
    iso,
    missing,
    read_segment_header,
    segment_header,
    segment_path,
    segment_paths,
    was_durable,
)

HEADER = segment_header("kraken", "kraken-0", 7)
ONE: list[Entry] = [(1, 1, 1, "data", b"one")] * 2
TWO: list[Entry] = [(1, 1, 3, "data", b"two")]
BLOCKS = [encode_block(7, ONE, durable=6), encode_block(9, TWO, durable=8)]


def written(directory: Path, data: bytes, first: int = 7) -> Path:
    path = segment_path(directory, first)
    path.write_bytes(data)
    return path


def test_segments_are_listed_in_order_and_nothing_else_is(tmp_path: Path) -> None:
    for first in (1_000, 1, 20):
        segment_path(tmp_path, first).touch()
    for name in ("lock", "lost.jsonl", "x.journal", "00000000000000000001.journal.new"):
        (tmp_path / name).touch()
    assert segment_paths(tmp_path) == [segment_path(tmp_path, first) for first in (1, 20, 1_000)]


def test_a_header_comes_back(tmp_path: Path) -> None:
    header = read_segment_header(segment_path(tmp_path, 7), HEADER + b"blocks")
    assert (header.exchange, header.shard) == ("kraken", "kraken-0")
    assert (header.first, header.size) == (7, len(HEADER))


def test_no_damage_to_a_header_goes_unseen(tmp_path: Path) -> None:
    path = segment_path(tmp_path, 7)
    for index in range(len(HEADER)):
        with pytest.raises(JournalError, match=path.name):
            read_segment_header(path, HEADER[:index] + bytes([HEADER[index] ^ 1]) + HEADER[index + 1 :])
        with pytest.raises(JournalError, match=path.name):
            read_segment_header(path, HEADER[:index])


def test_an_unknown_version_is_told_apart_from_damage(tmp_path: Path) -> None:
    newer = HEADER[:8] + (3).to_bytes(4, "little") + b"whatever version 3 has here"
    with pytest.raises(JournalError, match="has format version 3, this program knows 2") as caught:
        read_segment_header(segment_path(tmp_path, 7), newer)
    assert caught.value.hint == "use the version of tape that wrote it"


def test_a_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="begins at position 7"):
        inspect(written(tmp_path, HEADER, first=8))


def test_a_sound_segment_is_counted_to_its_end(tmp_path: Path) -> None:
    found = inspect(written(tmp_path, HEADER + b"".join(BLOCKS)))
    assert (found.header.first, found.next_position, found.torn, found.damaged) == (7, 10, 0, False)
    assert found.bytes == found.bytes_whole == len(HEADER) + sum(map(len, BLOCKS))


def test_a_torn_end_is_told_from_damage(tmp_path: Path) -> None:
    first, second = BLOCKS
    torn = inspect(written(tmp_path, HEADER + first + second[:-1]))
    assert (torn.next_position, torn.torn, torn.damaged) == (9, len(second) - 1, False)
    damaged = inspect(written(tmp_path, HEADER + first[:-1] + b"?" + second))
    assert (damaged.next_position, damaged.bytes_whole, damaged.damaged) == (7, len(HEADER), True)


@pytest.mark.parametrize(("durable", "damaged"), [(6, False), (7, True), (8, True)])
def test_what_no_later_block_knows_to_have_been_durable_is_a_torn_end(
    tmp_path: Path, durable: int, damaged: bool
) -> None:
    first, second = bytes(len(BLOCKS[0])), encode_block(9, TWO, durable)
    found = inspect(written(tmp_path, HEADER + first + second))
    assert (found.next_position, found.torn, found.damaged) == (7, len(first + second), damaged)


@pytest.mark.parametrize(("durable", "damaged"), [(8, False), (9, True)])
def test_a_whole_block_at_a_wrong_position_does_not_count_and_what_it_knows_does(
    tmp_path: Path, durable: int, damaged: bool
) -> None:
    found = inspect(written(tmp_path, HEADER + BLOCKS[0] + encode_block(12, TWO, durable)))
    assert (found.next_position, found.damaged) == (9, damaged)


def test_a_block_that_its_writer_has_finished_by_now_is_no_damage(tmp_path: Path) -> None:
    first, second = BLOCKS
    for begun, expected in ((first, False), (first[:-1] + b"?", True)):
        path = written(tmp_path, HEADER + begun + second)
        with path.open("rb") as file:
            assert was_durable(file, len(HEADER), path.stat().st_size, 7) == expected


def test_zeros_after_a_power_cut_are_a_torn_end(tmp_path: Path) -> None:
    found = inspect(written(tmp_path, HEADER + BLOCKS[0] + bytes(5_000)))
    assert (found.next_position, found.torn, found.damaged) == (9, 5_000, False)


@pytest.mark.parametrize(
    ("first", "last", "hole"),
    [
        (1, 9, (1, 9)),
        (10, 30, None),
        (10, 31, (31, 31)),
        (12, 25, None),
        (5, 4, None),
        (35, 45, (35, 45)),
        (1, 40, (1, 9)),
    ],
)
def test_what_is_not_recorded_is_missing(first: int, last: int, hole: tuple[int, int] | None) -> None:
    extents = [Lost(first=21, last=30, noticed=""), Lost(first=10, last=20, noticed="")]
    assert missing(first, last, extents) == hole


def test_times_are_shown_to_the_microsecond() -> None:
    assert iso(1_700_000_000_000_001) == "2023-11-14T22:13:20.000001Z"
    assert iso(0) == "1970-01-01T00:00:00.000000Z"
