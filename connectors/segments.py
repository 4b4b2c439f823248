"""A journal's directory: segment files of blocks, and what is known of the positions that are gone.

A segment is named for its first position, begins with a header and holds blocks without a hole. Only what was
not yet durable may be torn, which is at the end of the newest segment: a power cut keeps any part of it. Each
block says what was durable before it. This file reads and checks; who writes is `connectors.journal`.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from struct import Struct
from typing import BinaryIO

import google_crc32c
from msgspec import Struct as Record

from connectors.blocks import HEADER_BYTES, MARKER, block_header, is_whole
from connectors.disk import disk_errors, lines
from connectors.errors import TapeError

SUFFIX = ".journal"
POSITION_DIGITS = 20  # so that names sort as numbers do
LOST = "lost.jsonl"
REMOVED = "removed.jsonl"

MAGIC = b"TAPEJRNL"
FORMAT_VERSION = 2
_FORMAT = Struct("<8sI")  # stays as it is in every version
_HEAD = Struct("<IQHH")  # checksum of what follows it, first position, lengths of the two names
# Two names of at most 255 letters of at most four bytes: longer ones are no directory's.
SEGMENT_HEADER_BYTES_MAX = _FORMAT.size + _HEAD.size + 2 * 4 * 255

# A segment is checked in such parts.
READ_BYTES = 1024 * 1024


class JournalError(TapeError):
    """The journal cannot do what was asked: its disk, its writer or its bytes are in the way."""


class Lost(Record, frozen=True):
    """Positions that a snapshot had passed and that the disk no longer had."""

    first: int
    last: int
    noticed: str


class Removed(Record, frozen=True):
    """A segment that was removed because nobody needs it any more."""

    first: int
    last: int
    count: int
    bytes: int
    checksum: str  # CRC-32C of the file


@dataclass(frozen=True)
class SegmentHeader:
    """What the beginning of a segment says."""

    exchange: str
    shard: str
    first: int
    size: int


@dataclass(frozen=True)
class Inspection:
    """What a segment holds, every byte of it checked."""

    path: Path
    header: SegmentHeader
    next_position: int  # behind its last whole block
    bytes: int
    bytes_whole: int  # up to the end of its last whole block
    damaged: bool  # what follows that was durable once
    checksum: str  # CRC-32C of what is whole

    @property
    def torn(self) -> int:
        """How many bytes follow its last whole block."""
        return self.bytes - self.bytes_whole


def iso(time: int) -> str:
    """A time of ours as a person reads it."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def segment_path(directory: Path, first: int) -> Path:
    """Where the segment is that begins at this position."""
    return directory / f"{first:0{POSITION_DIGITS}d}{SUFFIX}"


def segment_paths(directory: Path) -> list[Path]:
    """The segments of a journal, oldest first."""
    with disk_errors("read", directory, JournalError):
        paths = [path for path in directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal()]
    return sorted(paths)


def first_position(path: Path) -> int:
    """The position that a segment's name says it begins at."""
    return int(path.stem)


def segment_header(exchange: str, shard: str, first: int) -> bytes:
    """The beginning of a segment."""
    names = exchange.encode(), shard.encode()
    head = _HEAD.pack(0, first, *map(len, names))[4:] + b"".join(names)
    checksum: int = google_crc32c.value(head)
    return _FORMAT.pack(MAGIC, FORMAT_VERSION) + checksum.to_bytes(4, "little") + head


