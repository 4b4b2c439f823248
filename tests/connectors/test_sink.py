"""A shard's partition is its slot's; that the engine then keeps it in one worker is tested with the keys."""

import pytest
from bytewax.outputs import StatefulSinkPartition

from connectors.sink import ShardSink
from connectors.slots import Slot

# Later venues stand before earlier ones in the alphabet, and 10 before 9.
SLOTS = [Slot(number, f"{'zyx'[number % 3]}-{number}", f"key {number}") for number in range(11)]


class Sink(ShardSink[str, None]):
    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StatefulSinkPartition[str, None]:
        raise NotImplementedError


def test_a_shards_partition_is_its_slots() -> None:
    sink = Sink(SLOTS)
    assert sink.list_parts() == [slot.partition for slot in SLOTS] == sorted(sink.list_parts())
    assert [sink.part_fn(slot.key) for slot in SLOTS] == list(range(11))


def test_what_has_no_slot_is_a_defect() -> None:
    with pytest.raises(KeyError, match="key 11"):
        Sink(SLOTS).part_fn("key 11")
