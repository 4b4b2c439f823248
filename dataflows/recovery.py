"""Recovery is on however the flow is started: which recovery files are used, and that they are this store's.

The engine is given them only when they are whole: it would die of anything else, with a text for its
developers.
"""

import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import quote

from bytewax.recovery import init_db_dir
from bytewax.run import _parse_args
from msgspec import Struct

from connectors.disk import ROOM_BYTES, disk_errors, require_room, sync_folder
from connectors.errors import EXIT_FAILED
from connectors.slots import Store, StoreError, locked, mark_recovered

FOLDER = "recovery"
# Beside the engine's files: whose state they hold.
STORE_ID = "store"
# As many workers as can ever share a store's state; their number can never be changed.
FILES = 8
# Ten times the longest pause of a process that is well; what a crash has to do again.
EPOCH_SECONDS = 5
# Another process of the cluster may be writing just now.
BUSY_SECONDS = 5.0

# The engine makes the files and not the directory.
MAKE = f"mkdir -p DIRECTORY && python -m bytewax.recovery DIRECTORY {FILES}"
REBUILD = "restore it from a copy, or let `tape recover` make the recovery files again"
RIGHTS = "give this user the right to read and write all files of that directory"
# What SQLite says, by the beginning of its name, where the file may be whole: what to do instead.
ADVICE = {
    "SQLITE_READONLY": RIGHTS,
    "SQLITE_CANTOPEN": RIGHTS,
    "SQLITE_BUSY": "another program holds it: end that one",
}


class RecoveryError(StoreError):
    """The recovery files cannot be used."""

    exit_code = EXIT_FAILED


class Command(Struct, frozen=True):
    """What the engine was told, by flags or environment."""

    recovery: Path | None
    epoch_seconds: float | None
    process: int
    addresses: tuple[str, ...]
    workers_per_process: int
    backup_seconds: float = 0.0

    @property
    def processes(self) -> int:
        """How many processes the cluster has."""
        return max(1, len(self.addresses))

    @property
    def workers(self) -> int:
        """How many workers the cluster has."""
        return self.processes * self.workers_per_process

    def captures(self, slot: int) -> bool:
        """Whether a slot's partition is one of this process."""
        return slot % self.workers // self.workers_per_process == self.process


def command() -> Command:
    """What the engine's own parser makes of this process's command line and environment."""
    said = _parse_args()  # type: ignore[no-untyped-call]
    return Command(
        recovery=said.recovery_directory and Path(said.recovery_directory),
        epoch_seconds=said.snapshot_interval and said.snapshot_interval.total_seconds(),
        process=int(said.process_id or 0),
        addresses=tuple(filter(None, (said.addresses or "").split(";"))),
        workers_per_process=int(said.workers_per_process or 1),
        backup_seconds=said.backup_interval.total_seconds() if said.backup_interval else 0.0,
    )


def arrange(directory: Path, store: Store, told: Command, *, shared: bool) -> Path:
    """The recovery files of a store, made if it never had any."""
    if told.processes > 1 and not shared and not all(map(is_here, told.addresses)):
        raise StoreError(
            "a cluster needs recovery files that all its processes see",
            hint="set data_dir_shared = true where they share the data directory, else make the files with "
            f"`{MAKE}` and give every process -r DIRECTORY -s 5 -b 0",
        )
    found = directory / FOLDER
    with locked(directory):
        if not found.exists():
            refuse_lost(directory, store)
            make(found, store)
    return found


def adopt(directory: Path, store: Store, recovery: Path) -> None:
    """Refuse recovery files that are not this store's; files that were never used become its own."""
    if not recovery.exists():
        raise StoreError(
            f"{recovery} does not exist", hint=f"name the recovery files, or make them: `{MAKE}`"
        )
    with locked(directory), disk_errors("use", recovery, RecoveryError):
        owner = owner_of(recovery)
        if not owner:
            refuse_lost(directory, store)
            refuse_damaged(recovery)
            own(recovery, store)
    if owner not in ("", store.store_id):
        raise StoreError(
            f"the recovery files in {recovery} are of another store than {directory}",
            hint=f"give the recovery files of this store (by default {directory / FOLDER}), "
            "or the data directory that these belong to",
        )
    refuse_damaged(recovery)
    if not store.recovered:
        mark_recovered(directory)


