"""Every missing id is named when its successor or a heartbeat shows it, and every gap's end is a row."""

import pickle
from typing import Any

import msgspec
import pytest

from dataflows.steps import gaps as module
from dataflows.steps.batch import batch_of
from dataflows.steps.gaps import DetectGaps, edited
from schemas import DeadLetter, Gap, Record, Tick, Trade
from schemas.run import records_of


def through(kit: Any, tape: Any, step: DetectGaps | None = None) -> list[Record]:
    """The records of a tape after decoding and the step, restarted at every frame."""
    decode = kit.Chain().decode
    step = step or DetectGaps(None, exchange="plain", continuity="contiguous")
    records: list[Record] = []
    for frame in tape.frames:
        records += step.step(decode.step(batch_of([frame]))).records
        state = pickle.loads(pickle.dumps(step.snapshot()))
        step = DetectGaps(state, exchange="plain", continuity="contiguous")
    assert step.step(decode.step(batch_of(tape.frames[:0] or [tape.tick(0)]))).records  # still works
    tape.frames.pop()
    return records


def shown(records: list[Record]) -> list[Any]:
    """Trades as (series, id), gaps as (series, first, last, status, reason, position)."""
    result: list[Any] = []
    for one in records:
        if isinstance(one, Trade):
            result.append((one.series, one.source_sequence))
        elif isinstance(one, Gap):
            missing = one.first_missing, one.last_missing
            result.append((one.series, *missing, one.status, one.reason, one.platform_sequence))
        elif isinstance(one, DeadLetter):
            result.append(one.reason)
    return result


def tape_of(kit: Any, *ids: int) -> Any:
    tape = kit.Tape()
    for identifier in ids:
        tape.trade(identifier, kit.START + identifier * 1_000)
    return tape


def test_a_gap_and_its_end_are_whole_rows(kit: Any) -> None:
    tape = tape_of(kit, 1, 4)
    tape.trade(2, kit.START + 2_000, kind="repair", received=kit.START + kit.SECOND)
    tape.trade(3, kit.START + 3_000, kind="repair", received=kit.START + 2 * kit.SECOND)
    records = through(kit, tape)
    opened = Gap(
        message_id="plain:spot:BTC-USDT:0:2-3:open",
        gap_id="plain:spot:BTC-USDT:0:2-3",
        exchange="plain",
        asset_class="crypto",
        market="spot",
        symbol="BTC-USDT",
        series=0,
        first_missing=2,
        last_missing=3,
        status="open",
        reason="ids",
        found=kit.START + 5_000,
        ended=None,
        shard="plain-0",
        platform_sequence=2,
    )
    ended = msgspec.structs.replace(
        opened,
        message_id="plain:spot:BTC-USDT:0:2-3:repaired",
        status="repaired",
        reason="repair",
        ended=kit.START + 2 * kit.SECOND,
        platform_sequence=4,
    )
    assert [one for one in records if isinstance(one, Gap)] == [opened, ended]
    assert records.index(opened) == 1  # before the trade that showed it
    assert shown(records)[-1] == (0, 2, 3, "repaired", "repair", 4)  # after the trade that ended it


def test_out_of_order_is_one_gap_that_closes(kit: Any) -> None:
    assert shown(through(kit, tape_of(kit, 1, 3, 2, 4))) == [
        (0, 1),
        (0, 2, 2, "open", "ids", 2),
        (0, 3),
        (0, 2),
        (0, 2, 2, "repaired", "late", 3),
        (0, 4),
    ]


def test_what_came_before_the_first_id_is_no_gap(kit: Any) -> None:
    assert shown(through(kit, tape_of(kit, 100, 101, 90, 102))) == [(0, 100), (0, 101), (0, 90), (0, 102)]


def test_an_outcome_ends_what_no_page_brought(kit: Any) -> None:
    tape = tape_of(kit, 1, 6)
    tape.trade(3, kit.START + 3_000, kind="repair", received=kit.START + kit.SECOND)
    tape.outcome(kit.START + 2 * kit.SECOND, 2, 5, "retention")
    assert shown(through(kit, tape))[2:] == [
        (0, 6),
        (0, 3),
        (0, 2, 5, "split", "partly", 4),
        (0, 2, 2, "lost", "retention", 4),
        (0, 3, 3, "repaired", "repair", 4),
        (0, 4, 5, "lost", "retention", 4),
    ]


