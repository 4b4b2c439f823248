"""What the simulator's tests share: a market that stands still, and clients that speak to running venues."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from simulator.market import Market
from simulator.venues import FACES
from simulator.venues.protocol import Allowance, Face, Outgoing, Reply, Request, Response, Rules, Session

START = 1_767_225_600_000_000  # 2026-01-01


@dataclass
class Counter:
    """One venue's face over a market that moves only when told to, and one client of it."""

    face: Face
    market: Market
    session: Session
    allowance: Allowance
    rules: Rules
    now: int = START
    greeting: Reply = field(default_factory=Reply)

    def says(self, text: str) -> list[str]:
        """What the venue answers to a message."""
        return self.texts(self.face.receive(self.session, self.market, text.encode(), self.now))

    def texts(self, reply: Reply) -> list[str]:
        return [(one.payload if isinstance(one, Outgoing) else one).decode() for one in reply.frames]

    def trades(self, count: int, native: str = "") -> list[str]:
        """What the client gets when one order fills so often."""
        symbol = self.market.symbols[native] if native else self.market.order[0]
        moments = [symbol.trade(self.now + 1_500_000, count)]
        frames = self.face.render(self.session.form, self.session.streams, moments)
        return [one.payload.decode() for one in frames]

    def get(self, path: str, headers: dict[str, str] | None = None, /, **query: str) -> Response:
        request = Request(path, query, headers or {})
        return self.face.answer(self.market, self.allowance, self.rules, request, self.now + 2_000_000)


Visit = Callable[..., Counter]


@pytest.fixture
def visit() -> Visit:
    """Come to a venue: `visit("kraken", "/v2")`; each symbol has traded twice before."""

    def come(venue: str, path: str = "/", **rules: float) -> Counter:
        face = FACES[venue]
        market = Market(face.listings, seed="1", start=START, rate=0)
        market.prepare(2)
        session = Session(7, START, path, sent=START, last_heartbeat=START)
        given = Rules(**{**vars(face.rules), **rules})
        counter = Counter(face, market, session, Allowance(given), given)
        counter.greeting = face.open(session, market, START)
        return counter

    return come
