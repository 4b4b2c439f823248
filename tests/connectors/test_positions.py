"""A journal that lost what snapshots know goes on behind it."""

from pathlib import Path

import pytest

from connectors.journal import Journal
from connectors.positions import expected_position, remember_position, sync_newest
from connectors.segments import JournalError


def test_the_last_position_noted_is_the_one_expected(tmp_path: Path) -> None:
    assert expected_position(tmp_path, "binance-0") is None

    remember_position(tmp_path, "binance-0", 1_000_000)
    remember_position(tmp_path, "binance-0", 1_000_007)
    remember_position(tmp_path, "kraken-0", 3)

    assert expected_position(tmp_path, "binance-0") == 1_000_007
    assert expected_position(tmp_path, "kraken-0") == 3


def test_a_journal_is_synced_without_its_writer(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "j", exchange="binance", shard="binance-0", now=1)
    journal.append([(1, 1, 1, "data", b"x")])
    sync_newest(tmp_path / "j")
    journal.close()

    with pytest.raises(JournalError):
        sync_newest(tmp_path / "nowhere")
