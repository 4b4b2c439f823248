"""Tells the repairer of the same process which holes are open, each time that a tick passes.

A replay tells what was open then; the repairer listens from where the journal ended when it began to live.
"""

from collections.abc import Callable
from typing import Any

from dataflows.steps.batch import Batch
from dataflows.steps.gaps import DetectGaps, OpenHole
from schemas import Tick

# (shard, holes, position of the batch's last frame, time of its last tick)
Tell = Callable[[str, list[OpenHole], int, int], None]


class Telling:
    """The step that detects gaps, with somebody who wants to know of them."""

    def __init__(self, step: DetectGaps, tell: Tell) -> None:
        self._step = step
        self._tell = tell

    def step(self, batch: Batch) -> Batch:
        after = self._step.step(batch)
        time = next((one.time for one in reversed(after.records) if type(one) is Tick), None)
        if time is not None:
            self._tell(batch.shard, self._step.open_holes(), batch.last, time)
        return after

    def snapshot(self) -> tuple[Any, ...]:
        return self._step.snapshot()