def refuse_lost(directory: Path, store: Store) -> None:
    """A store that had recovery files never begins again without a word."""
    if store.recovered:
        raise StoreError(
            f"{directory} was used with recovery files that are not there any more: "
            "everything would be processed and published a second time",
            hint=f"restore them to {directory / FOLDER}, or let `tape recover` make them again",
        )


def refuse_damaged(recovery: Path) -> None:
    """Refuse files that the engine would die of, and a disk that has no room for what it writes."""
    with disk_errors("write", recovery, RecoveryError):
        require_room(recovery, ROOM_BYTES)
        paths = sorted(path for path in recovery.iterdir() if path.suffix == ".sqlite3")
        owner = owner_of(recovery)
    found = dict(part(path, owner) for path in paths)
    wanted = set(found.values())
    missing = sorted(set(range(max(wanted, default=1))) - set(found))
    if len(wanted) > 1:
        raise RecoveryError(f"the recovery files in {recovery} are not of one set", hint=REBUILD)
    if missing:
        listed = ", ".join(f"part-{index}.sqlite3" for index in missing)
        raise RecoveryError(f"of the recovery files in {recovery} {listed} is missing", hint=REBUILD)


def part(path: Path, owner: str) -> tuple[int, int]:
    """Which recovery file this is, and of how many; RecoveryError if the engine cannot use it."""
    try:
        with opened(path) as file:
            problems = [row[0] for row in file.execute("PRAGMA quick_check(1)")]
            [(number,)] = file.execute("PRAGMA application_id")
            [(index, count)] = file.execute("SELECT part_index, part_count FROM parts").fetchall() or [(0, 0)]
            for table in ("exs", "fronts", "commits", "snaps"):
                file.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608  # names of our own
            file.execute("UPDATE parts SET part_index = part_index")  # whether it may be written
            file.rollback()
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        hint = next((advice for begin, advice in ADVICE.items() if name.startswith(begin)), REBUILD)
        raise RecoveryError(f"the recovery file {path} cannot be used: {error}", hint=hint) from error
    if problems != ["ok"]:
        raise RecoveryError(f"the recovery file {path} is damaged: {problems[0]}", hint=REBUILD)
    if number not in (0, number_of(owner)):
        raise RecoveryError(f"the recovery file {path} is of another store", hint=REBUILD)
    return index, count


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """One recovery file, which must be there."""
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", BUSY_SECONDS, uri=True)) as file:
        yield file


def owner_of(recovery: Path) -> str:
    """The id of the store that recovery files belong to; empty where they belong to none yet."""
    try:
        return (recovery / STORE_ID).read_text()
    except FileNotFoundError:
        return ""


def number_of(owner: str) -> int:
    """What each file of a store carries, so that one of another store is noticed."""
    return zlib.crc32(owner.encode()) & 0x7FFF_FFFF


def own(recovery: Path, store: Store) -> None:
    """Note in recovery files whose they are."""
    for path in recovery.glob("*.sqlite3"):
        with opened(path) as file:
            file.execute(f"PRAGMA application_id = {number_of(store.store_id)}")
    (recovery / STORE_ID).write_text(store.store_id)


def make(found: Path, store: Store) -> None:
    """Make empty recovery files in one step."""
    new = found.with_name(f"{FOLDER}.new")
    with disk_errors("write", found, RecoveryError):
        require_room(found.parent, ROOM_BYTES)
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        init_db_dir(new, FILES)  # type: ignore[no-untyped-call]
        own(new, store)
        new.rename(found)
        sync_folder(found.parent)


def is_here(address: str) -> bool:
    """Whether an address of a process is on this machine, and so its data directory."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
