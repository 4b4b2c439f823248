"""The bytes of a batch of frames: one block, in a segment file or in a broker's message.

Pure: frames in, bytes out, and back. Nothing here knows where blocks are kept.

    marker, length of what follows the checksum, CRC-32C of it       so that a torn or damaged block is known
    position of the first frame, number of frames, shape             so that a reader can skip it unread
    connections, kinds, receive times, numbers, payload lengths      columns; one value where all are the same
    payloads
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from struct import Struct, pack
from typing import NamedTuple

import google_crc32c

from connectors.errors import TapeError
from schemas import Frame
from schemas.health import FrameKind

# Received, connection, number in the connection, kind, payload.
Entry = tuple[int, int, int, FrameKind, bytes]

# A broker takes messages of 1 MiB unless told otherwise, its own header included.
BATCH_BYTES_MAX = 1_000_000
# A single frame may be larger than that: twice what capture takes from a venue, since we add to pages.
PAYLOAD_BYTES_MAX = 8 * 1024 * 1024

MARKER = b"TAPE"
# A kind is stored as its place here: append only.
KINDS: tuple[FrameKind, ...] = ("data", "control", "repair", "metadata", "connection", "tick", "outcome")

_PREFIX = Struct("<4sII")
_HEAD = Struct("<QIB")
HEADER_BYTES = _PREFIX.size + _HEAD.size
_ONE_CONNECTION = 1
_ONE_KIND = 2
# Kind, receive time, number and length of each frame, and its connection where they differ.
_COLUMNS_BYTES_MAX = 1 + 8 + 8 + 4 + 8
BLOCK_BYTES_MAX = HEADER_BYTES + _COLUMNS_BYTES_MAX + PAYLOAD_BYTES_MAX

_code_of = {kind: code for code, kind in enumerate(KINDS)}.__getitem__
_kind_of = KINDS.__getitem__


class BlockDamaged(TapeError):
    """These bytes are not a whole block."""


class BlockHeader(NamedTuple):
    """What a reader knows of a block before it has read it."""

    size: int  # of the whole block in bytes, this header included
    first: int
    frames: int
    shape: int


def encode_block(first: int, entries: Sequence[Entry]) -> bytes:
    """The block of these frames, which are numbered from `first`."""
    received, connections, numbers, kinds, payloads = zip(*entries, strict=True)
    count = len(entries)
    shape = 0
    if connections.count(connections[0]) == count:
        shape, connections = _ONE_CONNECTION, connections[:1]
    if kinds.count(kinds[0]) == count:
        shape, kinds = shape | _ONE_KIND, kinds[:1]
    columns = pack(
        f"<{len(connections)}q{len(kinds)}B{count}q{count}q{count}I",
        *connections,
        *map(_code_of, kinds),
        *received,
        *numbers,
        *map(len, payloads),
    )
    body = b"".join((_HEAD.pack(first, count, shape), columns, *payloads))
    return _PREFIX.pack(MARKER, len(body), google_crc32c.value(body)) + body


def encode_blocks(first: int, entries: Sequence[Entry]) -> Iterator[tuple[bytes, int]]:
    """Blocks of bounded size that hold these frames in order, each with its number of frames."""
    if not entries:
        return
    block = encode_block(first, entries)
    if len(block) > BATCH_BYTES_MAX and len(entries) > 1:
        half = len(entries) // 2
        yield from encode_blocks(first, entries[:half])
        yield from encode_blocks(first + half, entries[half:])
        return
    assert len(block) <= BLOCK_BYTES_MAX, "capture refuses a frame that is so large"
    yield block, len(entries)


def block_header(data: bytes, offset: int = 0) -> BlockHeader | None:
    """The header at this place, unless no block can begin there."""
    if len(data) - offset < HEADER_BYTES:
        return None
    marker, length, _ = _PREFIX.unpack_from(data, offset)
    if marker != MARKER or not _HEAD.size <= length <= BLOCK_BYTES_MAX - _PREFIX.size:
        return None
    return BlockHeader(_PREFIX.size + length, *_HEAD.unpack_from(data, offset + _PREFIX.size))


def is_whole(block: bytes) -> bool:
    """Whether these bytes are exactly one block, undamaged."""
    header = block_header(block)
    if header is None or header.size != len(block):
        return False
    checksum: int = _PREFIX.unpack_from(block)[2]
    found: int = google_crc32c.value(block[_PREFIX.size :])
    return found == checksum


def decode_block(block: bytes, *, exchange: str, shard: str) -> list[Frame]:
    """The frames of a block; raises BlockDamaged for anything else."""
    header = block_header(block)
    if header is None or not is_whole(block):
        raise BlockDamaged("not a whole block of frames")
    return list(_frames(block, header, exchange, shard))


def _frames(block: bytes, header: BlockHeader, exchange: str, shard: str) -> Iterable[Frame]:
    """The frames of a block that is whole, and that still may have been written by a stranger."""
    _, first, count, shape = header
    connections_count = 1 if shape & _ONE_CONNECTION else count
    kinds_count = 1 if shape & _ONE_KIND else count
    layout = Struct(f"<{connections_count}q{kinds_count}B{count}q{count}q{count}I")
    payloads_at = HEADER_BYTES + layout.size
    if not count or payloads_at > len(block):
        raise BlockDamaged("a block whose columns do not fit")
    columns = layout.unpack_from(block, HEADER_BYTES)
    connections, columns = columns[:connections_count], columns[connections_count:]
    codes, columns = columns[:kinds_count], columns[kinds_count:]
    lengths = columns[2 * count :]
    if payloads_at + sum(lengths) != len(block) or max(codes) >= len(KINDS):
        raise BlockDamaged("a block that does not hold what it says, or kinds that only newer programs know")
    ends = accumulate(lengths, initial=payloads_at)
    return map(
        Frame,
        repeat(exchange),
        repeat(shard),
        range(first, first + count),
        repeat(connections[0]) if shape & _ONE_CONNECTION else connections,
        columns[count : 2 * count],
        columns[:count],
        repeat(KINDS[codes[0]]) if shape & _ONE_KIND else map(_kind_of, codes),
        [block[start:end] for start, end in pairwise(ends)],
    )
