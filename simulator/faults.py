"""What goes wrong, how likely, and for how long; every firing is counted, and one seed decides all of them.

A fault spoils what is sent, never what is true: the market and its history stay as they were made, except
`id_reset`, which a real venue does to its own truth.
"""

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from random import Random

from connectors.faults import FRAME_FAULTS, SECONDS, Fault
from simulator.venues.protocol import Outgoing
from simulator.websocket import Wire

CLOSE_CODES = (1006, 1008, 1011, 1012, 1013)
HUGE_BYTES = 16 * 1024 * 1024
BOMB_BYTES = 32 * 1024 * 1024
RETENTION_TRADES = 100
# No venue trades so often while a client looks away, and no id has more than 63 bits.
WRONG_AHEAD, WRONG_BACK, TOO_BIG = 10**12, 10**7, 2**63


class Chances:
    """Which faults fire, by chance or because somebody asked; counts each."""

    def __init__(self, faults: Mapping[str, Fault], seed: str, fired: Counter[str]) -> None:
        self.faults = faults
        self.random = Random(seed)
        self.fired = fired
        self.asked: Counter[str] = Counter()

    def fires(self, name: str) -> bool:
        if self.asked[name]:
            self.asked[name] -= 1
        elif name not in self.faults or self.random.random() >= self.faults[name].probability:
            return False
        self.fired[name] += 1
        return True

    def seconds(self, name: str) -> float:
        return self.faults[name].seconds if name in self.faults else SECONDS.get(name, 0.0)

    def any_of(self, names: Iterable[str]) -> bool:
        """Whether one of these could fire at all."""
        return any(name in self.faults or self.asked[name] for name in names)


class FrameFaults:
    """What one connection's chances do to the frames on their way to it."""

    def __init__(self, venue: str, chances: Chances) -> None:
        self.venue = venue
        self.chances = chances
        self.held: Outgoing | None = None  # waits for a frame that overtakes it
        self.late: list[tuple[int, Outgoing]] = []  # when to send it, in microseconds

    def spoil(self, frames: list[Outgoing], now: int) -> list[Outgoing]:
        """The frames as they go out."""
        out = [frame for due, frame in self.late if due <= now]
        if out:
            self.late = [one for one in self.late if one[0] > now]
        if not self.held and not self.chances.any_of(FRAME_FAULTS):
            return out + frames
        for frame in frames:
            if frame.trades:
                self.spoil_trades(frame, now, out)
            else:
                out.append(frame)
        return out

    def spoil_trades(self, frame: Outgoing, now: int, out: list[Outgoing]) -> None:
        fires = self.chances.fires
        if fires("drop"):
            return
        if fires("delay"):
            self.late.append((now + int(self.chances.seconds("delay") * 1_000_000), frame))
            return
        if not self.held and fires("reorder"):
            self.held = frame
            return
        out.append(frame)
        if self.held:
            out.append(self.held)
            self.held = None
        if fires("duplicate"):
            out.append(frame)
        if fires("other_price"):
            out.append(frame._replace(trades=(), payload=with_other_price(frame)))
        if fires("wrong_id"):
            out.append(frame._replace(trades=(), payload=with_wrong_id(frame, self.chances.random)))
        for name, payload in (("malformed", self.malformed), ("huge", huge), ("bomb", bomb)):
            if fires(name):
                out.append(frame._replace(trades=(), payload=payload(frame)))

    def malformed(self, frame: Outgoing) -> bytes:
        """One of the ways in which a frame can be unreadable."""
        payload = frame.payload
        number = (
            b'"price":NaN'
            if self.venue == "kraken"
            else b'"p":NaN'
            if self.venue == "binance"
            else b'"size":NaN'
        )
        ways = (
            payload[: len(payload) // 2],
            payload.replace(b":", b":\xff\xfe", 1),
            payload[:-2] + b"," + number + payload[-2:],
            b"[" * 20_000,
            b"",
            b"null",
        )
        return ways[int(self.chances.random.random() * len(ways))]


def with_other_price(frame: Outgoing) -> bytes:
    """The same trades with a price that differs in its first digit."""
    for key in (b'"p":"', b'"price":"', b'"price":'):
        at = frame.payload.find(key)
        if at >= 0:
            at += len(key)
            digit = b"1" if frame.payload[at : at + 1] != b"1" else b"2"
            return frame.payload[:at] + digit + frame.payload[at + 1 :]
    raise AssertionError(f"no price in {frame.payload!r}")


def with_wrong_id(frame: Outgoing, random: Random) -> bytes:
    """The same trades, the last of them with an id that cannot be the next."""
    own = frame.trades[-1].id
    wrong = random.choice((own + WRONG_AHEAD, max(0, own - WRONG_BACK), own + TOO_BIG))
    key = b'"t":' if b'"e":' in frame.payload else b'"trade_id":'
    return frame.payload.replace(b"%b%d" % (key, own), b"%b%d" % (key, wrong))


def huge(frame: Outgoing) -> bytes:
    return b'{"padding":"' + b" " * HUGE_BYTES + b'"}'


@lru_cache(maxsize=1)
def bombed() -> Wire:
    """A final text frame with the compressed bit set, as the extension allows once it was agreed."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = (squeeze.compress(b" " * BOMB_BYTES) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return Wire(b"\xc1\x7e" + len(data).to_bytes(2) + data)


def bomb(frame: Outgoing) -> bytes:
    return bombed()
