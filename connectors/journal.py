"""The journal of one shard: every frame, in order, before anybody looks inside. One writer, many readers.

`append` has a frame survive the death of the process, `sync` that of the machine. How often to sync is the
caller's policy. Only this file writes segments; what is in them say `connectors.blocks` and `.segments`.
"""

import errno
import fcntl
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import FileIO
from itertools import pairwise
from pathlib import Path
from threading import Lock

import msgspec

from connectors.blocks import Entry, encode_blocks
from connectors.disk import append_line, disk_error, disk_errors, make_folder, sync_file, sync_folder
from connectors.failpoints import failpoint
from connectors.journal_reader import JournalReader
from connectors.segments import (
    LOST,
    REMOVED,
    Inspection,
    JournalError,
    Lost,
    Removed,
    damaged,
    first_position,
    inspect,
    iso,
    lost,
    removed,
    segment_header,
    segment_path,
    segment_paths,
)

__all__ = ["Entry", "Journal", "JournalError", "JournalReader"]

# A segment is removed as a whole, and the newest is read as a whole when its journal is opened: 50 ms.
SEGMENT_BYTES_MAX = 64 * 1024 * 1024

LOCK = "lock"
# Who only looks whether a journal is written has its lock for some microseconds.
LOOK_SECONDS = 0.01
UNFINISHED = ".new"


class Holder(msgspec.Struct, frozen=True):
    """Who writes a journal."""

    pid: int
    host: str
    since: str


def open_file(path: Path) -> FileIO:
    """A file to read and write, which need not exist."""
    return FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o644))


class Journal:
    """The one writer of a journal. Append in one thread; sync in any."""

    directory: Path
    next_position: int
    durable_position: int
    torn: int  # bytes that opening dropped: what a crash left of blocks that were not known to be durable

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        exchange: str,
        shard: str,
        now: int,
        expected_position: int | None = None,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        open_file: Callable[[Path], FileIO] = open_file,
    ) -> "Journal":
        """Open or begin a journal.

        A snapshot that has passed `expected_position` knows frames that a shorter journal has lost: the
        journal goes on behind that position, so that none is given twice, and records what is missing.
        """
        with disk_errors("open", directory, JournalError):
            make_folder(directory)
            journal = cls(directory, take_lock(directory, now), exchange, shard, segment_bytes_max, open_file)
            try:
                journal._start(now, expected_position)
            except BaseException:
                journal._release()
                raise
        return journal

    def __init__(
        self,
        directory: Path,
        lock: int,
        exchange: str,
        shard: str,
        segment_bytes_max: int,
        open_file: Callable[[Path], FileIO],
    ) -> None:
        self.directory = directory
        self.torn = 0
        self._lock: int | None = lock
        self._exchange, self._shard = exchange, shard
        self._segment_bytes_max = segment_bytes_max
        self._open_file = open_file
        self._file: FileIO | None = None
        self._turn = Lock()  # a segment does not end while another thread syncs it
        self._unfinished = False  # there may be a part of a block behind `_bytes`
        self._doubtful = False  # a failed sync: the system may have forgotten what it had not written
        self._named = True  # the name of the segment survives a power cut

    def append(self, entries: Sequence[Entry]) -> int:
        """Write frames behind all others, a block with one write; returns the position of the last.

        After a JournalError `next_position` says how many are in: none or, of a batch that takes several
        blocks, those of the blocks before the failure. Going on with the rest is safe.
        """
        assert self._file is not None, "the journal is closed"
        failpoint("journal.append")
        try:
            if self._unfinished:
                self._restore()
            for block, count in encode_blocks(self.next_position, entries, self.durable_position):
                if self._bytes + len(block) > self._segment_bytes_max and self._bytes > self._header_bytes:
                    self._roll()
                self._unfinished = True
                write_all(self._file, block)
                self._bytes += len(block)
                self.next_position += count
                self._unfinished = False
        except OSError as error:
            with suppress(OSError):  # tried again before the next append, and when the journal is opened
                self._restore()
            raise disk_error("append to", self.directory, JournalError, error) from error
        return self.next_position - 1

    def sync(self) -> int:
        """Have all that was appended survive a power cut; returns the durable position."""
        failpoint("journal.sync")
        with disk_errors("sync", self.directory, JournalError), self._turn:
            self._sync()
        return self.durable_position

    def remove_through(self, position: int) -> list[Removed]:
        """Remove the segments that hold nothing above a position, never the newest; each leaves a record."""
        records = []
        with disk_errors("remove segments of", self.directory, JournalError):
            for path, newer in pairwise(segment_paths(self.directory)):
                if first_position(newer) - 1 > position:
                    break
                found = inspect(path)
                if found.torn:
                    raise damaged(path, found.bytes_whole)
                records.append(self._remove(found))
        return records

    def close(self) -> None:
        """Sync and let the next writer in; safe to repeat."""
        if self._lock is None:
            return
        try:
            self.sync()
        finally:
            self._release()

    def _start(self, now: int, expected_position: int | None) -> None:
        """Find out where the journal ends, drop what is torn there, and be ready to go on."""
        for unfinished in self.directory.glob(f"*{UNFINISHED}"):
            unfinished.unlink()
        paths = segment_paths(self.directory)
        position = self._resume(paths[-1]) if paths else 1
        # What is gone was given out once; without a segment that is all we know.
        extents: list[Lost | Removed] = [*removed(self.directory), *lost(self.directory)]
        self.next_position = max([position, *(extent.last + 1 for extent in extents)])
        if expected_position is not None and expected_position >= self.next_position:
            extent = Lost(first=self.next_position, last=expected_position, noticed=iso(now))
            append_line(self.directory / LOST, extent)
            self.next_position = expected_position + 1
        self.durable_position = self.next_position - 1
        if not paths or position != self.next_position:
            self._begin()

    def _resume(self, path: Path) -> int:
        """Take up the newest segment behind its last whole block; returns the position that comes next."""
        newest = inspect(path)
        if newest.damaged:
            raise damaged(path, newest.bytes_whole)
        header = newest.header
        if (header.exchange, header.shard) != (self._exchange, self._shard):
            raise JournalError(
                f"{self.directory} is the journal of {header.exchange} {header.shard}, "
                f"not of {self._exchange} {self._shard}",
                hint="name its own directory",
            )
        self.torn = newest.torn
        self._file = self._open_file(path)
        self._header_bytes, self._bytes = header.size, newest.bytes_whole
        self._restore()
        sync_file(self._file.fileno())
        sync_folder(self.directory)
        self._bytes_durable = self._bytes
        return newest.next_position

    def _begin(self) -> None:
        """Begin a segment; it gets its name when its header is durable, so nobody sees half of one."""
        path = segment_path(self.directory, self.next_position)
        unfinished = path.with_name(path.name + UNFINISHED)
        header = segment_header(self._exchange, self._shard, self.next_position)
        file = self._open_file(unfinished)
        try:
            file.truncate(0)
            write_all(file, header)
            sync_file(file.fileno())
            unfinished.rename(path)
        except OSError:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
        self._file, self._named = file, False
        self._header_bytes = self._bytes = self._bytes_durable = len(header)

    def _release(self) -> None:
        """Close the files; the lock no longer names anybody."""
        if self._file is not None:
            self._file.close()
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.close(self._lock)
        self._file = self._lock = None

    def _roll(self) -> None:
        """End the segment and begin the next; only the newest may ever be torn."""
        with self._turn:
            self._sync()
            self._begin()

    def _restore(self) -> None:
        """Take away what stands behind the last whole block."""
        assert self._file is not None
        self._file.truncate(self._bytes)
        self._file.seek(self._bytes)
        self._unfinished = False

    def _sync(self) -> None:
        """Force to disk what was appended before this call."""
        assert self._file is not None, "the journal is closed"
        position, size = self.next_position - 1, self._bytes
        if position == self.durable_position:
            return
        descriptor = self._file.fileno()
        try:
            if self._doubtful:
                # A system that failed to write a page may call it written: hand it over again.
                part = os.pread(descriptor, size - self._bytes_durable, self._bytes_durable)
                os.pwrite(descriptor, part, self._bytes_durable)
            sync_file(descriptor)
            if not self._named:
                sync_folder(self.directory)
        except OSError:
            self._doubtful = True
            raise
        self._doubtful, self._named = False, True
        self.durable_position, self._bytes_durable = position, size

    def _remove(self, found: Inspection) -> Removed:
        """Remove a segment; its record is durable first."""
        record = Removed(
            first=found.header.first,
            last=found.next_position - 1,
            count=found.next_position - found.header.first,
            bytes=found.bytes,
            checksum=found.checksum,
        )
        if record not in removed(self.directory):
            append_line(self.directory / REMOVED, record)
        found.path.unlink()
        sync_folder(self.directory)
        return record


