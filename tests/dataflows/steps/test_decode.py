"""Frames of every kind become their records, and our own frames that cannot be read are dead letters."""

import pickle
from typing import Any

from dataflows.steps.batch import batch_of
from schemas import Control, DeadLetter, Frame, Outcome, Record, Tick


def decoded(kit: Any, frames: list[Frame]) -> list[Record]:
    records: list[Record] = kit.Chain().decode.step(batch_of(frames)).records
    return records


def test_live_frames_become_records_and_frames_are_counted_by_kind(kit: Any) -> None:
    tape = kit.Tape()
    tape.frame(kit.START, "connection", {"what": "opened"})
    tape.trade(7, kit.START, "1.5", "2", "SELL")
    tape.frame(kit.START + 5, "control", [["h", "BTC-USDT", 9]])
    batch = kit.Chain().decode.step(batch_of(tape.frames))
    assert batch.records == [
        kit.trade(7, kit.START, "1.5", "2", "SELL", position=2),
        Control("plain", "plain-0", 3, kit.START + 5, "heartbeat", "BTC-USDT", 9),
    ]
    assert batch.counts == {"frames": 3, "frames_connection": 1}


def test_pages_come_through_their_own_decoder(kit: Any) -> None:
    tape = kit.Tape()
    tape.trade(7, kit.START, "1.5", "2", "SELL", kind="repair", received=kit.START + 9)
    expected = kit.trade(7, kit.START, "1.5", "2", "SELL", received=kit.START + 9, origin="repair")
    assert decoded(kit, tape.frames) == [expected]


def test_ticks_say_their_time_or_when_they_were_journalled(kit: Any) -> None:
    tape = kit.Tape()
    tape.tick(kit.START)
    tape.frame(kit.START + 9, "tick", {"time": kit.START + 5})
    assert decoded(kit, tape.frames) == [
        Tick("plain-0", 1, kit.START),
        Tick("plain-0", 2, kit.START + 5),
    ]


def test_outcomes_are_read(kit: Any) -> None:
    tape = kit.Tape()
    tape.outcome(kit.START, 5, 9, "retention")
    assert decoded(kit, tape.frames) == [
        Outcome("plain-0", 1, kit.START, "plain", "BTC-USDT", 0, 5, 9, "retention", 1)
    ]


def test_metadata_replaces_the_instruments_also_after_a_restart(kit: Any) -> None:
    tape = kit.Tape()
    tape.frame(kit.START, "metadata", ["DOGE-EUR"])
    tape.trade(1, kit.START, "1", "1", "BUY", symbol="DOGE-EUR")
    tape.trade(1, kit.START, "1", "1", "BUY")
    chain = kit.Chain()
    assert chain.decode.step(batch_of(tape.frames[:1])).records == [
        Control("plain", "plain-0", 1, kit.START, "metadata", detail="1 instruments")
    ]
    state = pickle.loads(pickle.dumps(chain.snapshot()))
    records = kit.Chain(state).decode.step(batch_of(tape.frames[1:])).records
    assert records == [
        kit.trade(1, kit.START, "1", "1", "BUY", symbol="DOGE-EUR", position=2),
        kit.letter(tape.frames[2], 0, "unknown"),
    ]


def test_what_we_cannot_read_of_our_own_frames_is_a_dead_letter(kit: Any) -> None:
    tape = kit.Tape()
    for kind in ("tick", "outcome", "metadata"):
        tape.frame(kit.START, kind, b"\xff{")
    tape.trade(1, kit.START, "1", "1", "BUY")
    records = decoded(kit, tape.frames)
    assert [(type(one), one.reason, one.index) for one in records[:3] if isinstance(one, DeadLetter)] == [
        (DeadLetter, "malformed", 0)
    ] * 3
    assert records[3] == kit.trade(1, kit.START, "1", "1", "BUY", position=4)  # with the old instruments
