"""A journal that lost what snapshots know goes on behind it."""

import os
from pathlib import Path

import pytest

from connectors import positions
from connectors.journal import Journal
from connectors.positions import (
    BYTES,
    PLACES,
    RECORD,
    expected_position,
    path_of,
    prepare_position,
    remember_position,
    sync_newest,
)
from connectors.segments import JournalError


def test_the_last_position_noted_is_the_one_expected(tmp_path: Path) -> None:
    assert expected_position(tmp_path, "binance-0") is None

    remember_position(tmp_path, "binance-0", 1_000_000)
    remember_position(tmp_path, "binance-0", 1_000_007)
    remember_position(tmp_path, "kraken-0", 3)

    assert expected_position(tmp_path, "binance-0") == 1_000_007
    assert expected_position(tmp_path, "kraken-0") == 3


def test_noting_a_position_takes_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_position(tmp_path, "binance-0")
    assert expected_position(tmp_path, "binance-0") is None
    before = path_of(tmp_path, "binance-0").stat()
    assert before.st_size == BYTES
    assert before.st_blocks * 512 >= BYTES
    places = []
    write = os.pwrite

    def noted(descriptor: int, data: bytes, place: int) -> int:
        places.append(place)
        return write(descriptor, data, place)

    monkeypatch.setattr(positions.os, "pwrite", noted)
    for position in range(1, 6):
        remember_position(tmp_path, "binance-0", position)
        assert expected_position(tmp_path, "binance-0") == position

    assert places == [PLACES[number % 2] for number in range(5)]
    after = path_of(tmp_path, "binance-0").stat()
    assert (after.st_ino, after.st_size, after.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)


def test_torn_at_any_byte_the_record_before_it_counts(tmp_path: Path) -> None:
    path = path_of(tmp_path, "binance-0")
    for position in (70_000, 70_001, 2**40 + 3):
        before = path.read_bytes() if path.exists() else bytes(BYTES)
        known = expected_position(tmp_path, "binance-0")
        remember_position(tmp_path, "binance-0", position)
        whole = path.read_bytes()
        changed = [at for at in range(BYTES) if whole[at] != before[at]]
        start = PLACES[changed[0] >= PLACES[1]]
        for end in range(RECORD.size):
            torn = before[:start] + whole[start : start + end] + before[start + end :]
            path.write_bytes(torn)
            # A record whose bytes are all there is noted, however the write ended.
            assert expected_position(tmp_path, "binance-0") == (position if torn == whole else known)
        path.write_bytes(whole)


def test_a_file_that_lost_both_records_is_not_guessed_at(tmp_path: Path) -> None:
    remember_position(tmp_path, "binance-0", 7)
    for held in (b"\1" * BYTES, b"", bytes(BYTES - 1)):
        path_of(tmp_path, "binance-0").write_bytes(held)
        with pytest.raises(JournalError, match=r"binance-0\.position is damaged") as caught:
            expected_position(tmp_path, "binance-0")
        assert "journal verify" in caught.value.hint


def test_a_journal_is_synced_without_its_writer(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j", exchange="binance", shard="binance-0", now=1)
    journal.append([(1, 1, 1, "data", b"x")])
    sync_newest(tmp_path / "j")
    journal.close()

    with pytest.raises(JournalError):
        sync_newest(tmp_path / "nowhere")
