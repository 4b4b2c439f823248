"""The hot tail: torn ends cost a batch, each position comes once, and what an older release wrote is read."""

import os
from errno import ENOSPC
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from connectors import tail
from connectors.tail import Tail, Tails, only_above
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
    kept = Tails(tmp_path, Frame)
    for size in [*range(0, len(data), 7), whole - 1, whole, whole + 1, len(data) - 1, len(data), 0]:
        path.write_bytes(data[:size])
        wanted = [] if size < whole else [1, 2] if size < len(data) else [1, 2, 3, 4]
        for tails in (kept, Tails(tmp_path, Frame)):
            assert [positions(rows) for rows in tails.staged()[SHARD]] == [wanted], size


def test_a_tail_that_grows_is_read_as_it_is_and_what_was_read_is_not_read_again(
    tmp_path: Path, seed: int
) -> None:
    random = Random(seed)
    writer, kept, incarnation = Tail(tmp_path, Frame, SHARD, 1), Tails(tmp_path, Frame), 1
    position = published = 0
    for _ in range(100):
        happens = random.choice(("grows", "grows", "grows", "is torn", "ends", "goes", "starts again"))
        if happens in ("grows", "is torn"):
            rows = frames(*range(position + 1, position + random.randint(2, 5)))
            position += rows.num_rows
            if happens == "is torn":
                tear(writer, rows, random)
                assert_same(kept, Tails(tmp_path, Frame))
            writer.append(rows, position)
        elif happens == "ends":
            writer.part()
        elif happens == "goes":
            published = random.randint(published, position)
            writer.remove(published)
        else:
            incarnation += 1
            position = random.randint(published, position)
            writer.part()
            writer = Tail(tmp_path, Frame, SHARD, incarnation)
        assert_same(kept, Tails(tmp_path, Frame))
    writer.append(frames(position + 1), position + 1)
    rows = kept.staged()
    for path in tmp_path.glob("tail/*/*/*"):
        path.write_bytes(bytes(path.stat().st_size))
    assert kept.staged() == rows
    assert all(not positions(each) for each in Tails(tmp_path, Frame).staged()[SHARD])


def tear(writer: Tail, rows: pa.RecordBatch, random: Random) -> None:
    """Half of an append, as on a full disk."""
    write = os.pwrite

    def some(descriptor: int, data: memoryview, offset: int) -> int:
        write(descriptor, data[: random.randrange(len(data))], offset)
        raise OSError(ENOSPC, "full")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tail.os, "pwrite", some)
        with pytest.raises(OSError, match="full"):
            writer.append(rows, 0)


def assert_same(one: Tails, other: Tails) -> None:
    found, wanted = one.staged(), other.staged()
    assert {shard: [*map(positions, tables)] for shard, tables in found.items()} == {
        shard: [*map(positions, tables)] for shard, tables in wanted.items()
    }
    assert found == wanted


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
    assert positions(Tails(tmp_path, Frame).staged()[SHARD][0]) == [3, 4, 5, 6, 7]
    successor = Tail(tmp_path, Frame, SHARD, 2)
    successor.append(frames(7, 8), 8)
    assert [positions(rows) for rows in Tails(tmp_path, Frame).staged()[SHARD]] == [[7, 8], [3, 4, 5, 6, 7]]
    successor.remove(6)
    assert [positions(rows) for rows in Tails(tmp_path, Frame).staged()[SHARD]] == [[7, 8], [7]]
    successor.remove(7)
    assert [positions(rows) for rows in Tails(tmp_path, Frame).staged()[SHARD]] == [[7, 8]]


def test_a_tail_that_goes_while_it_is_listed_is_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    one.append(frames(1), 1)
    one.part()
    one.append(frames(2), 2)
    read = Tails._continued

    def late(tails: Tails, path: Path, known: tail.Read) -> tail.Read:
        one.remove(1)
        return read(tails, path, known)

    monkeypatch.setattr(Tails, "_continued", late)
    assert positions(Tails(tmp_path, Frame).staged()[SHARD][0]) == [2]


def test_what_an_older_release_wrote_is_read(tmp_path: Path) -> None:
    one = Tail(tmp_path, Frame, SHARD, 1)
    one.append(frames(1).drop_columns(["connection"]), 1)
    rows = Tails(tmp_path, Frame).staged()[SHARD][0]
    assert rows["connection"].to_pylist() == [None]
    assert positions(rows) == [1]


def test_a_host_without_tails_has_none(tmp_path: Path) -> None:
    assert Tails(tmp_path, Frame).staged() == {}
