"""Reading a journal from any position on, while it may still be growing in another process.

Only whole blocks are taken: what is not whole and was never durable is not there yet, and is looked at again.
"""

import os
from collections.abc import Iterator
from io import FileIO
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Protocol

from connectors.blocks import HEADER_BYTES, BlockDamaged, block_header, decode_block, is_whole
from connectors.disk import disk_errors
from connectors.segments import (
    READ_BYTES,
    SEGMENT_HEADER_BYTES_MAX,
    JournalError,
    damaged,
    first_position,
    lost,
    missing,
    oldest_header,
    read_segment_header,
    segment_paths,
    was_durable,
)
from schemas import Frame

# Read at once, and so held up by: a thousand pages of a venue's history are a million trades.
PAYLOADS_BYTES = 8 * 1024 * 1024
# Enough that reading costs little beside what is done with them.
FRAMES_AT_ONCE = 500
PAYLOAD = attrgetter("payload")


class Frames(Protocol):
    """What the frames of a shard are read from, in order."""

    position: int  # behind which it goes on

    def read(self, frames_max: int) -> list[Frame]: ...
    def close(self) -> None: ...


def recorded(directory: Path, position: int | None = None) -> Iterator[list[Frame]]:
    """The frames of a journal: from a position on, else from the oldest, to where it ends now."""
    header = oldest_header(directory)
    first = max(position or 1, header.first)
    return all_of(JournalReader(directory, exchange=header.exchange, shard=header.shard, position=first - 1))


def all_of(frames: Frames) -> Iterator[list[Frame]]:
    """What there is to read, some at a time; nothing is open afterwards."""
    try:
        while taken := frames.read(FRAMES_AT_ONCE):
            yield taken
    finally:
        frames.close()


class JournalReader:
    """Follows a journal; `position` is that of the last frame that was read."""

    def __init__(self, directory: Path, *, exchange: str, shard: str, position: int = 0) -> None:
        self.directory = directory
        self.position = position
        self._exchange, self._shard = exchange, shard
        self._file: FileIO | None = None
        self._path = directory  # of the segment, once there is one
        self._offset = 0  # of the next block in the segment
        self._next = 0  # position that the next block begins at
        self._bytes = b""  # what was read of the segment
        self._place = 0  # of the next block in these bytes
        self._frames: Iterator[Frame] = iter(())  # decoded, and not yet asked for

    def read(self, frames_max: int) -> list[Frame]:
        """The next frames, at most so many or so large; none where the journal ends for now."""
        taken = list(islice(self._frames, frames_max))
        size = 0
        try:
            with disk_errors("read", self.directory, JournalError):
                while len(taken) < frames_max and (frames := self._decode_next()):
                    # The first block may begin before the position that was asked for.
                    self._frames = iter(frames[max(0, self.position + 1 - frames[0].position) :])
                    taken += islice(self._frames, frames_max - len(taken))
                    size += sum(map(len, map(PAYLOAD, frames)))
                    if taken and size >= PAYLOADS_BYTES:
                        break
        except JournalError:
            if not taken:
                raise  # else the next call says it: what came before is good
        if taken:
            self.position = taken[-1].position
        return taken

    def close(self) -> None:
        """Let go of the segment; safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _decode_next(self) -> list[Frame]:
        """The frames of the next block; none where the journal ends for now."""
        if self._file is None and not self._locate():
            return []
        while True:
            if frames := self._take() or self._take(fresh=True):
                return frames
            newer = next((path for path in segment_paths(self.directory) if path > self._path), None)
            # What was written before the newer segment came is whole by now.
            if frames := self._take(fresh=True):
                return frames
            self._refuse_damage(ended=newer is not None)
            if newer is None:
                return []
            self._enter(newer)

    def _take(self, *, fresh: bool = False) -> list[Frame]:
        """The frames of the block at our place, if it is whole; `fresh` looks at the file again."""
        if fresh:
            self._fill()
        found = block_header(self._bytes, self._place)
        if found is None or found.first != self._next:
            return []
        block = self._bytes[self._place : self._place + found.size]
        if not is_whole(block):
            return []
        try:
            frames = decode_block(block, exchange=self._exchange, shard=self._shard)
        except BlockDamaged as error:
            raise JournalError(f"{self._path} holds {error} at byte {self._offset:,}") from error
        self._place += found.size
        self._offset += found.size
        self._next += found.frames
        return frames

    def _fill(self) -> None:
        """Read on from our place; what was read before and was not whole may have changed."""
        assert self._file is not None
        self._bytes, self._place = os.pread(self._file.fileno(), READ_BYTES, self._offset), 0
        found = block_header(self._bytes)
        if found and found.size > len(self._bytes) == READ_BYTES:
            self._bytes = os.pread(self._file.fileno(), found.size, self._offset)

    def _refuse_damage(self, *, ended: bool) -> None:
        """Raise if what is at our place was whole once: a later block or a newer segment says so."""
        assert self._file is not None
        # The size first: what a writer adds while we look is no sign of damage.
        size = os.fstat(self._file.fileno()).st_size
        if size <= self._offset:
            return
        with self._path.open("rb") as file:
            if ended or was_durable(file, self._offset, size, self._next):
                raise damaged(self._path, self._offset)

    def _locate(self) -> bool:
        """Go to the block that holds the position after ours; false while there is no segment."""
        paths = segment_paths(self.directory)
        if not paths:
            return False
        wanted = self._next = self.position + 1
        at = [path for path in paths if first_position(path) <= wanted]
        self._enter(at[-1] if at else paths[0])
        with self._path.open("rb", buffering=READ_BYTES) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(self._offset)
            while (found := block_header(file.read(HEADER_BYTES))) and found.first == self._next:
                end = self._offset + found.size
                # The last block may not be whole yet: it is taken as any other.
                if found.first + found.frames > wanted or end >= size:
                    break
                self._offset, self._next = end, found.first + found.frames
                file.seek(end)
        return True

    def _enter(self, path: Path) -> None:
        """Go to the beginning of a segment, over nothing but what is recorded as lost."""
        first = first_position(path)
        hole = missing(self._next, first - 1, lost(self.directory))
        if hole is not None:
            raise JournalError(
                f"positions {hole[0]:,} to {hole[1]:,} are not in {self.directory} any more",
                hint=f"the oldest position is {first_position(segment_paths(self.directory)[0]):,}; "
                "a flow that needs older ones goes on after `tape recover`; if recovering says this, the "
                "tables are older than the journals: put back their newest copy",
            )
        file = FileIO(path)
        try:
            header = read_segment_header(path, os.pread(file.fileno(), SEGMENT_HEADER_BYTES_MAX, 0))
            if (header.exchange, header.shard) != (self._exchange, self._shard):
                raise JournalError(
                    f"{path} is of {header.exchange} {header.shard}, not of {self._exchange} {self._shard}",
                    hint="name its own directory",
                )
        except BaseException:
            file.close()
            raise
        self.close()
        self._file, self._path = file, path
        self._offset, self._next = header.size, header.first
        self._bytes, self._place = b"", 0
