"""What every venue must answer. Pure: bytes in, records out; no socket, no clock, no environment.

A venue is a frozen value of functions, so that differences between venues are data. Whatever bytes a venue
sends, `decode` returns records: it never raises, and what it cannot accept becomes a DeadLetter.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.health import FrameKind, Reason, What

# No venue sends a number this long; refusing it here keeps exponent bombs away from arithmetic.
NUMBER_CHARACTERS_MAX = 40
# Our three venues' market messages are below 64 KiB; a page of 1,000 trades is below 1 MiB.
FRAME_BYTES_MAX = 4 * 1024 * 1024

Decoded = Trade | Quote | Control | DeadLetter

# A venue's id or sequence number; stored as a 64-bit integer everywhere.
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Instrument(Struct, frozen=True):
    """One market of one venue, as the venue's own metadata describes it."""

    native: str  # in the venue's messages
    symbol: str  # BASE-QUOTE
    base: str
    quote: str
    rest: str  # in the venue's REST addresses
    quote_prefix: str  # of a message_id: exchange:market:symbol:
    trade_prefix: str  # the same with the first series: exchange:market:symbol:0:
    vendor_prefix: str  # an open JSON object with the facts that never change


Instruments = Mapping[str, Instrument]  # by native symbol


class Continuity(Enum):
    """What the venue's trade ids can prove."""

    CONTIGUOUS = "contiguous"  # each id is the one before plus one
    RANGE = "range"  # each message covers first..last, and ranges touch
    MONOTONIC = "monotonic"  # ids rise, with holes that mean nothing
    NONE = "none"  # no ids that can be compared


class Request(Struct, frozen=True):
    """A question to the venue's REST service."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    weight: int = 1  # in the units of Limits.rest


class Page(Struct, frozen=True):
    """One answer of the venue's trade history: what it says and what to ask next."""

    records: tuple[Decoded, ...]  # trades in id order, dead letters among them
    next: Request | None  # None: the hole is covered, or nothing more is to be had


class PageHeader(Struct, frozen=True):
    """First line of a repair frame: which question the bytes below it answer."""

    native: str
    first: int  # the hole that was asked for, both ends included
    last: int
    since: int  # venue time of the last trade before the hole, in microseconds
    request: Request
    status: int


@dataclass(frozen=True, kw_only=True)
class Budget:
    """At most `count` in any `seconds`."""

    count: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the venue allows; going beyond costs a ban."""

    connects: Budget
    messages: Budget  # what we send on one connection, pongs included
    rest: Budget
    subscriptions_max: int  # streams on one connection
    lifetime_seconds: float | None  # the venue cuts a connection after this
    silence_seconds: float  # no frame at all for this long means that the peer is gone


@dataclass(frozen=True, kw_only=True)
class Venue:
    """How one venue speaks."""

    name: str
    continuity: Continuity
    websocket_urls: tuple[str, ...]  # of the same venue, in order of preference
    rest_urls: tuple[str, ...]
    limits: Limits
    symbols: tuple[str, ...]  # what is captured when nobody says otherwise

    connect_path: Callable[[Sequence[Instrument]], str]  # appended to a websocket URL
    subscribe: Callable[[Sequence[Instrument]], list[bytes]]  # what to send once connected
    classify: Callable[[bytes], FrameKind]  # cheap: data or control, without full decoding
    decode: Callable[[Frame, Instruments], list[Decoded]]
    keep_alive: Callable[[int], bytes | None]  # message to send when idle; None: protocol pings do

    alive: Request  # the cheapest question, to find out whether the venue answers at all
    metadata: Request
    decode_metadata: Callable[[bytes], dict[str, Instrument]]  # raises ValueError
    repair: Callable[[Instrument, int, int, int], Request]  # (instrument, first, last, since)
    recent: Callable[[Instrument], Request]  # newest trades, to compare with a silent stream
    decode_page: Callable[[Frame, Instruments], Page]
    throttled: Callable[[int, bytes], bool]  # (status, body): the venue asks us to slow down


class Refused(Exception):
    """A message, or one record of it, that cannot be accepted; becomes a DeadLetter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def instrument(
    exchange: str, native: str, base: str, quote: str, *, rest: str = "", event_type: str = ""
) -> Instrument:
    """An Instrument with its prefixes prepared once, so that decoding only appends to them."""
    facts = {"base_asset": base, "quote_asset": quote, "native_symbol": native}
    if event_type:
        facts["event_type"] = event_type
    symbol = f"{base}-{quote}"
    return Instrument(
        native=native,
        symbol=symbol,
        base=base,
        quote=quote,
        rest=rest or native,
        quote_prefix=f"{exchange}:spot:{symbol}:",
        trade_prefix=f"{exchange}:spot:{symbol}:0:",
        vendor_prefix=msgspec.json.encode(facts).decode()[:-1],
    )


def known(instruments: Instruments, native: str) -> Instrument:
    """The instrument of that name, or Refused."""
    found = instruments.get(native)
    if found is None:
        raise Refused("unknown_symbol", f"symbol {native[:NUMBER_CHARACTERS_MAX]!r}")
    return found


