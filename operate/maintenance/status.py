"""How well the tables are: what grows with the number of commits, and whether maintenance keeps it flat."""

from msgspec import Struct
from pyiceberg.catalog import Catalog

from operate.maintenance.bars import jobs as bars
from operate.maintenance.compaction import planned as compactions
from operate.maintenance.contents import Stored, held, stored
from operate.maintenance.expiry import MANIFESTS_MAX, planned_of
from operate.maintenance.jobs import SNAPSHOTS_KEPT, Policy
from schemas import Bar
from schemas.iceberg import TABLES

# What an hour of commits leaves before it is compacted, with some room: 720 of three shards.
WAITING_FILES_MAX = 3_000
# Expired every two minutes; a commit every second leaves so many meanwhile, beside those that readers hold.
SNAPSHOTS_MAX = SNAPSHOTS_KEPT + 600


def state(catalog: Catalog, record_type: type[Struct], policy: Policy) -> dict[str, object]:
    """One table, as a row for a person."""
    name = TABLES[record_type].name
    table = catalog.load_table(name)
    files = held(table, record_type)
    there = list(stored(table))
    head = table.current_snapshot()
    manifests = len(head.manifests(table.io)) if head else 0
    waiting = sum(len(group) for group in compactions(files, policy.now))
    windows = next((job.rows for job in bars(catalog)), 0) if record_type is Bar else 0
    row: dict[str, object] = {
        "table": name,
        "rows": sum(one.rows for one in files),
        "files": len(files),
        "days": len({one.day for one in files}),
        "to_compact": waiting,
        "snapshots": len(table.metadata.snapshots),
        "to_expire": len(planned_of(table, policy).expired),
        "manifests": manifests,
        "stale_windows": windows,
        "live_bytes": sum(one.bytes for one in files),
        "disk_bytes": sum(one.bytes for one in there),
        "metadata_bytes": sum(one.bytes for one in there if is_metadata(one)),
    }
    return row | {"well": verdict(len(table.metadata.snapshots), manifests, waiting)}


def is_metadata(one: Stored) -> bool:
    """Whether a file says what is in others."""
    return one.path.endswith((".avro", ".json"))


def verdict(snapshots: int, manifests: int, waiting: int) -> str:
    """What a commit or a query pays for, or `yes` where it is as flat as after the first hour."""
    grown = [
        f"{number:,} {what}: {task}"
        for number, limit, what, task in (
            (snapshots, SNAPSHOTS_MAX, "snapshots", "expire"),
            (manifests, 2 * MANIFESTS_MAX, "manifests", "expire"),
            (waiting, WAITING_FILES_MAX, "small files", "compact"),
        )
        if number > limit
    ]
    return "; ".join(grown) or "yes"