def write_all(file: FileIO, data: bytes) -> None:
    """Write every byte; a disk that takes none is an error."""
    written = file.write(data)
    while written < len(data):
        part = file.write(data[written:])
        if not part:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += part


def take_lock(directory: Path, now: int) -> int:
    """Become the one writer of a directory; the system releases the lock when the process ends."""
    with disk_errors("lock", directory, JournalError):
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    if not try_lock(lock, fcntl.LOCK_EX):
        time.sleep(LOOK_SECONDS)
        if not try_lock(lock, fcntl.LOCK_EX):
            os.close(lock)
            raise JournalError(
                f"{directory} is written by {holder(directory) or 'another process'}",
                hint="stop that process, or name another directory",
            )
    own = Holder(pid=os.getpid(), host=os.uname().nodename, since=iso(now))
    with disk_errors("lock", directory, JournalError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, msgspec.json.encode(own), 0)
    return lock


def try_lock(lock: int, kind: int) -> bool:
    """Lock an open file unless somebody else has."""
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def writer(directory: Path) -> tuple[str | None, str | None]:
    """Who writes a journal and, unless he does so now, when he ended; who closed it has no name any more."""
    name, trace = holder(directory), directory / LOCK
    with disk_errors("read", directory, JournalError), suppress(FileNotFoundError):
        with trace.open("rb") as lock:
            # Only where there is a name, for a look keeps others out as long as it takes.
            if name and not try_lock(lock.fileno(), fcntl.LOCK_SH):
                return name, None
        if name:
            trace = segment_paths(directory)[-1]
        return name, iso(trace.stat().st_mtime_ns // 1_000)
    return None, None


def holder(directory: Path) -> str | None:
    """Who wrote his name into the lock; he may have died since."""
    try:
        own = msgspec.json.decode((directory / LOCK).read_bytes(), type=Holder)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return f"process {own.pid} on {own.host} since {own.since}"
