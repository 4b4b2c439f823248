"""What was stored is dropped once more, with a reason; what cannot be told is a dead letter."""

import pickle
import random
from typing import Any

import msgspec
import pytest

from dataflows.steps import duplicates
from dataflows.steps.batch import Batch
from dataflows.steps.duplicates import DropDuplicates, Stored
from dataflows.steps.intervals import Intervals
from schemas import DeadLetter, Record, Trade

OVERLAP = 120 * 1_000_000


def dropped(step: DropDuplicates, kit: Any, records: list[Record], *, age: int = OVERLAP + 1) -> Batch:
    """The batch of those records after the step; each has a frame, on a connection of that age."""
    tape = kit.Tape()
    placed: list[Record] = []
    for record in records:
        tape.connection = record.ingestion_timestamp - age
        frame = tape.frame(record.ingestion_timestamp, "data", b"[]")
        placed.append(msgspec.structs.replace(record, platform_sequence=frame.position))
    return step.step(Batch("plain-0", 1, len(records), tape.frames, placed, {}))


def ids(batch: Batch) -> list[int | None]:
    return [one.source_sequence for one in batch.records if isinstance(one, Trade)]


@pytest.mark.parametrize(
    ("age", "origin", "reason"),
    [
        (OVERLAP + 1, "live", "venue"),
        (OVERLAP, "live", "overlap"),
        (0, "repair", "repair"),
        (0, "replay", "replay"),
    ],
)
def test_a_repetition_is_dropped_and_counted_by_how_it_came(
    kit: Any, age: int, origin: str, reason: str
) -> None:
    step = DropDuplicates(None, continuity="contiguous")
    trades = [kit.trade(one, kit.START) for one in (1, 2, 5, 3)]
    again = [msgspec.structs.replace(one, origin=origin) for one in trades]
    assert ids(dropped(step, kit, trades)) == [1, 2, 5, 3]
    batch = dropped(step, kit, [*again, kit.trade(4, kit.START), kit.trade(6, kit.START)], age=age)
    assert ids(batch) == [4, 6]
    assert batch.counts == {f"duplicates_{reason}": 4}


def test_other_content_under_a_stored_id_is_a_conflict_and_the_first_stays(kit: Any) -> None:
    step = DropDuplicates(None, continuity="contiguous")
    first = kit.trade(1, kit.START, "100", "1")
    others = [kit.trade(1, kit.START, "101", "1"), kit.trade(1, kit.START, "100", "2")]
    batch = dropped(step, kit, [first, *others, kit.trade(1, kit.START + 1_000), first])
    assert batch.records[0] is not None
    assert ids(batch) == [1]
    letters = [one for one in batch.records if isinstance(one, DeadLetter)]
    assert [(one.reason, one.stage, one.platform_sequence) for one in letters] == [
        ("conflict", "drop_duplicates", position) for position in (2, 3, 4)
    ]
    assert letters[0].detail == f"first copy was ('100', '1', {kit.START})"
    assert batch.counts == {"dead_letters_conflict": 3, "duplicates_venue": 1}
    restarted = DropDuplicates(pickle.loads(pickle.dumps(step.snapshot())), continuity="contiguous")
    assert dropped(restarted, kit, others[:1]).counts == {"dead_letters_conflict": 1}


def test_a_history_that_writes_more_noughts_and_cuts_times_says_the_same(kit: Any) -> None:
    step = DropDuplicates(None, continuity="contiguous")
    first = kit.trade(1, kit.START + 999, "100.5", "1")
    batch = dropped(step, kit, [first, kit.trade(1, kit.START, "100.50000000", "1.0")])
    assert ids(batch) == [1]
    assert batch.counts == {"duplicates_venue": 1}


def test_content_is_forgotten_in_two_steps(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "CONTENTS_MAX", 4)
    step = DropDuplicates(None, continuity="contiguous")
    dropped(step, kit, [kit.trade(one, kit.START) for one in range(1, 10)])
    changed = [kit.trade(one, kit.START, "7") for one in range(1, 10)]
    batch = dropped(step, kit, changed)
    assert [one.platform_sequence for one in batch.records] == [5, 6, 7, 8, 9]
    assert batch.counts == {"duplicates_venue": 4, "dead_letters_conflict": 5}


def test_the_same_ids_of_a_later_series_are_other_trades(kit: Any) -> None:
    step = DropDuplicates(None, continuity="contiguous")
    first = kit.trade(1, kit.START)
    later = msgspec.structs.replace(first, series=1, message_id="plain:spot:BTC-USDT:1:1")
    assert dropped(step, kit, [first, later, first, later]).counts == {"duplicates_venue": 2}
    restarted = DropDuplicates(step.snapshot(), continuity="contiguous")
    assert dropped(restarted, kit, [first, later]).counts == {"duplicates_venue": 2}


def test_the_number_of_later_series_is_bounded(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "LATER_MAX", 2)
    step = DropDuplicates(None, continuity="contiguous")
    first = kit.trade(1, kit.START)
    rogues = [msgspec.structs.replace(first, series=one, message_id=str(one)) for one in (1, 2, 3)]
    dropped(step, kit, rogues)
    assert [key for key, _ in step.snapshot()[2]] == [("BTC-USDT", 2), ("BTC-USDT", 3)]


