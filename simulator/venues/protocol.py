"""What a simulated venue must be able to do. Pure: text in, frames out; no socket and no clock.

A face is a frozen value of functions over a market; the server owns the sockets and says what time it is.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from simulator.market import Listing, Market, Moment, SymbolMarket, Trade

SECOND = 1_000_000  # of our time, in microseconds

Stream = tuple[str, str]  # channel and native symbol


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a venue allows and when it acts by itself; times in seconds, None stands for never."""

    ping: float | None = None
    pong: float = 60.0
    lifetime: float | None = None
    messages: tuple[int, float] | None = None  # at most so many from a client in so many seconds
    connects: tuple[int, float] | None = None
    rest: tuple[float, float]  # so many requests (or their weight) in so many seconds
    rest_burst: float = 1.0
    lag: float = 0.0  # how far the trade history is behind the stream
    subscribe: float | None = None  # a client that asks for nothing is cut
    notice: float = 10.0  # from announcing a shutdown to the cut


@dataclass(eq=False)
class Session:
    """One client's connection as the venue sees it."""

    number: int
    opened: int
    path: str
    streams: dict[Stream, str] = field(default_factory=dict)  # what was asked for, and its name
    form: tuple[bool, ...] = ()  # how the frames are to be written; equal forms share their rendering
    sent: int = 0  # when the last frame left
    last_heartbeat: int = 0


class Outgoing(NamedTuple):
    """One frame of market data on its way to a connection."""

    stream: Stream
    market: SymbolMarket
    trades: Sequence[Trade]  # what it carries; none for quotes
    payload: bytes


@dataclass(frozen=True)
class Reply:
    """What the venue does when something happened on a connection."""

    frames: Sequence[bytes | Outgoing] = ()
    close: tuple[int, str] | None = None


class Request(NamedTuple):
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]  # names in lower case


class Response(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = {}


class Allowance:
    """What clients have used of the venue's REST budget."""

    def __init__(self, rules: Rules) -> None:
        self.count, self.seconds = rules.rest
        self.burst = rules.rest_burst
        self.window, self.used = 0, 0.0
        self.buckets: dict[str, tuple[float, int]] = {}

    def spend(self, weight: float, now: int) -> tuple[float, int]:
        """Weight used in this fixed window, and whole seconds until the next begins."""
        length = int(self.seconds * SECOND)
        if now // length != self.window:
            self.window, self.used = now // length, 0.0
        self.used += weight
        return self.used, (length - now % length) // SECOND + 1

    def take(self, name: str, now: int) -> bool:
        """Whether a bucket that refills steadily still had one."""
        tokens, then = self.buckets.get(name, (self.burst, now))
        tokens = min(self.burst, tokens + (now - then) / SECOND * self.count / self.seconds)
        allowed = tokens >= 1
        self.buckets[name] = (tokens - 1 if allowed else tokens, now)
        return allowed


@dataclass(frozen=True, kw_only=True)
class Face:
    """How one venue speaks."""

    name: str
    listings: tuple[Listing, ...]
    rules: Rules
    open: Callable[[Session, Market, int], Reply]
    receive: Callable[[Session, Market, bytes, int], Reply]
    tend: Callable[[Session, Market, Rules, int], Reply]  # asked ten times a second: what is due?
    render: Callable[[tuple[bool, ...], Collection[Stream], Iterable[Moment]], list[Outgoing]]
    notice: Callable[[Session, int], bytes | None]  # None: this venue announces nothing
    answer: Callable[[Market, Allowance, Rules, Request, int], Response]
    streams: Callable[
        [str], tuple[Stream, ...]
    ]  # trades and best quotes of a symbol, for frames without a client


def plain(value: int, decimals: int, shown: int = 0) -> str:
    """Exact text of a count of ticks, padded with zeros to `shown` decimals."""
    if not decimals:
        return f"{value}.{'0' * shown}" if shown else str(value)
    text = str(value).zfill(decimals + 1)
    return f"{text[:-decimals]}.{text[-decimals:]}{'0' * (shown - decimals)}"


def short(value: int, decimals: int) -> str:
    """Exact text without zeros at the end."""
    text = plain(value, decimals)
    return text.rstrip("0").rstrip(".") if decimals else text


def zulu(time: int) -> str:
    """RFC 3339 text of nanoseconds, to the microsecond."""
    return f"{second_text(time // 1_000_000_000)}.{time // 1_000 % SECOND:06d}Z"


@lru_cache(maxsize=1_024)
def second_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def whole_number(text: str | None, default: int) -> int | None:
    """The number that a query names; the default when it names none, None when it is not a number."""
    if text is None:
        return default
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 19 else None
