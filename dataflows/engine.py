"""Steps as operators of the engine: the one place where our state classes and Bytewax meet.

A step has one state per shard, which the engine keeps by the shard's key. What it stores is the shard's name
and what the step's `snapshot` returns, plain values only: classes move, and then what was stored of them is
lost.
"""

from collections.abc import Callable
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from connectors.callbacks import said_first
from connectors.failpoints import failpoint
from connectors.source import Pulse
from dataflows.steps.batch import Batch

Item = Batch | Pulse


class Step(Protocol):
    """One step's state of one shard."""

    def step(self, batch: Batch) -> Batch: ...
    def snapshot(self) -> Any: ...


# Makes the state of a shard: a new one, or the one that `snapshot` described.
Begin = Callable[[str, Any | None], Step]


def apply(name: str, stream: KeyedStream[Item], begin: Begin) -> KeyedStream[Item]:
    """The stream behind a step."""
    return op.stateful_batch(name, stream, lambda state: StepLogic(name, begin, state))


class StepLogic(StatefulBatchLogic[Item, Item, Any]):
    """One shard's state of a step: batches go through it, pulses go by."""

    @said_first
    def __init__(self, name: str, begin: Begin, state: tuple[str, Any] | None) -> None:
        self.name = name
        self._at_batch, self._at_snapshot = f"{name}.batch", f"{name}.snapshot"
        self._begin = begin
        self._step: Step | None = None
        if state is not None:
            self._shard, inner = state
            self._step = begin(self._shard, inner)

    @said_first
    def on_batch(self, values: list[Item]) -> tuple[list[Item], bool]:
        """Every item, in order."""
        if self._step is None:
            self._shard = values[0].shard
            self._step = self._begin(self._shard, None)
        after: list[Item] = []
        for value in values:
            if isinstance(value, Batch):
                failpoint(self._at_batch)
                after.append(self._step.step(value))
            else:
                after.append(value)
        return after, StatefulBatchLogic.RETAIN

    @said_first
    def snapshot(self) -> tuple[str, Any]:
        """What `__init__` takes."""
        failpoint(self._at_snapshot)
        assert self._step is not None, "only what has seen an item is asked"
        return self._shard, self._step.snapshot()
