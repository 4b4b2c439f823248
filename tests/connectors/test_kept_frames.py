"""Frames of a shard from table and journal: each once and in order, whatever the journal still has."""

from pathlib import Path
from random import Random
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.table import Table
from structlog.testing import capture_logs

from connectors import kept_frames
from connectors.blocks import Entry
from connectors.catalog import open_catalog
from connectors.journal import Journal
from connectors.kept_frames import POSITION_MAX, KeptFrames, extents, oldest, published
from connectors.segments import JournalError
from connectors.slots import open_store
from schemas import Frame
from tests.campaigns.lake_driver import Job, drive, frame_at

SHARD, OTHER, NEW = "binance-0", "binance-1", "binance-2"
IN_TABLE, IN_ALL = 200, 260


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose table has two shards' frames, a few in each file; only to be read."""
    made = tmp_path_factory.mktemp("kept") / "simulated"
    open_store(made, "simulated", [SHARD, OTHER])
    with capture_logs():
        drive(Job(str(made), (SHARD, OTHER), IN_TABLE, seed=1, epoch_frames=20))
    return made


@pytest.fixture
def table(directory: Path) -> Table:
    return open_catalog(directory).load_table("bronze.frames")


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    """The journal of the shard, a few frames to a segment."""
    made = Journal.open(tmp_path / SHARD, exchange="binance", shard=SHARD, now=0, segment_bytes_max=1_000)
    for position in range(1, IN_ALL + 1, 10):
        made.append([entry(frame_at(SHARD, each)) for each in range(position, position + 10)])
    made.sync()
    return made


def entry(frame: Frame) -> Entry:
    return frame.received, frame.connection, frame.number, frame.kind, frame.payload


def wanted(first: int, last: int) -> list[Frame]:
    return [frame_at(SHARD, position) for position in range(first, last + 1)]


def read_all(kept: KeptFrames, random: Random) -> list[Frame]:
    """Everything, as many at a time as chance has it."""
    found: list[Frame] = []
    while frames := kept.read(limit := random.randint(1, 60)):
        assert len(frames) <= limit
        found += frames
        assert kept.position == found[-1].position
    kept.close()
    return found


@pytest.mark.parametrize("trimmed", [0, 90, IN_TABLE])
def test_the_journal_goes_on_where_the_table_ends(
    table: Table, journal: Journal, seed: int, trimmed: int
) -> None:
    journal.remove_through(trimmed)
    assert read_all(KeptFrames(table, journal.directory, SHARD), Random(seed)) == wanted(1, IN_ALL)
    journal.close()


def test_a_journal_that_begins_behind_what_the_table_has_is_a_loss_that_is_told(
    table: Table, journal: Journal
) -> None:
    journal.remove_through(IN_TABLE + 30)
    kept = KeptFrames(table, journal.directory, SHARD)
    assert kept.read(IN_ALL) == wanted(1, IN_TABLE)
    with pytest.raises(JournalError, match=str(IN_TABLE + 1)):
        kept.read(1)
    kept.close()
    journal.close()


@pytest.mark.parametrize("position", [0, 90, IN_TABLE, IN_TABLE + 30])
def test_it_goes_on_behind_a_position(table: Table, journal: Journal, seed: int, position: int) -> None:
    found = KeptFrames(table, journal.directory, SHARD, position)
    assert read_all(found, Random(seed)) == wanted(position + 1, IN_ALL)
    journal.close()


def test_a_table_that_knows_nothing_of_a_shard_leaves_it_to_its_journal(table: Table, tmp_path: Path) -> None:
    new = Journal.open(tmp_path / NEW, exchange="binance", shard=NEW, now=0)
    new.append([entry(frame_at(NEW, position)) for position in range(1, 6)])
    new.close()
    kept = KeptFrames(table, tmp_path / NEW, NEW)
    assert kept.read(500) == [frame_at(NEW, position) for position in range(1, 6)]
    kept.close()
    assert oldest(table, NEW) is None


def test_a_long_history_is_read_some_at_a_time(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_frames, "READ_POSITIONS", 30)
    read: list[tuple[int, int]] = []

    def counting(rows: pa.Table) -> object:
        found = pc.min_max(rows.column("position")).as_py()
        read.append((found["min"], found["max"]))
        return frames_of(rows)

    frames_of = kept_frames.frames_of
    monkeypatch.setattr(kept_frames, "frames_of", counting)
    assert list(published(table, SHARD, IN_TABLE)) == wanted(1, IN_TABLE)
    assert read == [(first, min(first + 29, IN_TABLE)) for first in range(1, IN_TABLE, 30)]


def test_what_retention_has_taken_is_passed_over_and_the_token_is_the_end(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_frames, "READ_POSITIONS", 10)
    every = sorted(extents(table, SHARD), key=lambda each: each[0])
    own = [each for each in every if f"/{SHARD}-" in each[2].file.file_path]
    gone = [*own[:3], own[6]]  # the oldest, and one in the middle
    left = [each for each in every if each not in gone]
    monkeypatch.setattr(kept_frames, "extents", lambda *_: left)
    still = [frame for each in own if each not in gone for frame in wanted(*each[:2])]
    assert list(published(table, SHARD, IN_TABLE)) == still
    # The files of the other shard, which are as old as ever, say nothing of this one.
    assert (oldest(table, SHARD), oldest(table, OTHER)) == (own[3][0], 1)
    assert list(published(table, SHARD, still[-5].position)) == still[:-4]


def test_a_file_without_bounds_may_hold_anything(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [task for *_, task in extents(table, SHARD)]
    tasks[2] = SimpleNamespace(file=SimpleNamespace(lower_bounds=None, upper_bounds={}))  # type: ignore[call-overload]
    scan = SimpleNamespace(plan_files=lambda: tasks)
    monkeypatch.setattr(Table, "scan", lambda *_, **__: scan)
    found = extents(table, SHARD)
    assert found[2][:2] == (1, POSITION_MAX)
    assert all(upper - lower < 40 for index, (lower, upper, _) in enumerate(found) if index != 2)
