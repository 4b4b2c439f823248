"""Recovery is on however the flow is started: which recovery files are used, and that they are this store's.

The engine takes them from its flags or from three variables that it reads before our code runs. Where the
command named none, ours are made and the same command is executed once more with the variables set.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from bytewax.recovery import init_db_dir
from bytewax.run import _parse_args
from msgspec import Struct

from connectors.disk import sync_folder
from connectors.slots import Store, StoreError, locked, mark_recovered

FOLDER = "recovery"
# Beside the engine's files: whose state they hold.
STORE_ID = "store"
# As many workers as can ever share a store's state; their number can never be changed.
FILES = 8
# Ten times the longest pause of a process that is well; what a crash has to do again.
EPOCH_SECONDS = 5


class Command(Struct, frozen=True):
    """What the engine was told, by flags or environment."""

    recovery: Path | None
    epoch_seconds: float | None
    process: int
    addresses: tuple[str, ...]
    workers_per_process: int

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
    )


def start_again(recovery: Path, environment: Mapping[str, str]) -> NoReturn:
    """Execute the same command, with recovery; what the command or environment already says is kept."""
    wanted = {
        "BYTEWAX_RECOVERY_DIRECTORY": str(recovery),
        "BYTEWAX_SNAPSHOT_INTERVAL": str(EPOCH_SECONDS),
        "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
    }
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**wanted, **environment})  # noqa: S606


def arrange(directory: Path, store: Store, told: Command, *, shared: bool) -> Path:
    """The recovery files of a store, made if it never had any."""
    if told.processes > 1 and not shared and not all(map(is_here, told.addresses)):
        raise StoreError(
            "a cluster needs recovery files that all its processes see",
            hint="set data_dir_shared = true where they share the data directory, else make the files with "
            "`python -m bytewax.recovery DIRECTORY 8` and give every process -r DIRECTORY -s 5 -b 0",
        )
    found = directory / FOLDER
    with locked(directory):
        if not found.exists():
            refuse_lost(directory, store)
            make(found, store)
    return found


def adopt(directory: Path, store: Store, recovery: Path) -> None:
    """Refuse recovery files that are not this store's; files that were never used become its own."""
    mark = recovery / STORE_ID
    with locked(directory):
        if not mark.exists():
            refuse_lost(directory, store)
            mark.write_text(store.store_id)
    if mark.read_text() != store.store_id:
        raise StoreError(
            f"the recovery files in {recovery} are of another store than {directory}",
            hint=f"give the recovery files of this store (by default {directory / FOLDER}), "
            "or the data directory that these belong to",
        )
    if not store.recovered:
        mark_recovered(directory)


def refuse_lost(directory: Path, store: Store) -> None:
    """A store that had recovery files never begins again without a word."""
    if store.recovered:
        raise StoreError(
            f"{directory} was used with recovery files that are not there any more: "
            "everything would be processed and published a second time",
            hint=f"restore them to {directory / FOLDER}, or name another data directory",
        )


def make(found: Path, store: Store) -> None:
    """Make empty recovery files in one step."""
    new = found.with_name(f"{FOLDER}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    init_db_dir(new, FILES)  # type: ignore[no-untyped-call]
    (new / STORE_ID).write_text(store.store_id)
    new.rename(found)
    sync_folder(found.parent)


def is_here(address: str) -> bool:
    """Whether an address of a process is on this machine, and so its data directory."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
