"""The bytes of a batch of frames: one block, in a segment file or in a broker's message.

Pure: frames in, bytes out, and back. Nothing here knows where blocks are kept.

    marker, length of what follows the checksum, CRC-32C of it   so that a torn or damaged block is known
    position of the first frame, number of frames                so that a reader can skip it unread
    position up to which all was durable when it was written     so that a torn end is told from damage
    the entries as one MessagePack array                         the fastest form to write, and not only ours
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

import google_crc32c
import msgspec

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
_PREFIX = Struct("<4sII")
_HEAD = Struct("<QIQ")
HEADER_BYTES = _PREFIX.size + _HEAD.size
# Three numbers, a kind and the lengths of all that, at their largest.
_ENTRY_BYTES_MAX = 64
BLOCK_BYTES_MAX = HEADER_BYTES + _ENTRY_BYTES_MAX + PAYLOAD_BYTES_MAX

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Entry]).decode


class BlockDamaged(TapeError):
    """These bytes are not a whole block."""


class BlockHeader(NamedTuple):
    """What a reader knows of a block before it has read it."""

    size: int  # of the whole block in bytes, this header included
    first: int
    frames: int
    durable: int  # position up to which all was known to survive a power cut; 0: nothing was


def encode_block(first: int, entries: Sequence[Entry], durable: int = 0) -> bytes:
    """The block of these frames, which are numbered from `first`."""
    head, body = _HEAD.pack(first, len(entries), durable), _encode(entries)
    checksum = google_crc32c.extend(google_crc32c.value(head), body)
    return b"".join((_PREFIX.pack(MARKER, len(head) + len(body), checksum), head, body))


def encode_blocks(first: int, entries: Sequence[Entry], durable: int = 0) -> Iterator[tuple[bytes, int]]:
    """Blocks of bounded size that hold these frames in order, each with its number of frames."""
    if not entries:
        return
    block = encode_block(first, entries, durable)
    if len(block) > BATCH_BYTES_MAX and len(entries) > 1:
        half = len(entries) // 2
        yield from encode_blocks(first, entries[:half], durable)
        yield from encode_blocks(first + half, entries[half:], durable)
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
    found = BlockHeader(_PREFIX.size + length, *_HEAD.unpack_from(data, offset + _PREFIX.size))
    # Nothing is durable before it was written.
    return found if found.durable < found.first else None


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
    try:
        entries = _decode(memoryview(block)[HEADER_BYTES:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BlockDamaged(f"a block that this program cannot read ({error})") from error
    if not entries or len(entries) != header.frames:
        raise BlockDamaged("a block that does not hold as many frames as it says")
    return [
        Frame(exchange, shard, position, connection, number, received, kind, payload)
        for position, (received, connection, number, kind, payload) in enumerate(entries, header.first)
    ]
