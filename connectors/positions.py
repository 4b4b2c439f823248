"""What recovery knows of a journal, kept beside it: the highest position that a snapshot was taken behind.

The journal is opened before the engine reads its snapshots. One that lost its end must go on behind what the
snapshots know, or new frames would get numbers that were processed already. A power cut may take back what
was noted here, but then not the frames: those are on disk before.
"""

import os
from pathlib import Path

from connectors.disk import disk_errors, sync_file
from connectors.segments import JournalError, segment_paths

FOLDER = "positions"

# Written over in place: one write of this many bytes is never torn.
DIGITS = 20


def remember_position(directory: Path, shard: str, position: int) -> None:
    """Note that a snapshot is about to be taken behind this position."""
    path = directory / FOLDER / shard
    with disk_errors("write", path, JournalError):
        path.parent.mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(descriptor, b"%0*d\n" % (DIGITS, position), 0)
        finally:
            os.close(descriptor)


def expected_position(directory: Path, shard: str) -> int | None:
    """How far a journal must reach at least; None where no snapshot was ever taken."""
    try:
        return int((directory / FOLDER / shard).read_bytes() or b"0")
    except FileNotFoundError:
        return None


def sync_newest(journal: Path) -> None:
    """Force to disk what a writer may not have; it does so itself with all but its newest segment."""
    path = segment_paths(journal)[-1]
    with disk_errors("sync", path, JournalError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
