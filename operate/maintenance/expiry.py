"""Old snapshots go, with the files that nothing names any more; the last of each day stays for a while.

A reader works with the snapshot that was the newest when it looked: so one goes only when it has been
replaced for as long as a reader may take.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetSnapshotRefUpdate,
)

from connectors.failpoints import failpoint
from connectors.publishing import CachedTransaction
from connectors.staging import DAY
from operate.maintenance.commits import change, replace
from operate.maintenance.contents import data_of, manifests_of
from operate.maintenance.jobs import SNAPSHOTS_KEPT, Job, Policy
from schemas.iceberg import TABLES

TAG = "day-"
# A reader opens each; half of what makes a writer merge them in the middle of its commit.
MANIFESTS_MAX = 50


class Plan(NamedTuple):
    """Which snapshots are forgotten, and which are named so that they are not."""

    expired: list[int]
    tagged: dict[str, int]
    untagged: list[str]


def jobs(catalog: Catalog, record_type: type[Struct], policy: Policy) -> Iterable[Job]:
    """What is to be forgotten of a table, and whether its manifests are to be merged."""
    name = TABLES[record_type].name
    table = catalog.load_table(name)
    head = table.current_snapshot()
    manifests = len(head.manifests(table.io)) if head else 0
    if manifests > MANIFESTS_MAX:
        yield Job("expire", name, "merge manifests", manifests, 0, 0, partial(merge, catalog, name))
    plan = planned_of(table, policy)
    if plan.expired or plan.untagged:
        what = f"{len(plan.expired)} snapshots, {len(plan.tagged)} days named, {len(plan.untagged)} no longer"
        yield Job("expire", name, what, 0, 0, 0, partial(expire, catalog, name, policy))


def planned_of(table: Table, policy: Policy) -> Plan:
    """What is to be forgotten of a table as it is now."""
    metadata = table.metadata
    ours = {name: ref.snapshot_id for name, ref in metadata.refs.items() if name.startswith(TAG)}
    theirs = {
        one.snapshot_id
        for name, ref in metadata.refs.items()
        if name not in ours and name != MAIN_BRANCH
        for one in ancestors_of(metadata.snapshot_by_id(ref.snapshot_id), metadata)
    }
    head = table.current_snapshot()
    # By number, not by parent: one whose parent is forgotten has none.
    snapshots = sorted(metadata.snapshots, key=lambda one: one.sequence_number or 0)
    return planned(snapshots, ours, theirs | ({head.snapshot_id} if head else set()), policy)


def planned(snapshots: Sequence[Snapshot], tags: Mapping[str, int], held: set[int], policy: Policy) -> Plan:
    """Of snapshots, oldest first: which go. Those that others hold on to by a name of theirs stay."""
    first_day = (policy.now // DAY - policy.tag_days) * DAY
    untagged = [tag for tag in tags if tag < f"{TAG}{day_of(first_day // 1_000)}"]
    held = held | {snapshot for tag, snapshot in tags.items() if tag not in untagged}
    replaced_before = (policy.now - policy.reader_seconds * 1_000_000) // 1_000
    expired, tagged = [], {}
    for one, successor in list(pairwise(snapshots))[: max(0, len(snapshots) - SNAPSHOTS_KEPT)]:
        if one.snapshot_id in held or successor.timestamp_ms > replaced_before:
            continue
        day = day_of(one.timestamp_ms)
        if day != day_of(successor.timestamp_ms) and one.timestamp_ms * 1_000 >= first_day:
            tagged[f"{TAG}{day}"] = one.snapshot_id
        else:
            expired.append(one.snapshot_id)
    return Plan(expired, tagged, untagged)


def day_of(milliseconds: int) -> str:
    """The day of a time."""
    return datetime.fromtimestamp(milliseconds / 1_000, UTC).date().isoformat()


def expire(catalog: Catalog, name: str, policy: Policy) -> str:
    """Forget snapshots, then remove the files that only they named."""
    plan, snapshots = Plan([], {}, []), list[Snapshot]()

    def edit(attempt: CachedTransaction) -> None:
        nonlocal plan, snapshots
        plan, snapshots = planned_of(attempt._table, policy), attempt._table.metadata.snapshots
        updates: list[Any] = [
            SetSnapshotRefUpdate.model_validate(
                {"ref-name": tag, "type": SnapshotRefType.TAG, "snapshot-id": snapshot}
            )
            for tag, snapshot in plan.tagged.items()
        ]
        updates += [RemoveSnapshotRefUpdate.model_validate({"ref-name": tag}) for tag in plan.untagged]
        if plan.expired:
            updates.append(RemoveSnapshotsUpdate.model_validate({"snapshot-ids": plan.expired}))
        head = attempt._table.current_snapshot()
        if updates and head is not None:
            unmoved = AssertRefSnapshotId.model_validate(
                {"ref": MAIN_BRANCH, "snapshot-id": head.snapshot_id}
            )
            attempt._stage(tuple(updates), (unmoved,))

    if not change(catalog, name, edit):
        return "nothing is old enough"
    failpoint("maintain.delete")
    table = catalog.load_table(name)
    gone = unnamed(table, snapshots, set(plan.expired))
    for location in gone:
        table.io.delete(location)
    return f"{len(plan.expired)} snapshots are forgotten, {len(gone)} files removed"


def unnamed(table: Table, snapshots: Sequence[Snapshot], expired: set[int]) -> set[str]:
    """What some of the snapshots named and none of the others does; later ones name nothing older."""
    going = [one for one in snapshots if one.snapshot_id in expired]
    staying = [one for one in snapshots if one.snapshot_id not in expired]
    kept = manifests_of(table, staying)
    manifests = {path: one for path, one in manifests_of(table, going).items() if path not in kept}
    gone = {one.manifest_list for one in going} | manifests.keys()
    # What was only ever added to is still there, and reading all that stays is dear.
    if any(one.summary is None or one.summary.operation != Operation.APPEND for one in snapshots):
        data = data_of(table, manifests.values())
        gone |= data - data_of(table, kept.values()) if data else set()
    return gone


def merge(catalog: Catalog, name: str) -> str:
    """One snapshot with the same files in few manifests."""
    replace(catalog, name, ())
    table = catalog.load_table(name)
    head = table.current_snapshot()
    assert head is not None
    return f"{len(head.manifests(table.io))} manifests"
