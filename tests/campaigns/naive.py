"""A sink that is wrong on purpose: it appends whatever comes, at once, and never looks at what is there.

Its commits carry tokens as those of the product do, and its state goes on with their counts; only nobody
compares. A campaign that does not catch it within 20 kills proves nothing of the real one.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from bytewax.outputs import StatefulSinkPartition
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

from connectors.catalog import open_table
from connectors.sink import ShardSink
from connectors.slots import Slot, Store
from connectors.tokens import Token, as_properties
from dataflows.engine import Item
from dataflows.steps.batch import Batch
from schemas import Frame
from schemas.iceberg import TABLES, to_arrow
from schemas.run import records_of


class NaiveSink(ShardSink[Item, Any]):
    """All tables, without any care."""

    def __init__(self, opened: Callable[[], Catalog], store: Store) -> None:
        super().__init__(store.slots)
        self.opened, self.store = opened, store

    def build_part(self, step_id: str, for_part: str, resume_state: Any) -> "NaivePartition":
        return NaivePartition(self.opened(), self.store, self._slots[for_part], resume_state)


class NaivePartition(StatefulSinkPartition[Item, Any]):
    """One shard's."""

    def __init__(self, catalog: Catalog, store: Store, slot: Slot, state: dict[str, int] | None) -> None:
        self.catalog, self.store, self.shard = catalog, store, slot.shard
        self.counts = Counter(state or {})

    def write_batch(self, items: list[Item]) -> None:
        for item in items:
            if isinstance(item, Batch):
                self.append(item)

    def append(self, batch: Batch) -> None:
        """One commit for each table that gets rows."""
        rows = {
            record_type: [row for row in records_of(batch.records) if type(row) is record_type]
            for record_type in TABLES
        } | {Frame: batch.frames}
        self.counts.update(batch.counts)
        self.counts.update({f"rows_{TABLES[each].name}": len(found) for each, found in rows.items()})
        token = Token(self.store.store_id, 1, "naive", batch.last, dict(self.counts))
        said = as_properties({self.shard: token})
        for record_type, found in rows.items():
            while found:
                table = open_table(self.catalog, record_type, self.store)
                change = table.transaction()
                change.append(pa.Table.from_batches([to_arrow(record_type, found)]), said)
                change.set_properties(said)
                try:
                    change.commit_transaction()
                    break
                except CommitFailedException:
                    continue

    def snapshot(self) -> dict[str, int]:
        return dict(self.counts)


def naive_sink(opened: Callable[[], Catalog], store: Store) -> NaiveSink:
    """The sink, with tables to write to."""
    catalog = opened()
    for record_type in TABLES:
        open_table(catalog, record_type, store)
    return NaiveSink(opened, store)
