"""What all decoders share: errors that are ours are raised, all others become dead letters."""

import msgspec
import pytest

from connectors.venues import decoding
from connectors.venues.decoding import pack_page, unpack_page
from connectors.venues.protocol import FRAME_BYTES_MAX, Decoded, Instruments, PageHeader, Request
from connectors.venues.values import Refused
from schemas import DeadLetter, Frame


def frame(payload: bytes) -> Frame:
    return Frame("venue", "venue-0", 7, 3, 5, 11, "data", payload)


def raising(error: Exception) -> list[Decoded]:
    def parse(frame: Frame, instruments: Instruments, records: list[Decoded]) -> None:
        raise error

    return decoding.guarded(parse)([frame(b"{}")], {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused("side", "no such side"), "side"),
        (msgspec.ValidationError("Object missing required field `x`"), "missing_field"),
        (msgspec.ValidationError("Expected `int`, got `str`"), "wrong_type"),
        (msgspec.ValidationError("Invalid value 'x' - at `$.type`"), "unknown_message"),
        (msgspec.DecodeError("JSON is malformed"), "malformed"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "malformed"),
        (RecursionError("too deep"), "malformed"),
    ],
)
def test_what_a_hostile_frame_causes_is_a_dead_letter(error: Exception, reason: str) -> None:
    (letter,) = raising(error)
    assert isinstance(letter, DeadLetter)
    assert letter.reason == reason


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AssertionError(), ValueError("x")])
def test_a_bug_of_ours_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)):
        raising(error)


def test_the_limit_is_on_the_frame_and_not_on_the_batch() -> None:
    def parse(frame: Frame, instruments: Instruments, records: list[Decoded]) -> None:
        pass

    decode = decoding.guarded(parse)
    assert decode([frame(b"a" * FRAME_BYTES_MAX)] * 3, {}) == []
    (letter,) = decode([frame(b""), frame(b"a" * (FRAME_BYTES_MAX + 1))], {})
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.detail) == ("too_large", "4194305 bytes")


def test_a_page_keeps_its_question_and_its_bytes() -> None:
    header = PageHeader("BTC/USD", 5, 9, 17, Request("/x", (("a", "b"),), 25), 200)
    for body in (b"", b"\n", b"[]\n{}\n", b"\xff\x00"):
        assert unpack_page(pack_page(header, body)) == (header, body)


def test_groups_leave_nobody_out() -> None:
    assert decoding.groups(list("abcde"), 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert decoding.groups([], 2) == []


def test_an_absent_side_is_null_and_half_a_side_is_not_hidden() -> None:
    assert decoding.offer("0.00", "0") == (None, None)
    assert decoding.offer(None, None) == (None, None)
    assert decoding.offer("0.00", "5") == ("0.00", "5")
    assert decoding.offer("5", "0") == ("5", "0")
    assert decoding.offer("5", None) == ("5", None)
    assert decoding.offer("1e-2", "1E1") == ("0.01", "10")
