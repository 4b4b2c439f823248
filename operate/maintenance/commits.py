"""How maintenance changes a table beside its writers: on the newest base or not at all.

Whoever was quicker is a reason to look again, for us as for them. A commit names each file that goes, so that
nothing goes that nobody looked at; tokens are changed only by commits that no writer's commit can pass.
"""

import random
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.manifest import DataFile, ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

from connectors.catalog import OUTAGES, LakeError
from connectors.failpoints import failpoint
from connectors.publishing import CachedTransaction
from connectors.tokens import as_properties, tokens_of

# Four writers with a commit a second each leave room for one of ours within a few attempts.
ATTEMPTS_MAX = 100
CONFLICT_SECONDS_MAX = 0.1

# What Iceberg aims at: a manifest that is read in one request.
MANIFEST_BYTES = 8 * 1024 * 1024


class ReplaceFiles(_OverwriteFiles):
    """Files go, others come, and small manifests become large ones.

    PyIceberg knows no commit that says "the same rows in other files", only what it is made of.
    """

    def _summary(self, snapshot_properties: Any = None) -> Summary:
        operation, self._operation = self._operation, Operation.OVERWRITE
        summary = super()._summary(snapshot_properties or {})
        self._operation = operation
        return Summary(operation=operation, **summary.additional_properties)

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        merge: Any = _ManifestMergeManager(MANIFEST_BYTES, 2, True, self)
        merged: list[ManifestFile] = merge.merge_manifests(manifests)
        return merged


def change(catalog: Catalog, name: str, edit: Callable[[CachedTransaction], Any]) -> bool:
    """Have `edit` change the newest table until nobody was quicker; false when it finds nothing to do.

    It returns the producer of the snapshot that it added, if it added one.
    """
    for _ in range(ATTEMPTS_MAX):
        attempt = CachedTransaction(catalog.load_table(name))
        producer = edit(attempt)
        if not attempt._updates:
            return False
        failpoint("maintain.before_catalog")
        try:
            attempt.commit_transaction()
        except OUTAGES as error:
            if has_landed(catalog, name, producer):
                return True
            if not isinstance(error, CommitFailedException):
                raise  # it may yet land: what it wrote is an orphan, or is not
            if producer is not None:
                producer._clean_all_uncommitted()
            time.sleep(random.uniform(0, CONFLICT_SECONDS_MAX))  # noqa: S311  # spreads, hides nothing
        else:
            failpoint("maintain.after_catalog")
            remove_unused(attempt._table, producer)
            return True
    raise LakeError(
        f"{name} is committed to so often that maintenance finds no gap",
        hint="commit less often (lake.commit_seconds), or from fewer processes",
    )


def remove_unused(table: Table, producer: Any) -> None:
    """Remove the manifests that were merged into others before anybody saw them."""
    snapshot = table.snapshot_by_id(producer.snapshot_id) if producer is not None else None
    if snapshot is not None:
        used = {manifest.manifest_path for manifest in snapshot.manifests(table.io)}
        for path in set(producer._written_manifests) - used:
            table.io.delete(path)


def has_landed(catalog: Catalog, name: str, producer: Any) -> bool:
    """Whether a commit whose answer was lost is in the table."""
    return producer is not None and catalog.load_table(name).snapshot_by_id(producer.snapshot_id) is not None


def replace(
    catalog: Catalog,
    name: str,
    gone: Iterable[DataFile],
    added: Iterable[DataFile] = (),
    *,
    operation: Operation = Operation.REPLACE,
    also: Callable[[CachedTransaction], dict[str, str]] = lambda _: {},
) -> bool:
    """Exchange files; false where one of them is not there any more, and then nothing has changed.

    What `also` says of the base becomes properties of the snapshot and of the table.
    """
    gone, added = list(gone), list(added)

    def edit(attempt: CachedTransaction) -> ReplaceFiles:
        refuse_deletes(attempt._table)
        said = also(attempt)
        # It may outlive the snapshots of writers before it: who rolls back to it must be found out.
        tokens = as_properties(tokens_of(attempt._table))
        producer = ReplaceFiles(operation, attempt, attempt._table.io, snapshot_properties=tokens | said)
        for file in gone:
            producer.delete_data_file(file)
        for file in added:
            producer.append_data_file(file)
        producer.commit()
        if said:
            attempt.set_properties(said)
        return producer

    try:
        return change(catalog, name, edit)
    except ValidationException:
        return False


def refuse_deletes(table: Table) -> None:
    """Refuse a table in which another engine has marked rows as deleted: rewriting would bring them back."""
    head = table.current_snapshot()
    if head is not None and any(
        manifest.content == ManifestContent.DELETES for manifest in head.manifests(table.io)
    ):
        raise LakeError(
            f"{'.'.join(table.name())} has delete files of another engine",
            hint="let that engine rewrite the table first",
        )