def read_segment_header(path: Path, data: bytes) -> SegmentHeader:
    """What the beginning of a segment says; refuses what we did not write or cannot read."""
    start = _FORMAT.size + _HEAD.size
    if len(data) < start or data[: len(MAGIC)] != MAGIC:
        raise JournalError(f"{path} is not a journal segment", hint="restore it, or move it away")
    version = _FORMAT.unpack_from(data)[1]
    checksum, first, *lengths = _HEAD.unpack_from(data, _FORMAT.size)
    size = start + sum(lengths)
    if version == FORMAT_VERSION and google_crc32c.value(data[_FORMAT.size + 4 : size]) == checksum:
        if first != first_position(path):
            raise JournalError(f"{path} begins at position {first:,}", hint="give it back its own name")
        names = data[start : start + lengths[0]], data[start + lengths[0] : size]
        return SegmentHeader(names[0].decode(), names[1].decode(), first, size)
    if version == FORMAT_VERSION:
        raise JournalError(f"{path} is damaged in its header", hint="restore it from a copy")
    raise JournalError(
        f"{path} has format version {version}, this program knows {FORMAT_VERSION}",
        hint="use the version of tape that wrote it",
    )


def oldest_header(directory: Path) -> SegmentHeader:
    """Whose a journal is and where it begins, as its oldest segment says; JournalError without any."""
    paths = segment_paths(directory)
    if not paths:
        raise JournalError(
            f"no journal in {directory}", hint="name the directory of a shard, such as journal/binance-0"
        )
    with disk_errors("read", directory, JournalError), paths[0].open("rb") as file:
        return read_segment_header(paths[0], file.read(SEGMENT_HEADER_BYTES_MAX))


def damaged(path: Path, offset: int) -> JournalError:
    """The error for bytes that were durable once: dropping them would lose what was acknowledged."""
    return JournalError(
        f"{path} is damaged at byte {offset:,}, in what was durable already",
        hint=f"restore it from a copy; `tape journal verify {path.parent}` lists all that is damaged",
    )


def inspect(path: Path) -> Inspection:
    """Check every byte of a segment, as long as it is now: a writer may be adding to it."""
    with disk_errors("read", path, JournalError), path.open("rb", buffering=READ_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(SEGMENT_HEADER_BYTES_MAX)
        header = read_segment_header(path, start)
        checksum = google_crc32c.value(start[: header.size])
        end, next_position = header.size, header.first
        file.seek(end)
        while (found := block_header(file.read(HEADER_BYTES))) and found.first == next_position:
            file.seek(end)
            block = file.read(min(found.size, size - end))
            if not is_whole(block):
                break
            checksum = google_crc32c.extend(checksum, block)
            end += found.size
            next_position += found.frames
        return Inspection(
            path=path,
            header=header,
            next_position=next_position,
            bytes=size,
            bytes_whole=end,
            damaged=was_durable(file, end, size, next_position),
            checksum=f"{checksum:08x}",
        )


def newest_position(directory: Path) -> int:
    """The position of the last whole frame of a journal; 0 where there is none."""
    paths = segment_paths(directory)
    return inspect(paths[-1]).next_position - 1 if paths else 0


def was_durable(file: BinaryIO, offset: int, size: int, position: int) -> bool:
    """Whether the position that should be at an offset was durable, as whole blocks behind it say."""
    file.seek(offset)
    rest = file.read(size - offset)
    place = rest.find(MARKER)
    while place >= 0:
        found = block_header(rest, place)
        if found is None or not is_whole(rest[place : place + found.size]):
            place = rest.find(MARKER, place + 1)
            continue
        if place == 0 and found.first == position:
            return False  # a writer has finished it meanwhile
        if found.durable >= position:
            return True
        place = rest.find(MARKER, place + found.size)
    return False


def lost(directory: Path) -> list[Lost]:
    """The positions that a disk has lost."""
    with disk_errors("read", directory / LOST, JournalError):
        return lines(directory / LOST, Lost)


def removed(directory: Path) -> list[Removed]:
    """The segments that were removed."""
    with disk_errors("read", directory / REMOVED, JournalError):
        return lines(directory / REMOVED, Removed)


def missing(first: int, last: int, extents: Iterable[Lost | Removed]) -> tuple[int, int] | None:
    """The first range between two positions that none of the extents covers."""
    for extent in sorted(extents, key=lambda extent: extent.first):
        if extent.first > first:
            last = min(last, extent.first - 1)
            break
        first = max(first, extent.last + 1)
    return (first, last) if first <= last else None