def test_open_holes_say_what_to_ask_for(kit: Any) -> None:
    tape = tape_of(kit, 1, 9)
    tape.trade(5, kit.START + 5_000)
    step = DetectGaps(None, exchange="plain", continuity="contiguous")
    step.step(kit.Chain().decode.step(batch_of(tape.frames)))
    found, since = kit.START + 10_000, kit.START + 1_000
    assert step.open_holes() == [
        ("plain", "BTC-USDT", 0, 2, 4, found, since),
        ("plain", "BTC-USDT", 0, 6, 8, found, since),
    ]


def test_a_heartbeat_shows_a_gap_at_the_end_after_a_grace_period(kit: Any) -> None:
    tape = tape_of(kit, 1)
    now = kit.START + 1_000
    tape.frame(now, "control", [["h", "BTC-USDT", 3]])
    tape.tick(now + 3 * kit.SECOND - 1)
    tape.tick(now + 3 * kit.SECOND)
    tape.trade(2, kit.START + 2_000)
    tape.trade(3, kit.START + 3_000)
    tape.trade(4, kit.START + 4_000)
    records = through(kit, tape)
    assert shown(records) == [
        (0, 1),
        (0, 2, 3, "open", "heartbeat", 4),
        (0, 2),
        (0, 3),
        (0, 2, 3, "repaired", "late", 6),
        (0, 4),
    ]
    (opened,) = [one for one in records if isinstance(one, Gap) and one.status == "open"]
    assert opened.found == now + 3 * kit.SECOND
    assert isinstance(records[records.index(opened) + 1], Tick)


def test_a_heartbeat_that_overtakes_its_trade_shows_nothing(kit: Any) -> None:
    tape = tape_of(kit, 1)
    tape.frame(kit.START, "control", [["h", "BTC-USDT", 2]])
    tape.frame(kit.START, "control", [["h", "ETH-USDT", 9]])  # of a market without trades
    tape.frame(kit.START, "control", [["h", "BTC-USDT", 10**9]])
    tape.trade(2, kit.START + 2_000)
    tape.tick(kit.START + 9 * kit.SECOND)
    assert shown(through(kit, tape)) == [(0, 1), (0, 2)]


@pytest.mark.parametrize("highest", [1_000_000, 5_000, 200])
def test_ids_that_begin_again_are_another_series(kit: Any, highest: int) -> None:
    tape = kit.Tape()
    times = iter(range(kit.START, kit.START + 10**9, 1_000))
    for identifier in (highest - 150, *range(highest - 20, highest + 1), 1, 2, 4):
        tape.trade(identifier, next(times))
    records = through(kit, tape)
    assert shown(records)[-4:] == [(1, 1), (1, 2), (1, 3, 3, "open", "ids", 25), (1, 4)]
    trades = [one for one in records if isinstance(one, Trade)]
    assert trades[-1].message_id == "plain:spot:BTC-USDT:1:4"
    assert trades[-5].message_id == f"plain:spot:BTC-USDT:0:{highest - 0 - 1}"


@pytest.mark.parametrize("rogue", [10**12, 3])
def test_one_rogue_id_derails_nothing(kit: Any, rogue: int) -> None:
    tape = kit.Tape()
    for at, identifier in enumerate((5_000, 5_001, rogue, 5_002, 5_004, 5_003, 5_005)):
        tape.trade(identifier, kit.START + at * 1_000)
    records = through(kit, tape)
    assert shown(records) == [
        (0, 5_000),
        (0, 5_001),
        (1, rogue),
        (0, 5_002),
        (0, 5_003, 5_003, "open", "ids", 5),
        (0, 5_004),
        (0, 5_003),
        (0, 5_003, 5_003, "repaired", "late", 6),
        (0, 5_005),
    ]


def test_a_page_fills_the_series_of_its_time(kit: Any) -> None:
    tape = kit.Tape()
    for at, identifier in enumerate((100, 1_500, 1, 900)):
        tape.trade(identifier, kit.START + at * 1_000)
    for age in (500, 2_500):
        tape.trade(500, kit.START + age, kind="repair", received=kit.START + kit.SECOND)
    tape.trade(901, kit.START + 9_000)
    assert shown(through(kit, tape))[-3:] == [(0, 500), (1, 500), (1, 901)]


