"""Decode many trade frames at once: one call reads all, and each field is then taken of all.

The law: the records are those that decoding frame by frame gives. So whatever is not plainly a run of good
trades is decoded frame by frame, and only that says what is refused and why.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Annotated, Any

from msgspec import Meta, Raw

from connectors.venues.decoding import EXPECTED, batched, guarded
from connectors.venues.protocol import Decoded, Instruments
from schemas import Frame, Quote
from schemas.run import Run

# Of the frames of a run whose messages may say something long. Words of twice the length are valid, and those
# of a trade are shorter than that. A frame of many trades is longer: there each text must be Short.
PAYLOAD_BYTES_MAX = 2_048
Short = Annotated[str, Meta(max_length=64)]

Parse = Callable[[Frame, Instruments, list[Decoded]], None]
Read = Callable[[bytes], Any]
Alike = Callable[[bytes], bool]
Trades = Callable[[Sequence[Frame], Sequence[Any], Instruments], list[Decoded]]


def runs_of_trades(
    parse: Parse, trades: Trades, read: Read, alike: Alike, payload_bytes_max: int = PAYLOAD_BYTES_MAX
) -> Callable[[Sequence[Frame], Instruments], list[Decoded]]:
    """A decoder that never raises, from how one frame is parsed, and how trades are made of wire messages.

    `read` decodes a frame to a wire message, or to an envelope whose `data` is one or a list of some. Frames
    of trades are known by being `alike`, which need not be sure: `read` and `trades` may refuse.
    """
    one_by_one = guarded(parse)

    def together(
        frames: Sequence[Frame], payloads: Sequence[bytes], instruments: Instruments
    ) -> list[Decoded] | None:
        if len(frames) < 2 or not all(map(bytes.isascii, payloads)):  # what nobody reads must be text too
            return None
        try:
            wires = list(map(read, payloads))
            if hasattr(wires[0], "data"):
                wires = [envelope.data for envelope in wires]
            if isinstance(wires[0], list):
                frames, wires = flat(frames, wires)
            return trades(frames, wires, instruments)
        except EXPECTED:
            return None

    def decode_many(frames: Sequence[Frame], instruments: Instruments) -> list[Decoded]:
        payloads = [frame.payload for frame in frames]
        if all(map(alike, payloads)) and max(map(len, payloads), default=0) <= payload_bytes_max:
            return together(frames, payloads, instruments) or one_by_one(frames, instruments)
        likely: list[Frame] = []
        others: list[Frame] = []
        for frame, payload in zip(frames, payloads, strict=True):
            usual = alike(payload) and len(payload) <= payload_bytes_max
            (likely if usual else others).append(frame)
        found = together(likely, [frame.payload for frame in likely], instruments)
        return among(found, one_by_one(others, instruments)) if found else one_by_one(frames, instruments)

    return decode_many


def among(found: Sequence[Decoded], others: Sequence[Decoded]) -> list[Decoded]:
    """Trades of some frames with what the frames among them became.

    A quote has nothing to do with trades: it waits for the end of their run. Any other record ends the run,
    and what its frame became stays together.
    """
    run = found[0]
    if not isinstance(run, Run):
        return sorted([*found, *others], key=position)
    ends = {position(record) for record in others if type(record) is not Quote}
    result: list[Decoded] = []
    waiting: list[Decoded] = []
    done = 0
    for record in others:
        if position(record) not in ends:
            waiting.append(record)
            continue
        here = bisect_left(run.frames, position(record), done, key=attrgetter("position"))
        if done < here:
            result.append(run.cut(done, here))
        result += [*waiting, record]
        waiting, done = [], here
    if done < len(run):
        result.append(run.cut(done, len(run)))
    return result + waiting


def each_trade(
    frame: Frame, rows: Sequence[Raw], read: Callable[[Raw], Any], trades: Trades, instruments: Instruments
) -> list[Decoded]:
    """The trades of one frame's rows; a row that cannot be read costs only itself."""
    return batched(frame, rows, lambda _, row: trades((frame,), (read(row),), instruments)[0])


def flat(frames: Sequence[Frame], messages: list[list[Any]]) -> tuple[Sequence[Frame], list[Any]]:
    """The frame of each wire message, and all of these, in the order of ids within a frame; none is empty."""
    wires = list(chain.from_iterable(messages))
    if len(wires) == len(frames):
        return frames, wires
    ids = [wire.id for wire in wires]
    if ids != sorted(ids):  # as they are where all are of one symbol
        wires = [wire for message in messages for wire in sorted(message, key=identifier)]
    return list(chain.from_iterable(map(repeat, frames, map(len, messages)))), wires


identifier = attrgetter("id")
position = attrgetter("platform_sequence")
