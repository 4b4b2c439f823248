"""Decode many trade frames at once: one call reads all, and each field is then taken of all.

The law: the records are those that decoding frame by frame gives. So whatever is not plainly a run of good
trades is decoded frame by frame, and only that says what is refused and why.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Raw

from connectors.venues.decoding import EXPECTED, batched, guarded
from connectors.venues.protocol import FRAME_BYTES_MAX, Decoded, Instruments
from schemas import Frame, Trade

Parse = Callable[[Frame, Instruments, list[Decoded]], None]
Trades = Callable[[Sequence[Frame], Sequence[Any], Instruments], list[Trade]]


def runs_of_trades(
    parse: Parse, trades: Trades, read: Callable[[bytes], list[Any]], *, start: bytes, end: bytes
) -> Callable[[Sequence[Frame], Instruments], list[Decoded]]:
    """A decoder that never raises, from how one frame is parsed, and how trades are made of wire messages.

    `read` decodes lines, each to a wire message, or to an envelope whose `data` is one or a list of some.
    Frames of trades are known by their start and end, which need not be sure: `read` and `trades` may refuse.
    """
    one_by_one = guarded(parse)

    def together(frames: Sequence[Frame], instruments: Instruments) -> list[Trade] | None:
        lines = joined(frames, start, end)
        try:
            wires = [] if lines is None else read(lines)
            if len(wires) != len(frames):
                return None
            if hasattr(wires[0], "data"):
                wires = [envelope.data for envelope in wires]
            if isinstance(wires[0], list):
                frames, wires = flat(frames, wires)
            return trades(frames, wires, instruments)
        except EXPECTED:
            return None

    def decode_many(frames: Sequence[Frame], instruments: Instruments) -> list[Decoded]:
        found = together(frames, instruments) if len(frames) > 1 else None
        if found is not None:
            return found  # type: ignore[return-value]  # nobody else has the list
        likely: list[Frame] = []
        others: list[Frame] = []
        for frame in frames:
            alike = frame.payload.startswith(start) and frame.payload.endswith(end)
            (likely if alike else others).append(frame)
        found = together(likely, instruments) if others and len(likely) > 1 else None
        if found is None:
            return one_by_one(frames, instruments)
        return sorted([*found, *one_by_one(others, instruments)], key=position)

    return decode_many


def joined(frames: Sequence[Frame], start: bytes, end: bytes) -> bytes | None:
    """The lines of frames that all start and end so; None where a line might be less or more than a frame."""
    assert start.startswith(b"{")
    assert end.endswith(b"}")
    payloads = [frame.payload for frame in frames]
    lines = b"\n".join(payloads)
    # No string of JSON holds a line end, and within a document no "}" stands before a "{". So documents end
    # at each line end that is such a joint; when they are as many as frames, each frame is one.
    alone = (
        b"\n" not in b"".join(payloads)
        and lines.count(end + b"\n" + start) == len(frames) - 1
        and lines.startswith(start)
        and lines.endswith(end)
        and lines.isascii()
        and len(lines) <= FRAME_BYTES_MAX
    )
    return lines if alone else None


def each_trade(
    frame: Frame, rows: Sequence[Raw], read: Callable[[Raw], Any], trades: Trades, instruments: Instruments
) -> list[Decoded]:
    """The trades of one frame's rows; a row that cannot be read costs only itself."""
    return batched(frame, rows, lambda _, row: trades((frame,), (read(row),), instruments)[0])


def flat(frames: Sequence[Frame], messages: list[list[Any]]) -> tuple[Sequence[Frame], list[Any]]:
    """The frame of each wire message, and all of these, in the order of ids within a frame; none is empty."""
    wires = [wire for message in messages for wire in message]
    if len(wires) == len(frames):
        return frames, wires
    by_id = [sorted(message, key=identifier) for message in messages]
    repeated = [frame for frame, message in zip(frames, messages, strict=True) for _ in message]
    return repeated, [wire for message in by_id for wire in message]


identifier = attrgetter("id")
position = attrgetter("platform_sequence")
