"""A step's state is its own: what goes through, what goes by, and what is stored of it."""

from typing import Any

import pytest

from connectors import failpoints
from connectors.source import Pulse
from dataflows.engine import StepLogic
from dataflows.steps.batch import Batch


class Count:
    """A step that numbers batches."""

    def __init__(self, shard: str, state: int | None) -> None:
        self.shard, self.number = shard, state or 0

    def step(self, batch: Batch) -> Batch:
        self.number += 1
        batch.count(f"{self.shard}_number", self.number)
        return batch

    def snapshot(self) -> int:
        return self.number


def logic(state: Any = None) -> StepLogic:
    return StepLogic("decode", Count, state)


def batch() -> Batch:
    return Batch("binance-0", 1, 1, [], [], {})


def test_batches_go_through_and_pulses_go_by() -> None:
    pulse = Pulse("binance-0")
    items, discard = logic().on_batch([pulse, batch(), batch(), pulse])

    assert (items[0], items[3], discard) == (pulse, pulse, False)
    assert [item.counts for item in items[1:3] if isinstance(item, Batch)] == [
        {"binance-0_number": 1},
        {"binance-0_number": 2},
    ]


def test_what_is_stored_brings_it_back() -> None:
    first = logic()
    first.on_batch([batch(), batch()])

    state = first.snapshot()
    [item], _ = logic(state).on_batch([batch()])

    assert state == ("binance-0", 2)
    assert isinstance(item, Batch)
    assert item.counts == {"binance-0_number": 3}


def test_a_pulse_changes_no_state() -> None:
    only = logic()
    only.on_batch([Pulse("binance-0")])
    assert only.snapshot() == ("binance-0", 0)


@pytest.mark.parametrize("place", ["decode.batch", "decode.snapshot"])
def test_each_step_has_its_failpoints(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{place}:error"))
    step = logic()

    def use() -> None:
        step.on_batch([batch()])
        step.snapshot()

    with pytest.raises(failpoints.Failed, match=place):
        use()
