"""What every venue must answer. Pure: bytes in, records out; no socket, no clock, no environment.

A venue is a frozen value of functions, so that differences between venues are data. Whatever bytes a venue
sends, `decode` returns records: it never raises, and what it cannot accept becomes a DeadLetter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.health import FrameKind
from schemas.run import Run, records_of

# Our three venues' market messages are below 64 KiB; a page of 1,000 trades is below 1 MiB.
FRAME_BYTES_MAX = 4 * 1024 * 1024

# Trades that come in a row are a run; `records_of` makes records of it.
Decoded = Trade | Quote | Control | DeadLetter | Run

# A venue's id or sequence number; stored as a 64-bit integer everywhere.
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class Instrument(Struct, frozen=True):
    """One market of one venue, as the venue's own metadata describes it."""

    exchange: str
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
    headers: tuple[tuple[str, str], ...] = ()


class Page(Struct, frozen=True):
    """One answer of the venue's trade history: what it says and what to ask next."""

    records: tuple[Decoded, ...]  # trades in id order, dead letters among them
    next: Request | None  # None: the hole is covered, or nothing more is to be had
    unreadable: str = ""  # why it is no page; then it says nothing of what the history has


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
    silence_seconds: float  # no frame at all for this long means that the peer is gone
    lifetime_seconds: float | None = None  # the venue cuts a connection after this
    mute_seconds: float | None = None  # the venue cuts a connection that has not subscribed by then


def nothing(asked: object) -> None:
    """The answer of a venue that needs no such thing."""


@dataclass(frozen=True, kw_only=True)
class Venue:
    """How one venue speaks."""

    name: str
    continuity: Continuity
    websocket_urls: tuple[str, ...]  # of the same venue, in order of preference
    rest_urls: tuple[str, ...]
    limits: Limits
    symbols: tuple[str, ...]  # what is captured when nobody says otherwise

    connect_path: str = ""  # appended to a websocket URL
    subscribe: Callable[[Sequence[Instrument]], list[bytes]]  # what to send once connected
    classify: Callable[[bytes], FrameKind]  # cheap: data or control, without full decoding
    decode_many: Callable[[Sequence[Frame], Instruments], list[Decoded]]
    keep_alive: Callable[[int], bytes | None] = nothing  # message to send when idle; None: protocol pings do

    alive: Request  # the cheapest question, to find out whether the venue answers at all
    metadata: Request
    decode_metadata: Callable[[bytes], dict[str, Instrument]]  # raises ValueError
    spelled: Callable[[str], Instrument | None] = nothing  # the pair that a native name spells out itself
    repair: Callable[[Instrument, int, int, int], Request]  # (instrument, first, last, since)
    recent: Callable[[Instrument], Request]  # newest trades, to compare with a silent stream
    decode_page: Callable[[Frame, Instruments], Page]
    throttled: Callable[[int, bytes], bool]  # (status, body): the venue asks us to slow down

    def decode(self, frame: Frame, instruments: Instruments) -> list[Decoded]:
        """The records of one frame; of many at once, `decode_many` makes the same for less."""
        return records_of(self.decode_many((frame,), instruments))


def instrument(exchange: str, native: str, base: str, quote: str, *, rest: str = "") -> Instrument:
    """An Instrument with its prefixes prepared once, so that decoding only appends to them."""
    facts = {"base_asset": base, "quote_asset": quote, "native_symbol": native}
    symbol = f"{base}-{quote}"
    return Instrument(
        exchange=exchange,
        native=native,
        symbol=symbol,
        base=base,
        quote=quote,
        rest=rest or native,
        quote_prefix=f"{exchange}:spot:{symbol}:",
        trade_prefix=f"{exchange}:spot:{symbol}:0:",
        vendor_prefix=msgspec.json.encode(facts).decode()[:-1],
    )
