"""A refused record keeps where it came from."""

from typing import Any

import pytest

from dataflows.steps.batch import batch_of
from schemas import DeadLetter, Trade


def test_a_batch_begins_with_its_frames(kit: Any) -> None:
    tape = kit.Tape()
    for identifier in (1, 2, 3):
        tape.trade(identifier, kit.START, "1", "1", "BUY")
    batch = batch_of(tape.frames[1:])
    assert (batch.shard, batch.first, batch.last, batch.records, batch.counts) == ("plain-0", 2, 3, [], {})
    assert batch.frame(3) is tape.frames[2]
    with pytest.raises(IndexError):
        batch.frame(4)


def test_a_refused_record_keeps_its_frame_and_its_place_in_it(kit: Any) -> None:
    tape = kit.Tape()
    items = [["t", "BTC-USDT", one, kit.START, "1", "1", "BUY"] for one in (1, 2)]
    frame = tape.frame(kit.START + 1_000, "data", [*items, ["x"]])
    batch = kit.Chain().decode.step(batch_of(tape.frames))
    assert [type(one) for one in batch.records] == [Trade, Trade, DeadLetter]
    assert batch.refuse(1, "validate", "time", "too late") == DeadLetter(
        message_id="plain:plain-0:1:1",
        exchange="plain",
        stage="validate",
        reason="time",
        detail="too late",
        symbol="BTC-USDT",
        shard="plain-0",
        platform_sequence=1,
        connection=frame.connection,
        number=1,
        index=1,
        received=frame.received,
        payload=frame.payload,
    )
    assert batch.counts["dead_letters_time"] == 1


def test_rows_of_gaps_do_not_count_as_records_of_their_frame(kit: Any) -> None:
    tape = kit.Tape()
    prices = ((1, "1"), (3, "0"))
    tape.frame(
        kit.START, "data", [["t", "BTC-USDT", one, kit.START, price, "1", "BUY"] for one, price in prices]
    )
    (letter,) = [one for one in kit.Chain().feed(tape.frames) if isinstance(one, DeadLetter)]
    assert (letter.index, letter.message_id) == (1, "plain:plain-0:1:1")
