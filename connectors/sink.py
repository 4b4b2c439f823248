"""What every sink of the engine has in common: a partition for each slot, as the source has.

The engine hands partition i, as sorted, of n workers to worker i mod n, and gives an item to the partition
that we number from its key. What a shard causes carries the key of its slot, chosen to go where partition i
goes: then it is written in the worker that has read it. What becomes of it is not said here.
"""

from collections.abc import Iterable
from typing import TypeVar

from bytewax.outputs import FixedPartitionedSink

from connectors.slots import Slot

Item = TypeVar("Item")
State = TypeVar("State")


class ShardSink(FixedPartitionedSink[Item, State]):
    """Writes each shard in the partition of its slot."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._slots = {slot.partition: slot for slot in slots}
        self._numbers = {slot.key: slot.number for slot in self._slots.values()}

    def list_parts(self) -> list[str]:
        """Every slot ever given: the engine dies of state without its partition."""
        return list(self._slots)

    def part_fn(self, item_key: str) -> int:
        """The partition of the key's slot."""
        return self._numbers[item_key]
