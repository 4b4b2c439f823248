"""Files below a table that nothing names and nobody will: what crashes and lost races have left.

What the flow has staged looks the same. It is told by its position: rows at or below their shard's token are
never published again, and those above it are not ours to judge. The files are listed before the table is
looked at, so that what is published meanwhile is known.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from connectors.tokens import Token, tokens_of
from operate.maintenance.compaction import WRITER
from operate.maintenance.contents import Stored, named, stored
from operate.maintenance.jobs import Job, Policy
from schemas.iceberg import TABLES

# As connectors.staging names files: the shard, the lowest position, and what makes the name its own.
STAGED = re.compile(r"(?P<shard>.+)-(?P<lower>\d+)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.parquet")


def jobs(catalog: Catalog, record_type: type[Struct], policy: Policy) -> Iterator[Job]:
    """What is to be removed of a table, a file a job."""
    name = TABLES[record_type].name
    for one in orphans(catalog, record_type, policy):
        what = one.path.rpartition("/")[2]
        yield Job("orphans", name, what, 1, 0, one.bytes, partial(remove, catalog.load_table(name), one))


def orphans(catalog: Catalog, record_type: type[Struct], policy: Policy) -> list[Stored]:
    """The files that may go, oldest first."""
    name = TABLES[record_type].name
    there = list(stored(catalog.load_table(name)))
    table = catalog.load_table(name)
    known, tokens = named(table), tokens_of(table)
    old = policy.now - policy.orphan_seconds * 1_000_000
    return sorted(
        (
            one
            for one in there
            if one.modified <= old
            and one.path not in known
            and not is_pending(table, record_type, one, tokens)
        ),
        key=lambda one: (one.modified, one.path),
    )


def is_pending(table: Table, record_type: type[Struct], one: Stored, tokens: Mapping[str, Token]) -> bool:
    """Whether the flow may still publish rows of a file."""
    found = STAGED.fullmatch(one.path.rpartition("/")[2])
    if found is None or found["shard"] == WRITER:
        return False
    token = tokens.get(found["shard"])
    if token is None or int(found["lower"]) > token.position:
        return True
    return highest(table, record_type, one.path) > token.position


def highest(table: Table, record_type: type[Struct], path: str) -> int:
    """The highest position in a file; 0 for one that has no end, which nobody can have frozen."""
    scheme = table.location().partition("://")[0]
    try:
        with table.io.new_input(f"{scheme}://{path}").open() as stream:
            footer = pq.read_metadata(stream)
    except (pa.ArrowInvalid, FileNotFoundError):
        return 0
    column = footer.schema.names.index(TABLES[record_type].position)
    groups = [footer.row_group(number).column(column) for number in range(footer.num_row_groups)]
    return max((group.statistics.max for group in groups), default=0)


def remove(table: Table, one: Stored) -> str:
    """Remove a file."""
    scheme = table.location().partition("://")[0]
    table.io.delete(f"{scheme}://{one.path}")
    return "removed"