# What decimal(38,18) holds, in the plain form that venues use: no sign, exponent, NaN or padding.
plain_number = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?").fullmatch
plain_numbers = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})? [0-9]{1,20}(?:\.[0-9]{1,18})?").fullmatch
_digits = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch


def number(text: str, field: str) -> str:
    """The text of a price or size, or Refused; a negative one passes, for validation to name."""
    if plain_number(text) or plain_number(text.removeprefix("-")):
        return text
    if len(text) <= NUMBER_CHARACTERS_MAX and not _digits(text):
        raise Refused("not_a_number", f"{field} is {text!r}")
    raise Refused("precision", f"{field} is {text[:NUMBER_CHARACTERS_MAX]!r}, {len(text)} characters")


def dead_letter(frame: Frame, reason: Reason, detail: str, *, index: int = 0) -> DeadLetter:
    """What decoding could not accept, with its coordinates."""
    return DeadLetter(
        message_id=f"{frame.exchange}:{frame.shard}:{frame.position}:{index}",
        exchange=frame.exchange,
        stage="decode",
        reason=reason,
        detail=detail,
        symbol=None,
        shard=frame.shard,
        platform_sequence=frame.position,
        connection=frame.connection,
        number=frame.number,
        index=index,
        received=frame.received,
        payload=frame.payload,
    )


def refusal(error: Exception) -> tuple[Reason, str] | None:
    """Why a frame could not be read; None for an error that is a bug of ours."""
    if isinstance(error, Refused):
        return error.reason, error.detail
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        return ("missing_field" if "missing required field" in text else "wrong_type"), text
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return "malformed", str(error)[:200]
    return None


def said(
    frame: Frame, what: What, *, symbol: str | None = None, newest_id: int | None = None, detail: str = ""
) -> Control:
    """What a control message means."""
    return Control(
        exchange=frame.exchange,
        shard=frame.shard,
        platform_sequence=frame.position,
        received=frame.received,
        what=what,
        symbol=symbol,
        newest_id=newest_id,
        detail=detail,
    )


def guarded(
    parse: Callable[[Frame, Instruments], list[Decoded]],
) -> Callable[[Frame, Instruments], list[Decoded]]:
    """Turn a parser that may refuse into a decoder that never raises, whatever the bytes."""

    def decode(frame: Frame, instruments: Instruments) -> list[Decoded]:
        if len(frame.payload) > FRAME_BYTES_MAX:
            return [dead_letter(frame, "too_large", f"{len(frame.payload)} bytes")]
        try:
            return parse(frame, instruments)
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            return [dead_letter(frame, *why)]

    return decode


def no_message(now: int) -> bytes | None:
    """For venues where protocol pings are enough."""
    return None


def epoch_time(value: int) -> int:
    """Microseconds of a venue's milliseconds or microseconds, told apart by magnitude, or Refused."""
    if 1_000_000_000_000 <= value < 10_000_000_000_000:
        return value * 1_000
    if 1_000_000_000_000_000 <= value < 10_000_000_000_000_000:
        return value
    raise Refused("time", f"time {value}")


def pack_page(header: PageHeader, body: bytes) -> bytes:
    """The payload of a repair frame."""
    return msgspec.json.encode(header) + b"\n" + body


def each(frame: Frame, items: Sequence[Any], record: Callable[[Any], Decoded]) -> list[Decoded]:
    """One record for each item; an item that cannot be read costs only itself."""
    records: list[Decoded] = []
    for index, item in enumerate(items):
        try:
            records.append(record(item))
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            records.append(dead_letter(frame, *why, index=index))
    return records


def page_decoder(
    rows: Callable[[bytes, Instrument], Sequence[Any]],
    record: Callable[[Frame, Any, Instrument], Trade],
    following: Callable[[PageHeader, Instrument, Sequence[Trade], bytes], Request | None],
) -> Callable[[Frame, Instruments], Page]:
    """A decoder of pages from how to split a body, read a row, and ask on after the trades of this page."""

    def decode_page(frame: Frame, instruments: Instruments) -> Page:
        try:
            header, body = unpack_page(frame.payload)
            listed = known(instruments, header.native)
            found = each(frame, rows(body, listed), lambda row: record(frame, row, listed))
            trades = sorted((one for one in found if isinstance(one, Trade)), key=sequence)
            asked = [one for one in trades if header.first <= sequence(one) <= header.last]
            letters = [one for one in found if isinstance(one, DeadLetter)]
            return Page((*asked, *letters), following(header, listed, trades, body))
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            return Page((dead_letter(frame, *why),), None)

    return decode_page


def sequence(trade: Trade) -> int:
    """The venue's number of a trade that must have one."""
    assert trade.source_sequence is not None
    return trade.source_sequence


_page_header = msgspec.json.Decoder(PageHeader)


def unpack_page(payload: bytes) -> tuple[PageHeader, bytes]:
    """What `pack_page` packed, or Refused."""
    head, line_end, body = payload.partition(b"\n")
    if not line_end:
        raise Refused("malformed", "a repair frame without its header")
    return _page_header.decode(head), body
