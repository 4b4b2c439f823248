"""`tape decode`: what we make of a venue's frames. No network, no clock: equal input gives equal output."""

import binascii
import sys
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import click
import msgspec

from connectors.errors import TapeError, unknown
from connectors.venues import VENUES
from connectors.venues.decoding import dead_letter
from connectors.venues.protocol import FRAME_BYTES_MAX, Decoded, Instrument, Instruments, Venue
from connectors.venues.shipped import shipped_instruments
from operate.numbers import Moment
from operate.scope import venues
from schemas import Control, DeadLetter, Frame, Quote, Trade

# The longest frame that a venue may send, in base64, and its line's end. More is not kept in memory.
BASE64_BYTES_MAX = (FRAME_BYTES_MAX + 2) // 3 * 4
LINE_BYTES_MAX = BASE64_BYTES_MAX + 8

KINDS = {Trade: "trade", Quote: "quote", Control: "control", DeadLetter: "dead_letter"}


@click.command("decode")
@click.argument("venue", shell_complete=venues)
@click.argument("frames", type=click.File("rb"), default="-", metavar="[FILE|-]")
@click.option("--base64", "in_base64", is_flag=True, help="Each line is a frame in base64.")
@click.option(
    "--received",
    type=Moment(),
    default=0,
    metavar="TIME",
    help="When the frames were received, as microseconds or ISO; 0, if not said.",
)
@click.option(
    "--metadata",
    type=click.File("rb"),
    help="The venue's own list of instruments (its REST answer), to know more symbols.",
)
def command(venue: str, frames: BinaryIO, in_base64: bool, received: int, metadata: BinaryIO | None) -> None:
    """Read frames, one a line, and print the records they become.

    One JSON object a line.

    Each record has its `kind` (trade, quote, control, dead_letter) and every field by its name in schemas/:
    prices and sizes as exact text, times as microseconds (UTC), vendor_data as an object. A frame that could
    not be read is in `payload` if it is UTF-8 text, else in `payload_base64`.

    Every line is a frame, an empty one too, and `platform_sequence` is its number. Of a line that is longer
    than any frame may be, only the beginning is kept. Ends with 0 whatever the frames were.
    """
    if venue not in VENUES:
        raise unknown("venue", venue, VENUES)
    speaker = VENUES[venue]
    instruments = SpelledOut(speaker, metadata)
    out = sys.stdout.buffer
    for position, (line, cut) in enumerate(lines(frames), 1):
        for record in decoded(speaker, instruments, position, line, cut, received, in_base64):
            out.write(msgspec.json.encode(plain(record)) + b"\n")
    out.flush()


class SpelledOut(Mapping[str, Instrument]):
    """The instruments that we ship or were given, and those whose name says by itself what they are."""

    def __init__(self, venue: Venue, metadata: BinaryIO | None) -> None:
        self._spelled = venue.spelled
        self._listed: Instruments = shipped_instruments(venue.name)
        if metadata is not None:
            try:
                self._listed = {**self._listed, **venue.decode_metadata(metadata.read())}
            except ValueError as error:
                raise TapeError(f"{metadata.name} is not metadata of {venue.name}: {error}") from error

    def __getitem__(self, native: str) -> Instrument:
        found = self._listed.get(native) or self._spelled(native)
        if found is None:
            raise KeyError(native)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def lines(stream: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """The lines of a stream without their ends and what is beyond LINE_BYTES_MAX, and how much that was."""
    while line := stream.readline(LINE_BYTES_MAX):
        rest, cut = line, 0
        while rest and not rest.endswith(b"\n"):
            rest = stream.readline(LINE_BYTES_MAX)
            cut += len(rest.removesuffix(b"\n"))
        yield line.removesuffix(b"\n").removesuffix(b"\r"), cut


def decoded(
    venue: Venue,
    instruments: Instruments,
    position: int,
    line: bytes,
    cut: int,
    received: int,
    in_base64: bool,
) -> list[Decoded]:
    """The records of one line, of which so many bytes were cut off."""

    def frame(payload: bytes) -> Frame:
        kind = venue.classify(payload)
        return Frame(venue.name, f"{venue.name}-0", position, 0, position, received, kind, payload)

    if cut:
        return [dead_letter(frame(line), ("too_large", f"{len(line) + cut} bytes"), 0)]
    if not in_base64:
        return venue.decode(frame(line), instruments)
    if len(line) > BASE64_BYTES_MAX:
        return [dead_letter(frame(line), ("too_large", f"more than {FRAME_BYTES_MAX} bytes"), 0)]
    try:
        payload = binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error as error:
        return [dead_letter(frame(line), ("malformed", f"not base64: {error}"), 0)]
    return venue.decode(frame(payload), instruments)


def plain(record: Decoded) -> dict[str, Any]:
    """A record as an object of JSON."""
    found: dict[str, Any] = {"kind": KINDS[type(record)], **msgspec.structs.asdict(record)}
    if isinstance(record, Trade | Quote) and record.vendor_data is not None:
        found["vendor_data"] = msgspec.Raw(record.vendor_data.encode())
    if isinstance(record, DeadLetter):
        try:
            found["payload"] = record.payload.decode()
        except UnicodeDecodeError:
            del found["payload"]
            found["payload_base64"] = record.payload
    return found
