"""Who is told when what: the engine has no hook that says that an epoch is durable, so sources say it here.

A source partition is called again after its snapshot of an epoch only when that epoch is durable everywhere.
One value of this per process, given to its sources and sinks.
"""

from collections import defaultdict
from collections.abc import Callable

Told = Callable[[int], None]  # called with the position up to which a shard's frames are durable


class Durable:
    """Carries the word from the sources of a process to all that wait for it, shard by shard."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, list[Told]] = defaultdict(list)
        self._snapshots: dict[str, int] = {}
        self.positions: dict[str, int] = {}

    def tell(self, shard: str, told: Told) -> None:
        """Have `told` called from now on, in the thread of the shard's worker."""
        self._waiting[shard].append(told)

    def snapshot(self, shard: str, position: int) -> None:
        """The source of a shard has ended an epoch behind this position."""
        self._snapshots[shard] = position

    def reached(self, shard: str) -> None:
        """The last snapshot of a shard's source is durable."""
        position = self._snapshots.pop(shard)
        self.positions[shard] = position
        for told in self._waiting[shard]:
            told(position)

    def ended(self) -> None:
        """The engine has returned, and not by an exception: every last snapshot is durable."""
        for shard in list(self._snapshots):
            self.reached(shard)
