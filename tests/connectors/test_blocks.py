"""A block gives back the frames that were put in, or says that it is not whole."""

import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from connectors import blocks
from connectors.blocks import (
    BATCH_BYTES_MAX,
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    BlockDamaged,
    Entry,
    block_header,
    decode_block,
    encode_block,
    encode_blocks,
    is_whole,
)
from connectors.venues.protocol import FRAME_BYTES_MAX
from schemas import Frame
from schemas.health import FrameKind

KINDS = get_args(FrameKind)
moments = some.integers(min_value=-(2**63), max_value=2**63 - 1)
entries = some.lists(
    some.tuples(
        moments, some.sampled_from([1, 2, 2**63 - 1]), moments, some.sampled_from(KINDS), some.binary()
    ),
    min_size=1,
    max_size=20,
)


def frames(first: int, batch: list[Entry]) -> list[Frame]:
    return [
        Frame("binance", "binance-0", first + index, connection, number, received, kind, payload)
        for index, (received, connection, number, kind, payload) in enumerate(batch)
    ]


def decode(block: bytes) -> list[Frame]:
    return decode_block(block, exchange="binance", shard="binance-0")


@given(first=some.integers(min_value=1, max_value=2**62), batch=entries)
def test_frames_come_back_as_they_were(first: int, batch: list[Entry]) -> None:
    assert decode(encode_block(first, batch)) == frames(first, batch)


def test_the_form_stays_as_it_is() -> None:
    batch: list[Entry] = [(1, 7, 1, "data", b"ab"), (2, 7, 2, "tick", b"")]
    assert encode_block(5, batch, durable=3).hex() == (
        "54415045" "2d000000" "5560384d"  # marker, length, checksum
        "0500000000000000" "02000000" "0300000000000000"  # first position, frames, durable position
        "92"  # an array of two
        "95" "01" "07" "01" "a464617461" "c4026162"  # received, connection, number, "data", "ab"
        "95" "02" "07" "02" "a47469636b" "c400"
    )  # fmt: skip


def test_a_header_tells_what_is_behind_it_without_reading_it() -> None:
    block = encode_block(10, [(1, 1, 1, "data", b"x" * 100)] * 3, durable=9)
    assert block_header(b"before" + block[:HEADER_BYTES], 6) == (len(block), 10, 3, 9)
    assert block_header(block[: HEADER_BYTES - 1]) is None


def test_a_block_that_was_durable_before_it_was_written_is_none() -> None:
    assert block_header(encode_block(10, [(1, 1, 1, "data", b"")], durable=10)) is None


def test_no_damage_to_a_byte_and_no_missing_end_goes_unseen() -> None:
    block = encode_block(1, [(1, 1, 1, "data", b"first"), (2, 2, 1, "repair", b"second")])
    for index in range(len(block)):
        for mask in (1, 0x80, 0xFF):
            assert not is_whole(block[:index] + bytes([block[index] ^ mask]) + block[index + 1 :]), index
        assert not is_whole(block[:index]), index
    assert not is_whole(block + b"\0")


def test_a_stranger_can_only_make_a_block_that_is_refused(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    # With the checksum always right, what the columns say is all that is left to check.
    monkeypatch.setattr(blocks, "is_whole", lambda block: True)
    chance = random.Random(seed)
    good = encode_block(1, [(n, n % 2, n, KINDS[n % 7], b"x" * n) for n in range(8)])
    refused = 0
    for _ in range(20_000):
        block = bytearray(good)
        for _ in range(chance.randint(1, 3)):
            block[chance.randrange(len(block))] = chance.randrange(256)
        try:
            decode(bytes(block))
        except BlockDamaged:
            refused += 1
    assert refused > 1_000


def test_a_large_batch_becomes_several_blocks_in_order() -> None:
    batch: list[Entry] = [(n, 1, n, "data", bytes([n]) * 200_000) for n in range(1, 20)]
    made = list(encode_blocks(8, batch, 5))
    assert len(made) > 1
    assert {header.durable for block, _ in made if (header := block_header(block))} == {5}
    assert all(len(block) <= BATCH_BYTES_MAX for block, _ in made)
    decoded = [frame for block, _ in made for frame in decode(block)]
    assert decoded == frames(8, batch)
    assert [count for _, count in made] == [len(decode(block)) for block, _ in made]


def test_the_largest_frame_is_a_block_of_its_own() -> None:
    assert PAYLOAD_BYTES_MAX > FRAME_BYTES_MAX
    batch: list[Entry] = [(1, 1, 1, "data", b"x" * PAYLOAD_BYTES_MAX), (2, 1, 2, "data", b"small")]
    assert [count for _, count in encode_blocks(1, batch)] == [1, 1]
    assert [frame for block, _ in encode_blocks(1, batch) for frame in decode(block)] == frames(1, batch)


def test_nothing_becomes_no_block() -> None:
    assert list(encode_blocks(1, [])) == []
