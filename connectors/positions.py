"""What recovery knows of a journal, kept beside it: the highest position that a snapshot was taken behind.

The journal is opened before the engine reads its snapshots. One that lost its end must go on behind what the
snapshots know, or new frames would get numbers that were processed already.

A file is written in full when the journal is first opened, and then only over itself: noting a position needs
no space. It holds two records, of which the older is replaced: a torn one leaves the other.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from connectors.disk import disk_errors, make_folder, sync_file, sync_folder
from connectors.segments import JournalError, segment_paths

FOLDER = "positions"
SUFFIX = ".position"

RECORD = Struct("<QI")  # position, its checksum
# Apart, so that no sector that a disk writes at once holds both.
PLACES = (0, 4096)
BYTES = 2 * PLACES[1]
TORN = -1


def prepare_position(directory: Path, shard: str) -> None:
    """Take the space that noting a shard's position will ever need."""
    path = path_of(directory, shard)
    if path.exists():
        return
    with disk_errors("write", path, JournalError):
        make_folder(path.parent)
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(bytes(BYTES))
            file.flush()
            sync_file(file.fileno())
        new.rename(path)
        sync_folder(path.parent)


def remember_position(directory: Path, shard: str, position: int) -> None:
    """Note that a snapshot is about to be taken behind this position; on disk on return."""
    prepare_position(directory, shard)
    path = path_of(directory, shard)
    with disk_errors("write", path, JournalError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            known = list(records(os.pread(descriptor, BYTES, 0)))
            older = PLACES[known.index(min(known))]
            os.pwrite(descriptor, RECORD.pack(position, checksum_of(position)), older)
            sync_file(descriptor)
        finally:
            os.close(descriptor)


def expected_position(directory: Path, shard: str) -> int | None:
    """How far a journal must reach at least; None where no snapshot was ever taken."""
    path = path_of(directory, shard)
    try:
        held = path.read_bytes()
    except FileNotFoundError:
        return None
    position = max(records(held)) if len(held) == BYTES else TORN
    if position == TORN:
        raise JournalError(
            f"{path} is damaged: how far the journal of {shard} must reach is not known",
            hint="restore the file; or remove it, where `tape journal verify` finds the journal whole",
        )
    return position or None


def records(held: bytes) -> Iterator[int]:
    """The positions of both records; 0 of one that was never written."""
    for place in PLACES:
        position, checksum = RECORD.unpack_from(held, place)
        yield position if checksum == checksum_of(position) else TORN if position or checksum else 0


def checksum_of(position: int) -> int:
    """What a record says of its position; not 0 for 0."""
    return zlib.crc32(position.to_bytes(8, "little"))


def path_of(directory: Path, shard: str) -> Path:
    """Where a shard's position is noted."""
    return directory / FOLDER / f"{shard}{SUFFIX}"


def sync_newest(journal: Path) -> None:
    """Force to disk what a writer may not have; it does so itself with all but its newest segment."""
    path = segment_paths(journal)[-1]
    with disk_errors("sync", path, JournalError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)
