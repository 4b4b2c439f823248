"""The policies that keep us connected without harm to a venue: plain values and functions of a given time.

Nothing here opens, sleeps or looks at a clock: who asks says the time, in seconds of a monotonic clock.
"""

import random
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from connectors.addresses import LOOPBACK
from connectors.errors import TapeError
from connectors.venues.protocol import FRAME_BYTES_MAX, Budget, Limits

ProblemKind = Literal[
    "closed",  # the venue closed with a code
    "cut",  # the connection ended without a word
    "silent",  # the peer stopped answering
    "stale",  # the venue traded on and the stream did not say so
    "mute",  # opened beside an older connection and never said anything
    "oversize",  # a message longer than the limit
    "protocol",  # what came is not WebSocket, or not HTTP
    "http_status",  # an HTTP status other than the one that was hoped for
    "proxy",
    "tls",
    "unresolved",  # the name has no address
    "refused",
    "timeout",
    "network",  # anything else that the system says about a socket
    "throttled",  # the venue asks us to slow down
]

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How patient we are; every number can be set."""

    backoff_seconds_first: float = 1.0
    backoff_seconds_max: float = 60.0
    breaker_failures: int = 3
    breaker_seconds: float = 30.0
    breaker_successes: int = 2
    open_seconds: float = 10.0  # a handshake that takes longer will not end
    close_seconds: float = 1.0  # nobody gains from a longer goodbye, and a half-open peer never says it
    silence_seconds: float = 10.0  # no byte for this long, a ping in between: half-open; noticed within 15 s
    idle_seconds: float = 30.0  # no data for this long: ask whether the market is quiet; 0 = never
    rotation_seconds: float = 600.0  # open the next connection this long before the venue cuts the old one
    delivery_seconds: float = 10.0  # the new connection of a rotation must say something within
    healthy_seconds: float = 5.0  # a connection that lived this long and brought data counts as a success
    answer_seconds: float = 10.0  # a REST answer that takes longer will not come
    frame_bytes_max: int = FRAME_BYTES_MAX
    queue_bytes_max: int = 64 * 1024 * 1024  # half a minute of a burst
    memory_bytes_max: int = 1024 * 1024 * 1024
    flush_seconds: float = 0.005  # how long frames are gathered before they are appended as one block
    sync_seconds: float = 1.0  # what a power cut may cost, and repair refills
    segment_bytes_max: int = 64 * 1024 * 1024  # a journal file; one is removed as a whole
    tick_seconds: float = 1.0  # windows close and repairs begin no sooner
    retry_seconds: float = 1.0  # after the disk refused


class Problem(NamedTuple):
    """Why a connection ended or never began."""

    kind: ProblemKind
    text: str


def backoff(policy: Policy, source: random.Random) -> Iterator[float]:
    """Waits before the next attempts: doubling, capped, with full jitter so that not all return at once."""
    longest = policy.backoff_seconds_first
    while True:
        yield source.uniform(0, longest)
        longest = min(2 * longest, policy.backoff_seconds_max)


class Breaker:
    """Stops calls to an endpoint that keeps failing; then lets single ones through until it proves well."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.failures = 0
        self.successes = 0
        self.opened: float | None = None
        self.tried: float | None = None

    def state(self, now: float) -> BreakerState:
        """Closed: calls pass. Open: none do. Half-open: one at a time."""
        if self.opened is None:
            return "closed"
        return "open" if now < self.opened + self.policy.breaker_seconds else "half_open"

    def rest(self, now: float) -> float:
        """Seconds until a call may pass; a trial without an outcome blocks the next as a failure would."""
        since = self.opened if self.tried is None else self.tried
        return 0.0 if since is None else max(0.0, since + self.policy.breaker_seconds - now)

    def begin(self, now: float) -> None:
        """A call is made."""
        self.tried = None if self.opened is None else now

    def succeed(self) -> None:
        """A call went well."""
        self.tried, self.failures = None, 0
        if self.opened is not None:
            # A trial that went well lets the next one through at once.
            self.opened -= self.policy.breaker_seconds
            self.successes += 1
            if self.successes >= self.policy.breaker_successes:
                self.opened = None

    def fail(self, now: float) -> None:
        """A call failed."""
        self.tried, self.successes = None, 0
        self.failures += 1
        if self.opened is not None or self.failures >= self.policy.breaker_failures:
            self.opened = now


@dataclass(frozen=True)
class Endpoint:
    """One of a venue's URLs."""

    url: str
    breaker: Breaker


def endpoints(urls: Sequence[str], policy: Policy) -> tuple[Endpoint, ...]:
    """The URLs of one venue, each with its breaker."""
    return tuple(Endpoint(checked(url), Breaker(policy)) for url in urls)