def test_below_the_floor_nothing_is_called_a_duplicate(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "INTERVALS_MAX", 2)
    step = DropDuplicates(None, continuity="contiguous")
    assert ids(dropped(step, kit, [kit.trade(one, kit.START) for one in (1, 3, 5, 7)])) == [1, 3, 5, 7]
    batch = dropped(step, kit, [kit.trade(one, kit.START) for one in (1, 2, 3, 4, 6, 7)])
    # The hole at 2 was forgotten, and with it that 1 was stored.
    assert [one.reason if isinstance(one, DeadLetter) else one.source_sequence for one in batch.records] == [
        "beyond_memory",
        "beyond_memory",
        4,
        6,
    ]
    assert batch.counts == {"dead_letters_beyond_memory": 2, "duplicates_venue": 2}


def test_a_range_is_below_the_floor_only_with_its_last_id(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "INTERVALS_MAX", 2)

    def span(first: int, last: int) -> Trade:
        made = kit.trade(last, kit.START)
        return msgspec.structs.replace(made, first_sequence=first, last_sequence=last)

    step = DropDuplicates(None, continuity="range")
    assert ids(dropped(step, kit, [span(one, one) for one in (1, 3, 5, 7)])) == [1, 3, 5, 7]
    batch = dropped(step, kit, [span(1, 2), span(2, 4), span(3, 4)])  # the floor is 3
    assert ids(batch) == [4]
    assert batch.counts == {"dead_letters_beyond_memory": 1, "duplicates_venue": 1}


def test_stored_is_a_set_of_ids(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(200):
        model: set[int] = set()
        stored = Stored(50, 51, 0, Intervals())
        model.add(50)
        for _ in range(60):
            first = chance.randrange(100)
            last = first + chance.choice((0, 0, 0, 4))
            span = set(range(first, last + 1))
            assert stored.add(first, last) == (not span <= model)
            model |= span
            kept = set(range(stored.first, stored.next))
            kept -= {one for low, high in stored.missing for one in range(low, high + 1)}
            assert kept == model


def test_quotes_never_go_back(kit: Any) -> None:
    frame = kit.Tape().frame(kit.START, "data", b"[]")

    def quote(update: int | None) -> Record:
        made = kit.quote(update or 0, kit.START, ("1", "1"), ("2", "1"), frame)
        return msgspec.structs.replace(made, source_sequence=update)

    step = DropDuplicates(None, continuity="contiguous")
    updates = (20_000_000, 20_000_003, 20_000_003, 20_000_001, None, None, 5, 6, 4)
    batch = dropped(step, kit, [quote(one) for one in updates])
    # 5 is so far back that the venue has begun to count again.
    assert [one.source_sequence for one in batch.records] == [20_000_000, 20_000_003, None, None, 5, 6]
    assert batch.counts == {"duplicates_venue": 1, "duplicates_stale": 2}
    restarted = DropDuplicates(step.snapshot(), continuity="contiguous")
    assert dropped(restarted, kit, [quote(6), quote(7)]).counts == {"duplicates_venue": 1}


def named(kit: Any, name: str, time: int) -> Trade:
    """A trade whose id cannot be counted."""
    changes = {"trade_id": name, "message_id": name, "source_sequence": None}
    made: Trade = msgspec.structs.replace(
        kit.trade(1, time), **changes, first_sequence=None, last_sequence=None
    )
    return made


@pytest.mark.parametrize("restarted", [True, False])
def test_an_older_trade_or_a_restart_does_not_make_memory_longer(kit: Any, *, restarted: bool) -> None:
    step = DropDuplicates(None, continuity="none")
    newest = kit.START + 3_600 * kit.SECOND
    assert dropped(step, kit, [named(kit, "new", newest), named(kit, "old", kit.START + 2)]).counts == {}
    if restarted:
        step = DropDuplicates(pickle.loads(pickle.dumps(step.snapshot())), continuity="none")
    batch = dropped(step, kit, [named(kit, "older", kit.START - 1), named(kit, "oldest", kit.START)])
    assert [one.reason if isinstance(one, DeadLetter) else one.trade_id for one in batch.records] == [
        "beyond_memory",
        "oldest",
    ]


def test_ids_that_cannot_be_counted_are_remembered_for_an_hour(kit: Any, monkeypatch: Any) -> None:
    step = DropDuplicates(None, continuity="none")
    hour = 3_600 * kit.SECOND

    batch = dropped(
        step, kit, [named(kit, "a", kit.START), named(kit, "b", kit.START + hour), named(kit, "a", kit.START)]
    )
    assert [one.trade_id for one in batch.records] == ["a", "b"]
    step = DropDuplicates(pickle.loads(pickle.dumps(step.snapshot())), continuity="none")
    batch = dropped(step, kit, [named(kit, "c", kit.START + hour + 1), named(kit, "a", kit.START)])
    assert [one.reason if isinstance(one, DeadLetter) else one.trade_id for one in batch.records] == [
        "c",
        "beyond_memory",
    ]
    monkeypatch.setattr(duplicates, "WORDS_MAX", 2)
    dropped(step, kit, [named(kit, "d", kit.START + hour), named(kit, "e", kit.START + hour)])
    assert [key[1] for key, _ in step.snapshot()[4]] == ["d", "e"]
