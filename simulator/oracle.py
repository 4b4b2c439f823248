"""What is true: which trades were made, what was sent to whom, what was answered, which faults fired.

Only the simulator writes here; tests and audits read. A fault never changes what it says about the market.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from simulator.market import Market, SymbolMarket, Trade
from simulator.venues.protocol import plain

# Connections and requests beyond these are forgotten, oldest first; a day of a normal client is far below.
CONNECTIONS_MAX = 10_000
REQUESTS_MAX = 100_000
# Ids are kept as runs; only faults break a run, so this many are hours of heavy faults.
RUNS_MAX = 1_000_000
MESSAGES_MAX = 1_000  # of one connection, the newest; clients subscribe, and then ping now and then


class Made(NamedTuple):
    """One trade as any honest record of it must read."""

    id: int
    time: int  # microseconds
    price: str
    quantity: str
    side: str  # the taker's: BUY or SELL


@dataclass(eq=False)
class Sent:
    """Ids in the order in which they were sent, as runs of neighbours."""

    runs: list[list[int]] = field(default_factory=list)

    def add(self, first: int, last: int) -> None:
        if self.runs and self.runs[-1][1] + 1 == first:
            self.runs[-1][1] = last
        elif len(self.runs) < RUNS_MAX:
            self.runs.append([first, last])

    def ids(self) -> list[int]:
        return [one for first, last in self.runs for one in range(first, last + 1)]


@dataclass(eq=False)
class ConnectionRecord:
    """One connection that a client made."""

    number: int
    path: str
    opened: int
    closed: int | None = None
    close_code: int | None = None  # as the client saw it; 1006: without a close frame
    frames: int = 0
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=MESSAGES_MAX))  # what the client sent
    sent: dict[str, Sent] = field(default_factory=dict)  # by native symbol


class VenueOracle:
    """The truth about one venue."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.connections: deque[ConnectionRecord] = deque(maxlen=CONNECTIONS_MAX)
        self.connects: deque[tuple[int, bool]] = deque(maxlen=REQUESTS_MAX)  # when, and whether it was let in
        self.requests: deque[tuple[int, str, int]] = deque(maxlen=REQUESTS_MAX)  # when, what, status
        self.fired: Counter[str] = Counter()

    def symbol(self, name: str) -> SymbolMarket:
        return self.market.names[name]

    def series(self, name: str) -> list[tuple[int, int]]:
        """First and last id made, of each time that the venue began to count; last < first: none."""
        return [(one.made_first, one.last) for one in self.symbol(name).series]

    def trades(self, name: str) -> list[Made]:
        """All trades of a symbol that are still remembered, in the order in which they were made."""
        symbol = self.symbol(name)
        return [
            made(symbol, one.trade(id_)) for one in symbol.series for id_ in range(one.first, one.last + 1)
        ]

    def trade(self, name: str, identifier: int) -> Made | None:
        """The trade of that id, from the newest series that has it."""
        found = self.symbol(name).find(identifier)
        return made(self.symbol(name), found) if found else None

    def sent(self, name: str) -> list[tuple[ConnectionRecord, list[int]]]:
        """For each connection, the ids of a symbol in the order in which they were sent on it."""
        native = self.symbol(name).listing.native
        return [(one, one.sent[native].ids()) for one in self.connections if native in one.sent]

    def as_json(self) -> dict[str, Any]:
        """Everything but the trades, in plain values."""
        return {
            "symbols": {
                one.listing.native: {"series": self.series(one.listing.native)} for one in self.market
            },
            "connections": [
                {
                    "number": one.number,
                    "path": one.path,
                    "opened": one.opened,
                    "closed": one.closed,
                    "close_code": one.close_code,
                    "frames": one.frames,
                    "messages": list(one.messages),
                    "sent": {native: sent.runs for native, sent in one.sent.items()},
                }
                for one in self.connections
            ],
            "connects": list(self.connects),
            "requests": list(self.requests),
            "fired": dict(self.fired),
        }


def made(symbol: SymbolMarket, trade: Trade) -> Made:
    listing = symbol.listing
    return Made(
        trade.id,
        trade.time // 1_000,
        plain(trade.price, listing.price_decimals),
        plain(trade.quantity, listing.quantity_decimals),
        "BUY" if trade.taker_buys else "SELL",
    )


class Oracle(dict[str, VenueOracle]):
    """The truth about all venues, by name."""

    def fired(self, fault: str) -> int:
        """How often a fault fired, on any venue."""
        return sum(venue.fired[fault] for venue in self.values())
