"""Keys go to the worker that has their slot's partitions: by our arithmetic, and by the engine itself."""

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import StatefulSinkPartition
from bytewax.testing import cluster_main

from connectors.placement import WORKERS_MAX, key_of, worker_of
from connectors.sink import ShardSink
from connectors.slots import Slot

SLOTS = [Slot(number, f"venue-{number}", key_of(number, f"venue-{number}")) for number in range(11)]


def test_a_key_goes_to_its_slots_worker_for_every_worker_count() -> None:
    for slot in SLOTS:
        for workers in range(1, WORKERS_MAX + 1):
            assert worker_of(slot.key, workers) == slot.number % workers


def test_the_search_ends_at_the_same_key_every_time() -> None:
    assert key_of(0, "binance-0") == "0000-binance-0-0058080"


class Seen:
    """Which thread, that is which worker, had a slot's items at each stage."""

    def __init__(self) -> None:
        self.threads: dict[str, set[int]] = {}

    def note(self, key: str) -> None:
        self.threads.setdefault(key, set()).add(threading.get_ident())


class Source(FixedPartitionedSource[Any, Any]):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def list_parts(self) -> list[str]:
        return [slot.partition for slot in SLOTS]

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "Once":
        return Once(next(slot.key for slot in SLOTS if slot.partition == for_part), self.seen)


class Once(StatefulSourcePartition[Any, Any]):
    def __init__(self, key: str, seen: Seen) -> None:
        self.key, self.seen, self.left = key, seen, 2

    def next_batch(self) -> list[Any]:
        if not self.left:
            raise StopIteration
        self.left -= 1
        self.seen.note(self.key)
        return [(self.key, self.key)]

    def snapshot(self) -> None:
        return None


class Step(StatefulBatchLogic[Any, Any, Any]):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def on_batch(self, values: list[str]) -> tuple[list[str], bool]:
        for value in values:
            self.seen.note(value)
        return values, False

    def snapshot(self) -> None:
        return None


class Sink(ShardSink[Any, Any]):
    def __init__(self, seen: Seen) -> None:
        super().__init__(SLOTS)
        self.seen = seen

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "Written":
        return Written(self.seen)


class Written(StatefulSinkPartition[Any, Any]):
    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def write_batch(self, items: list[str]) -> None:
        for item in items:
            self.seen.note(item)

    def snapshot(self) -> None:
        return None


@pytest.mark.parametrize("workers", range(1, 9))
def test_the_engine_keeps_a_shard_in_one_worker_from_source_to_sink(workers: int) -> None:
    seen = Seen()
    flow = Dataflow("placed")
    stream = op.input("receive", flow, Source(seen))
    stepped = op.stateful_batch("step", stream, lambda _: Step(seen))
    op.output("write", stepped, Sink(seen))

    cluster_main(flow, [], 0, worker_count_per_proc=workers)

    assert seen.threads.keys() == {slot.key for slot in SLOTS}
    assert all(len(threads) == 1 for threads in seen.threads.values())
    by_number = [min(seen.threads[slot.key]) for slot in SLOTS]
    assert len(set(by_number)) == workers
    assert all(by_number[number] == by_number[number % workers] for number in range(len(SLOTS)))
