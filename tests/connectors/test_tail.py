"""The hot tail: torn ends cost a batch, each position comes once, and what an older release wrote is read."""

from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from connectors import tail
from connectors.tail import Tail, only_above, staged
from schemas import Frame
from schemas.iceberg import arrow_schema, to_arrow
from tests.campaigns.lake_driver import frame_at

SHARD = "binance-0"


def frames(*positions: int) -> pa.RecordBatch:
    return to_arrow(Frame, [frame_at(SHARD, position) for position in positions])


def positions(table: pa.Table) -> list[int]:
    return list(table["position"].to_pylist())


def test_an_end_torn_anywhere_costs_its_last_batch(tmp_path: Path) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    one.append(frames(1, 2), 2)
    path = next(tmp_path.glob("tail/*/*/*"))
    whole = path.stat().st_size
    one.append(frames(3, 4), 4)
    data = path.read_bytes()
    for size in [*range(0, len(data), 7), whole - 1, whole, whole + 1, len(data) - 1, len(data)]:
        path.write_bytes(data[:size])
        found = [position for rows in staged(tmp_path, Frame).get(SHARD, []) for position in positions(rows)]
        assert found == ([] if size < whole else [1, 2] if size < len(data) else [1, 2, 3, 4]), size


def test_each_position_comes_once_from_the_newest_incarnation(seed: int) -> None:
    random = Random(seed)
    for _ in range(200):
        incarnations = [
            pa.Table.from_batches([frames(*range(start, start + random.randint(1, 9)))])
            for start in (random.randint(1, 9) for _ in range(random.randint(1, 4)))
        ]
        floor = random.randint(0, 12)
        marked = [
            rows.set_column(4, "number", pa.array([index] * rows.num_rows))
            for index, rows in enumerate(incarnations)
        ]
        found = only_above(Frame, [rows.cast(arrow_schema(Frame)) for rows in marked], floor)
        first: dict[int, int] = {}
        for index, rows in enumerate(incarnations):
            for position in positions(rows):
                first.setdefault(position, index)
        assert sorted(zip(positions(found), found["number"].to_pylist(), strict=True)) == sorted(
            (position, index) for position, index in first.items() if position > floor
        )


def test_parts_go_when_they_are_published_to_their_ends(tmp_path: Path) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    for first in (1, 3, 5):
        one.append(frames(first, first + 1), first + 1)
        one.part()
    one.append(frames(7), 7)
    one.remove(3)
    assert positions(staged(tmp_path, Frame)[SHARD][0]) == [3, 4, 5, 6, 7]
    successor = Tail(tmp_path, Frame, SHARD, 2)
    successor.append(frames(7, 8), 8)
    assert [positions(rows) for rows in staged(tmp_path, Frame)[SHARD]] == [[7, 8], [3, 4, 5, 6, 7]]
    successor.remove(6)
    assert [positions(rows) for rows in staged(tmp_path, Frame)[SHARD]] == [[7, 8], [7]]
    successor.remove(7)
    assert [positions(rows) for rows in staged(tmp_path, Frame)[SHARD]] == [[7, 8]]


def test_a_tail_that_goes_while_it_is_listed_is_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    one.append(frames(1), 1)
    one.part()
    one.append(frames(2), 2)
    batches = tail.batches

    def late(path: Path) -> object:
        one.remove(1)
        return batches(path)

    monkeypatch.setattr(tail, "batches", late)
    assert positions(staged(tmp_path, Frame)[SHARD][0]) == [2]


def test_what_an_older_release_wrote_is_read(tmp_path: Path) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    one.append(frames(1).drop_columns(["connection"]), 1)
    rows = staged(tmp_path, Frame)[SHARD][0]
    assert rows["connection"].to_pylist() == [None]
    assert positions(rows) == [1]


def test_a_host_without_tails_has_none(tmp_path: Path) -> None:
    assert staged(tmp_path, Frame) == {}
