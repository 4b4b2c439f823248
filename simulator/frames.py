"""Frames without a client: what a venue would send, as fast as it can be written, for benchmarks."""

from itertools import islice

from simulator.market import Market
from simulator.venues import FACES
from simulator.venues.protocol import Stream

START = 1_767_225_600_000_000  # 2026-01-01
STEP = 100_000
RATE = 10_000.0
# How each venue writes for a client that follows our own advice: Binance combined, in microseconds.
FORMS = {"binance": (True, True)}


def frames(venue: str, seed: int, count: int, *, quotes: bool = False) -> list[bytes]:
    """The first `count` frames of trades, and of quotes among them if wanted; the same for the same seed."""
    face = FACES[venue]
    market = Market(face.listings, seed=f"{seed}:{venue}", start=START, rate=RATE, history_max=1_000)
    wanted: set[Stream] = {
        stream for one in face.listings for stream in face.streams(one.native)[: 2 if quotes else 1]
    }
    written: list[bytes] = []
    now = START
    while len(written) < count:
        now += STEP
        moments = market.advance(now)
        written += (one.payload for one in face.render(FORMS.get(venue, ()), wanted, moments))
    return list(islice(written, count))
