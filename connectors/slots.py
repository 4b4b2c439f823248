"""What a store is and which shards it ever had: its id, its kind, a numbered slot for each shard.

One file in the store's directory, replaced as a whole under a lock. A slot's number is given once and never
to another shard; a shard that is no longer captured keeps its slot, or all later ones would move to other
state.
"""

import fcntl
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from connectors.disk import disk_errors, make_folder, sync_folder
from connectors.errors import TapeError
from connectors.journal import take_lock
from connectors.placement import key_of

FILE = "store.json"
VERSION = 1

# Four digits sort as they count; a store that had more shards than this has a defect in its configuration.
SLOTS_MAX = 9_999

Kind = Literal["simulated", "live"]


class StoreError(TapeError):
    """The store cannot be used as asked."""


class Slot(Struct, frozen=True):
    """The place of one shard among the engine's partitions, and its state key."""

    number: int
    shard: str
    key: str

    @property
    def partition(self) -> str:
        """The name of the shard's partitions of sources and sinks: sorted as the slots are numbered."""
        return f"{self.number:04d}-{self.shard}"


class Store(Struct, frozen=True):
    """One store: a kind, an id that its recovery files and outputs carry, and all slots ever given."""

    version: int
    store_id: str
    kind: Kind
    slots: tuple[Slot, ...] = ()
    recovered: bool = False  # recovery files were made for it; without them its outputs would start again

    def slot(self, shard: str) -> Slot:
        """The slot of a shard that has one."""
        return next(slot for slot in self.slots if slot.shard == shard)


def open_store(directory: Path, kind: Kind, shards: Sequence[str] = ()) -> Store:
    """The store of a directory, made if there is none, with a slot for each shard."""

    def complete(store: Store) -> Store:
        if store.kind != kind:
            raise StoreError(
                f"{directory} holds a {store.kind} store, not a {kind} one",
                hint="name another data directory: simulated and live data are never mixed",
            )
        known = {slot.shard for slot in store.slots}
        given = list(store.slots)
        for shard in shards:
            if shard not in known:
                given.append(Slot(len(given), shard, key_of(len(given), shard)))
        assert len(given) <= SLOTS_MAX
        return msgspec.structs.replace(store, slots=tuple(given))

    return change(directory, complete, Store(VERSION, str(uuid.uuid4()), kind))


def mark_recovered(directory: Path) -> Store:
    """Remember that the store has recovery files, so that it never starts without."""
    return change(directory, lambda store: msgspec.structs.replace(store, recovered=True))


def change(directory: Path, edit: Callable[[Store], Store], new: Store | None = None) -> Store:
    """Replace the store by what `edit` makes of it, one process at a time; unchanged, nothing is written."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        before = read(directory)
        found = before or new
        if found is None:
            raise StoreError(f"{directory} holds no store")
        after = edit(found)
        if after != before:
            write(directory, after)
        return after


def read(directory: Path) -> Store | None:
    """The store of a directory; None where there is none."""
    path = directory / FILE
    try:
        store = msgspec.json.decode(path.read_bytes(), type=Store)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StoreError(f"{path}: {error}", hint="it is written by tape alone: restore the file") from error
    if store.version != VERSION:
        raise StoreError(
            f"{path} is of version {store.version}, this release knows {VERSION}",
            hint="run the release that wrote it",
        )
    return store


def write(directory: Path, store: Store) -> None:
    """Replace the file in one step that survives a power cut."""
    path = directory / FILE
    new = path.with_suffix(".new")
    with disk_errors("write", path, StoreError):
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(store)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(directory)


@contextmanager
def locked(directory: Path, name: str = "store.lock") -> Iterator[None]:
    """Be the only process that changes this store, or what the lock is named for; others wait."""
    descriptor = os.open(directory / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held(directory: Path, shards: Iterable[str], now: int) -> Iterator[None]:
    """Be whom the journals of these shards name as their writer: no process writes them, and none begins."""
    locks: list[int] = []
    try:
        for shard in shards:
            journal = directory / "journal" / shard
            make_folder(journal)
            locks.append(take_lock(journal, now))
        yield
    finally:
        for lock in locks:
            os.ftruncate(lock, 0)
            os.close(lock)
