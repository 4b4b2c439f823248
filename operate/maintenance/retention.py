"""Rows that are older than an operator wants to keep go, a day at a time, and are counted as they go.

The count is part of each shard's token, changed in the same commit: what the flow has written stays the sum
of what is there and what was taken out.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import msgspec
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.table.snapshots import Operation

from connectors.publishing import CachedTransaction
from connectors.staging import DAY
from connectors.tokens import as_properties, tokens_of
from operate.maintenance.commits import replace
from operate.maintenance.compaction import day_of, read
from operate.maintenance.contents import Held, held
from operate.maintenance.jobs import Job, Policy
from schemas.iceberg import TABLES


def jobs(catalog: Catalog, record_type: type[Struct], policy: Policy) -> Iterator[Job]:
    """What is too old in a table."""
    name = TABLES[record_type].name
    old = planned(held(catalog.load_table(name), record_type), policy.retention_days.get(name), policy.now)
    if old:
        yield Job(
            "retain",
            name,
            f"rows up to {day_of(max(one.day for one in old))}",
            len(old),
            sum(one.rows for one in old),
            sum(one.bytes for one in old),
            partial(remove, catalog, name, old),
        )


def planned(files: Iterable[Held], days: int | None, now: int) -> list[Held]:
    """The files of days that ended so long ago; none where everything is kept."""
    return [] if days is None else [one for one in files if (one.day + 1 + days) * DAY <= now]


def remove(catalog: Catalog, name: str, old: Sequence[Held]) -> str:
    """Take the files out of the table; they go from the disk with the snapshots that name them."""
    table = catalog.load_table(name)
    rows: Counter[str] = Counter()
    for one in old:
        rows.update(read(table, one.file.file_path, ["shard"]).column("shard").to_pylist())

    def counted(attempt: CachedTransaction) -> dict[str, str]:
        tokens = tokens_of(attempt._table)
        return as_properties(
            {
                shard: msgspec.structs.replace(token, removed=token.removed + rows[shard])
                for shard, token in tokens.items()
                if rows[shard]
            }
        )

    done = replace(catalog, name, [one.file for one in old], operation=Operation.DELETE, also=counted)
    return f"{sum(rows.values()):,} rows are out" if done else "left as it is: somebody else was quicker"
