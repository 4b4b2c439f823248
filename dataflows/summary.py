"""What went through the flow, counted by venue: the last words of a run. A sink, to miss no epoch."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from bytewax.outputs import StatefulSinkPartition

from connectors.callbacks import said_first
from connectors.sink import ShardSink
from connectors.slots import Slot
from dataflows.engine import Item
from dataflows.steps.batch import Batch
from schemas.shards import exchange_of

# What is said of a venue, and the counts of batches that each sums up: one, or all that begin so.
WORDS = {
    "frames": "frames",
    "trades": "trades",
    "duplicates": "duplicates_",
    "dead letters": "dead_letters_",
    "gaps found": "gaps_open",
    "gaps repaired": "gaps_repaired",
    "gaps lost": "gaps_lost",
}


class Summary(ShardSink[Item, int]):
    """Adds up what batches count; it begins with the process, as what it says is about a run."""

    def __init__(self, slots: Sequence[Slot], observe: Callable[[Batch], None] = lambda _: None) -> None:
        super().__init__(slots)
        self._observe = observe
        self.totals: defaultdict[str, Counter[str]] = defaultdict(Counter)

    name = "summarise"

    @said_first
    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> "SummaryPartition":
        """One shard's."""
        venue = exchange_of(self._slots[for_part].shard)
        return SummaryPartition(for_part, self.totals[venue], self._observe)

    def lines(self) -> Iterable[str]:
        """A line for each venue."""
        for venue, counted in sorted(self.totals.items()):
            said = (f"{total(counted, count):,} {word}" for word, count in WORDS.items())
            yield f"{venue}: {', '.join(said)}"


class SummaryPartition(StatefulSinkPartition[Item, int]):
    """Counts into its venue."""

    def __init__(self, name: str, counted: Counter[str], observe: Callable[[Batch], None]) -> None:
        self._observe = observe
        self.name = name
        self._counted = counted

    @said_first
    def write_batch(self, items: list[Item]) -> None:
        """Add what each batch counted."""
        for item in items:
            if isinstance(item, Batch):
                self._counted.update(item.counts)
                self._observe(item)

    @said_first
    def snapshot(self) -> int:
        """Nothing to remember; the engine wants a value."""
        return 0


def total(counted: Counter[str], count: str) -> int:
    """One count, or all that begin so."""
    if not count.endswith("_"):
        return counted[count]
    return sum(number for name, number in counted.items() if name.startswith(count))
