"""How staged files become part of a table, once: each commit carries its shards' tokens, and is made on a
base whose tokens were looked at.

The writer is the shard; a process is the courier of all shards that it has. Another process's commit is a
reason to look again; another incarnation of a shard of ours is the end of this process.
"""

import random
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID

from connectors.catalog import LakeError, open_table
from connectors.failpoints import failpoint
from connectors.slots import Store
from connectors.staging import Staged, data_file, trim
from connectors.tokens import Token, as_properties, rolled_back, tokens_of
from schemas.iceberg import TABLES

# How often in a row other processes may be quicker before it counts as an outage, which waits longer.
CONFLICTS_MAX = 20
CONFLICT_SECONDS_MAX = 0.2


class Pending(NamedTuple):
    """What one shard staged in one epoch."""

    last: int  # every row that frames up to here have caused is staged
    counts: tuple[tuple[str, int], ...]  # since the journal began
    files: tuple[Staged, ...]


class CachedTransaction(Transaction):
    """PyIceberg's transaction, but that it copies all snapshots once for each change, not for each look."""

    _known: tuple[object, object, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata with all updates so far; shared, so never to be changed."""
        if not self._updates:
            return self._table.metadata
        before, updates = self._table.metadata, self._updates
        if self._known is None or self._known[0] is not before or self._known[1] is not updates:
            made = Transaction.table_metadata.fget(self)  # type: ignore[attr-defined]
            self._known = before, updates, made
        return self._known[2]

    def commit_transaction(self) -> Table:
        """Commit once: never again on a base that nobody looked at, and nothing is cleaned up blindly."""
        self._requirements += (AssertTableUUID(uuid=self._table.metadata.table_uuid),)
        self._table._do_commit(self._updates, self._requirements)
        return self._table


class LakeTable:
    """One table, as the process sees it that writes some of its shards."""

    def __init__(self, catalog: Catalog, record_type: type[Struct], store: Store, writer: str) -> None:
        self.record_type = record_type
        self.name = TABLES[record_type].name
        self.tokens: dict[str, Token] = {}  # of our shards, as last committed
        self.form: Table | None = None  # where and in which columns to stage, whatever the catalog does
        self._catalog, self._store, self._writer = catalog, store, writer
        self._base: Table | None = None
        self._ready: dict[str, DataFile] = {}  # by path

    @property
    def table(self) -> Table:
        """The table as last seen."""
        table = self._base
        if table is None:
            table = self._base = self._catalog.load_table(self.name)
        return table

    def take_over(self, shards: Sequence[str]) -> None:
        """Become the writer of these shards: whoever was it can commit no more."""
        if not shards:
            return
        self._base = open_table(self._catalog, self.record_type, self._store)
        proposed: dict[str, Token] = {}

        def attempt() -> None:
            present = tokens_of(self.table)
            self._refuse_foreign(present, shards)
            for shard in shards:
                before = present.get(shard, Token(self._store.store_id, 0, "", 0, {}))
                proposed[shard] = msgspec.structs.replace(
                    before, incarnation=before.incarnation + 1, writer=self._writer
                )
            failpoint("iceberg.takeover")
            # A snapshot, though without rows: a change of properties alone would not stop anybody.
            self._append((), proposed)

        self._on_newest_base(attempt)
        self.tokens, self.form = proposed, self.table

    def _refuse_foreign(self, present: Mapping[str, Token], shards: Sequence[str]) -> None:
        """Refuse a table that is another store's, or was taken back in time."""
        others = {token.store for token in present.values()} - {self._store.store_id}
        if others:
            raise LakeError(
                f"{self.name} holds rows of another store ({', '.join(sorted(others))})",
                hint="give every store a catalog or warehouse of its own",
            )
        shard = rolled_back(self.table, shards)
        if shard is not None:
            raise LakeError(
                f"{self.name} was rolled back behind what {shard} has published",
                hint="roll it forward to its newest snapshot",
            )

    def keep(self, staged: Staged, file: DataFile) -> None:
        """Remember what was found out while writing a file."""
        self._ready[staged.path] = file

    def commit(self, pending: Mapping[str, Sequence[Pending]]) -> None:
        """Make what these shards staged, as far as the table lacks it, part of the table in one commit."""
        self._on_newest_base(partial(self._commit, pending))
        for each in self._files(pending):
            self._ready.pop(each.path, None)

    def _commit(self, pending: Mapping[str, Sequence[Pending]]) -> None:
        """One attempt, on the base that we have."""
        if not any(True for _ in self._files(pending)):
            return
        present = tokens_of(self.table)
        added: list[DataFile] = []
        tokens: dict[str, Token] = {}
        for shard, epochs in pending.items():
            token = self._own(shard, present)
            for epoch in epochs:
                if epoch.last > token.position:
                    added += self._above(shard, epoch, token.position)
                    token = msgspec.structs.replace(token, position=epoch.last, counts=dict(epoch.counts))
            if token != present[shard]:
                tokens[shard] = token
        if tokens:
            self._append(added, tokens)
        self.tokens |= {shard: tokens.get(shard, present[shard]) for shard in pending}

    def _own(self, shard: str, present: Mapping[str, Token]) -> Token:
        """Our token, or the end of this process."""
        found, ours = present.get(shard), self.tokens[shard]
        if found is None or (found.incarnation, found.writer) != (ours.incarnation, ours.writer):
            raise LakeError(
                f"another process has become the writer of {shard} in {self.name}",
                hint="nothing is lost: it has everything it needs, let this one end",
            )
        return found

    def _above(self, shard: str, epoch: Pending, position: int) -> list[DataFile]:
        """The files of an epoch that hold rows above a position; one that crosses it is written again."""
        found: list[DataFile] = []
        for staged in map(Staged._make, epoch.files):
            if staged.table != self.name or staged.upper <= position:
                continue
            if staged.lower <= position:
                found += trim(self.table, self.record_type, shard, staged, position)
                continue
            if staged.path not in self._ready:
                self._ready[staged.path] = data_file(self.table, staged)
            found.append(self._ready[staged.path])
        return found

    def _append(self, added: Sequence[DataFile], tokens: Mapping[str, Token]) -> None:
        """One snapshot with these files and tokens, on the base that we have and no other."""
        failpoint("iceberg.manifest")
        said = as_properties(tokens)
        change = CachedTransaction(self.table)
        append = change.update_snapshot(snapshot_properties=said).merge_append()
        for file in added:
            append.append_data_file(file)
        append.commit()
        change.set_properties(said)
        failpoint("iceberg.before_catalog")
        try:
            change.commit_transaction()
        except CommitFailedException:
            self._base = None
            # An answer that was lost and asked for again says so too, though the commit has landed.
            if self.table.snapshot_by_id(append.snapshot_id) is None:
                append._clean_all_uncommitted()
            raise
        failpoint("iceberg.after_catalog")

    def _on_newest_base(self, attempt: Any) -> None:
        """Attempt until nobody was quicker; whatever goes wrong, the next one looks at the table first."""
        for conflict in range(CONFLICTS_MAX):
            try:
                attempt()
            except CommitFailedException:
                self._base = None
                if conflict == CONFLICTS_MAX - 1:
                    raise
                time.sleep(random.uniform(0, CONFLICT_SECONDS_MAX))  # noqa: S311  # spreads, hides nothing
            except BaseException:
                self._base = None
                raise
            else:
                return

    def _files(self, pending: Mapping[str, Sequence[Pending]]) -> list[Staged]:
        """The files among these that are of this table."""
        return [
            staged
            for epochs in pending.values()
            for epoch in epochs
            for staged in map(Staged._make, epoch.files)
            if staged.table == self.name
        ]
