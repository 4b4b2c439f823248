"""What every file of ours needs from a disk: to be there after a power cut, and errors that name the disk.

Nothing here knows what the files hold.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from connectors.errors import TapeError

# What a disk can do to us, and what a person can do about it. Any other error is a bug.
ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there, or raise the quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EIO: "the disk fails: look at the system's log, copy the directory to another disk",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "give this user the right to the directory",
    errno.EPERM: "give this user the right to the directory",
    errno.ENOENT: "something removed it meanwhile: look whether its disk is still mounted",
    errno.ENOTDIR: "name a directory",
    errno.EISDIR: "something made a directory where a file belongs: move it away",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "raise the system's limit on open files",
}

# A disk of another machine that hangs or has gone, one that was pulled out, a damaged one; not every system
# knows all of these.
GONE = ("ESTALE", "ENODEV", "ENXIO", "ENOTCONN", "ETIMEDOUT", "EREMOTEIO", "EHOSTDOWN")
ADVICE |= {number: "mount it again" for number, name in errno.errorcode.items() if name in GONE}
ADVICE |= {
    number: "check the file system (fsck)" for number, name in errno.errorcode.items() if name == "EUCLEAN"
}

# What the engine's snapshots of one epoch take of its disk: several times a large store's state.
ROOM_BYTES = 16 * 1024 * 1024

T = TypeVar("T")

# Data and size without access times, where the system knows the difference.
sync_file = getattr(os, "fdatasync", os.fsync)


def disk_error(doing: str, path: Path, kind: type[TapeError], error: OSError) -> Exception:
    """What to raise: an error that names the file system and what to do, or the same one if it is a bug."""
    advice = ADVICE.get(error.errno or 0)
    if advice is None:
        return error
    return kind(f"cannot {doing} {path} ({file_system(path)}): {error.strerror}", hint=advice)


@contextmanager
def disk_errors(doing: str, path: Path, kind: type[TapeError]) -> Iterator[None]:
    """Raise `disk_error` for what goes wrong within."""
    try:
        yield
    except OSError as error:
        raise disk_error(doing, path, kind, error) from error


def file_system(path: Path) -> str:
    """The file system that a path is or would be on, and how much of it is free."""
    path = path.absolute()
    while not path.is_mount():
        path = path.parent
    try:
        facts = os.statvfs(path)
    except OSError:
        return f"file system {path}"
    free, size = facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize
    return f"file system {path}, {free:,} of {size:,} bytes free"


def require_room(path: Path, size: int) -> None:
    """Raise what a write of so many bytes would."""
    facts = os.statvfs(path)
    # Some file systems do not say how large they are.
    if facts.f_blocks and facts.f_bavail * facts.f_frsize < size:
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} for {size:,} bytes", str(path))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a power cut."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were added to a folder, or removed, survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_line(path: Path, record: msgspec.Struct) -> None:
    """Add a record to a file of JSON lines; it is durable on return."""
    new = not path.exists()
    with path.open("a+b") as file:
        file.seek(0)
        # A line without its end was never acknowledged.
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(msgspec.json.encode(record) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def lines(path: Path, kind: type[T]) -> list[T]:
    """The records of a file of JSON lines; none if there is no such file."""
    try:
        whole = path.read_bytes().rpartition(b"\n")[0]
    except FileNotFoundError:
        return []
    try:
        return msgspec.json.Decoder(kind).decode_lines(whole)
    except msgspec.DecodeError as error:
        raise TapeError(
            f"{path} holds a line that is not a {kind.__name__}: {error}",
            hint="it is written by tape alone: restore the file",
        ) from error