def choose(places: Sequence[Endpoint], failures: int, now: float) -> Endpoint | None:
    """Which endpoint of the same venue to try after so many failures; None while all of them rest."""
    start = failures % len(places)
    return next((each for each in (*places[start:], *places[:start]) if not each.breaker.rest(now)), None)


# Of a budget's seconds: how much closer together requests may arrive than they were sent.
TRAVEL_PART = 0.05


class Allowance:
    """At most `count` in any `seconds`, for all who share it: what is taken comes back that much later.

    Stricter than a bucket that refills steadily, which lets nearly twice as much pass around a full one. And
    a little later than that, because the venue counts arrivals: the second of two may travel faster.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = replace(budget, seconds=budget.seconds * (1 + TRAVEL_PART))
        self.taken: deque[tuple[float, int]] = deque()
        self.used = 0

    def delay(self, now: float, weight: int = 1) -> float:
        """Seconds until so much may be taken; 0 means now."""
        self.forget(now)
        excess = self.used + min(weight, self.budget.count) - self.budget.count
        for time, part in self.taken:
            if excess <= 0:
                break
            excess -= part
            if excess <= 0:
                return time + self.budget.seconds - now
        return 0.0

    def take(self, now: float, weight: int = 1) -> None:
        """Use it, whether it was allowed or not."""
        self.taken.append((now, weight))
        self.used += weight

    def forget(self, now: float) -> None:
        """What was taken long enough ago is there again."""
        while self.taken and self.taken[0][0] + self.budget.seconds <= now:
            self.used -= self.taken.popleft()[1]


def with_room_for_pongs(budget: Budget) -> Budget:
    """What we may send on our own account: pongs, which the venue asks for when it likes, count too."""
    return Budget(count=max(1, budget.count * 3 // 5), seconds=budget.seconds)


def silence_limit(limits: Limits, policy: Policy) -> float:
    """Seconds without any byte after which the peer is gone; half of it means that we ask."""
    return min(limits.silence_seconds, policy.silence_seconds)


def rotation_due(opened: float, limits: Limits, policy: Policy) -> float | None:
    """When the next connection is to be opened; None where the venue never cuts one."""
    if limits.lifetime_seconds is None:
        return None
    return opened + max(limits.lifetime_seconds - policy.rotation_seconds, limits.lifetime_seconds / 2)


def retry_after(text: str | None) -> float | None:
    """The seconds of a Retry-After header, which are digits; None where it says none."""
    if text is None or not (text := text.strip()).isascii() or not text.isdigit():
        return None
    return float(min(int(text[:DIGITS_MAX]), BAN_SECONDS_MAX))


# The longest ban that any venue knows: three days. More digits than this say more than that.
BAN_SECONDS_MAX, DIGITS_MAX = 3 * 24 * 3_600, 20


def network_problem(error: BaseException) -> Problem | None:
    """What the system says about a socket, also where a library wrapped it; None for anything else."""
    found = [
        Problem(kind, f"{type(each).__name__}: {each}"[:200])
        for each in causes(error)
        for kind, types in NETWORK
        if isinstance(each, types)
    ]
    # A library may wrap what it knows into an error that says less.
    return next((each for each in found if each.kind != "network"), found[0] if found else None)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what lies behind it, outermost first."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


# The first that fits; most are also an OSError.
NETWORK: tuple[tuple[ProblemKind, tuple[type[BaseException], ...]], ...] = (
    ("tls", (ssl.SSLError,)),
    ("unresolved", (socket.gaierror, socket.herror, UnicodeError)),
    ("refused", (ConnectionRefusedError,)),
    ("cut", (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)),
    ("timeout", (TimeoutError,)),
    ("network", (OSError,)),
)


def unusable_proxy(proxies: Mapping[str, str]) -> Problem | None:
    """Why no connection can be made as the environment wishes; what it says may hold a password."""
    for name in PROXIES & proxies.keys():
        parts = urlsplit(proxies[name])
        try:
            is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none
            is_usable = False
        if not is_usable:
            return Problem("proxy", f"{name}_proxy of the environment is not http://HOST:PORT")
    return None


# Those that our clients would use, or refuse to begin with.
PROXIES = {"http", "https", "ws", "wss", "socks", "all"}


def checked(url: str) -> str:
    """The URL, or TapeError: what leaves this machine is encrypted, and no switch changes that."""
    parts = urlsplit(url)
    if parts.scheme in ("wss", "https") or is_loopback(url):
        return url
    raise TapeError(
        f"refused to talk to {parts.hostname} without encryption",
        hint=f"{parts.scheme}:// is only for this machine: {', '.join(LOOPBACK)}",
    )


def is_loopback(url: str) -> bool:
    """Whether the URL stays on this machine."""
    return urlsplit(url).hostname in LOOPBACK