def test_a_series_that_was_left_ends_and_what_it_missed_is_lost(kit: Any) -> None:
    tape = kit.Tape()
    ids = [100_000, 100_002, *range(1, 1_003), 1_005]
    for at, identifier in enumerate(ids):
        tape.trade(identifier, kit.START + at * 1_000)
    decode, step = kit.Chain().decode, DetectGaps(None, exchange="plain", continuity="contiguous")
    batch = step.step(decode.step(batch_of(tape.frames)))
    assert [row for row in shown(records_of(batch.records)) if len(row) > 2] == [
        (0, 100_001, 100_001, "open", "ids", 2),
        (0, 100_001, 100_001, "lost", "restarted", len(ids) - 1),
        (1, 1_003, 1_004, "open", "ids", len(ids)),
    ]
    assert batch.counts["sequence_restarts"] == 1


def test_many_rogues_leave_a_bounded_number_of_series(kit: Any) -> None:
    tape = kit.Tape()
    for at in range(30):
        tape.trade(5_000 + at, kit.START + 2 * at * 1_000)
        tape.trade(10**10 * (at + 1), kit.START + (2 * at + 1) * 1_000)
    step = DetectGaps(None, exchange="plain", continuity="contiguous")
    batch = step.step(kit.Chain().decode.step(batch_of(tape.frames)))
    assert len(step.snapshot()[1][0][3]) == module.SERIES_MAX
    assert [row for row in shown(records_of(batch.records)) if row[0] == 0] == [
        (0, 5_000 + at) for at in range(30)
    ]
    assert batch.counts["sequence_jumps"] == 30


def test_ranges_touch_or_miss(kit: Any) -> None:
    tape = tape_of(kit, 1)
    decoded = kit.Chain().decode.step(batch_of(tape.frames))
    ranges = [(1, 3), (4, 4), (7, 9), (5, 5), (6, 7), (9, 12)]
    trade = decoded.records[0]
    decoded.records = [
        msgspec.structs.replace(trade, first_sequence=first, last_sequence=last, source_sequence=last)
        for first, last in ranges
    ]
    step = DetectGaps(None, exchange="plain", continuity="range")
    assert shown(step.step(decoded).records) == [
        (0, 3),
        (0, 4),
        (0, 5, 6, "open", "ids", 1),
        (0, 9),
        (0, 5),
        (0, 7),
        (0, 5, 6, "repaired", "late", 1),
        (0, 12),
    ]


def test_ids_below_memory_are_dead_letters(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.steps.series.INTERVALS_MAX", 1)
    records = through(kit, tape_of(kit, 1, 3, 5, 2, 3, 6))  # 2 is forgotten, 3 is not
    assert shown(records) == [
        (0, 1),
        (0, 2, 2, "open", "ids", 2),
        (0, 3),
        (0, 4, 4, "open", "ids", 3),
        (0, 2, 2, "lost", "memory", 3),
        (0, 5),
        "beyond_memory",
        (0, 3),
        (0, 6),
    ]


def test_a_range_is_below_memory_only_with_its_last_id(kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.steps.series.INTERVALS_MAX", 1)
    tape = tape_of(kit, 1, 3, 5)
    decoded = kit.Chain().decode.step(batch_of(tape.frames))
    trades = records_of(decoded.records)
    decoded.records = [
        *trades,  # 2 is forgotten, and the floor is 3
        msgspec.structs.replace(trades[2], first_sequence=1, last_sequence=2, source_sequence=2),
        msgspec.structs.replace(trades[2], first_sequence=2, last_sequence=4, source_sequence=4),
    ]
    step = DetectGaps(None, exchange="plain", continuity="range")
    assert shown(step.step(decoded).records)[-4:] == [
        (0, 5),
        "beyond_memory",
        (0, 4),
        (0, 4, 4, "repaired", "late", 3),
    ]


def test_a_late_trade_does_not_make_repetitions_a_restart(kit: Any) -> None:
    tape = tape_of(kit, *range(1, 150), *range(151, 301), 150, 160)
    assert shown(through(kit, tape))[-3:] == [
        (0, 150),
        (0, 150, 150, "repaired", "late", 300),
        (0, 160),
    ]


@pytest.mark.parametrize("continuity", ["monotonic", "none"])
def test_ids_that_prove_nothing_show_no_gap(kit: Any, continuity: str) -> None:
    step = DetectGaps(None, exchange="plain", continuity=continuity)
    batch = kit.Chain().decode.step(batch_of(tape_of(kit, 1, 9, 4).frames))
    assert shown(records_of(step.step(batch).records)) == [(0, 1), (0, 9), (0, 4)]
    assert step.open_holes() == []


def test_edits_replace_records_in_order() -> None:
    assert edited(["a", "b", "c", "d"], [(1, []), (3, ["x", "y"])]) == ["a", "c", "x", "y"]  # type: ignore[list-item, comparison-overlap]
