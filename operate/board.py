"""The live table: what each market did lately. Records and times in, rows out; `run` shows them.

It reads the journal like everybody else, so it can watch a capture of any process.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from connectors.venues.protocol import Instrument, Venue
from dataflows.chain import listed_instruments
from schemas import DeadLetter, Frame, Quote, Trade
from schemas.health import ConnectionEvent

# Long enough to be steady, short enough to show a burst.
RATE_SECONDS = 10
# After this a person wants to know; whether the market is quiet or the stream dead is capture's question.
STALE_SECONDS = 10
MICROSECONDS = 1_000_000

event = msgspec.json.Decoder(ConnectionEvent).decode


@dataclass
class Market:
    """One row: what is known of one symbol at one venue."""

    trades: int = 0
    quotes: int = 0
    price: str = ""
    side: str = ""
    bid: str | None = None
    ask: str | None = None
    received: int = 0
    seconds: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RATE_SECONDS + 1))

    def trade(self, trade: Trade) -> None:
        self.trades += 1
        self.received = max(self.received, trade.ingestion_timestamp)
        self.price, self.side = trade.price, trade.side
        second = trade.ingestion_timestamp // MICROSECONDS
        if self.seconds and self.seconds[-1][0] == second:
            self.seconds[-1] = (second, self.seconds[-1][1] + 1)
        else:
            self.seconds.append((second, 1))

    def quote(self, quote: Quote) -> None:
        self.quotes += 1
        self.received = max(self.received, quote.ingestion_timestamp)
        self.bid, self.ask = quote.bid_price, quote.ask_price

    def rate(self, now: int) -> float:
        """Trades a second over the last whole seconds."""
        newest = now // MICROSECONDS
        recent = sum(count for second, count in self.seconds if newest - RATE_SECONDS <= second < newest)
        return recent / RATE_SECONDS


class Board:
    """What the markets of some shards did, fed with the frames of their journals."""

    def __init__(self, venues: Mapping[str, Venue], markets: Iterable[tuple[str, str]]) -> None:
        self.venues = venues
        self.markets = {market: Market() for market in markets}
        self.instruments: dict[str, Mapping[str, Instrument]] = {}
        self.connections: dict[str, str] = {}  # by shard: how its newest connection stands
        self.newest: dict[str, int] = {}  # by shard: when its last frame was journalled
        self.frames = 0
        self.dead_letters = 0

    def take(self, frame: Frame) -> None:
        """Count one frame and what it holds."""
        self.frames += 1
        self.newest[frame.shard] = frame.received
        if frame.kind == "metadata":
            self.instruments[frame.shard] = listed_instruments(frame.payload)
        elif frame.kind == "connection":
            self.connections[frame.shard] = event(frame.payload).what
        elif frame.kind in ("data", "control"):
            for record in self.venues[frame.exchange].decode(frame, self.instruments.get(frame.shard, {})):
                self.add(record)

    def add(self, record: object) -> None:
        if isinstance(record, Trade):
            self.market(record).trade(record)
        elif isinstance(record, Quote):
            self.market(record).quote(record)
        elif isinstance(record, DeadLetter):
            self.dead_letters += 1

    def warnings(self, now: int) -> list[str]:
        """What is not as it should be: ticks come each second, so without any it is us who do not write."""
        ages = {shard: (now - newest) // MICROSECONDS for shard, newest in sorted(self.newest.items())}
        found = [f"{shard} journals nothing · {age} s" for shard, age in ages.items() if age >= STALE_SECONDS]
        return found + ([f"{self.dead_letters:,} dead letters"] if self.dead_letters else [])

    def market(self, record: Trade | Quote) -> Market:
        return self.markets.setdefault((record.exchange, record.symbol), Market())

    def rows(self, now: int) -> list[dict[str, object]]:
        """One row a market, in the order in which they were asked for."""
        return [
            {
                "venue": exchange,
                "symbol": symbol,
                "price": market.price or None,
                "side": market.side or None,
                "bid": market.bid,
                "ask": market.ask,
                "trades": market.trades,
                "trades_per_second": round(market.rate(now), 1),
                "quotes": market.quotes,
                "age": age(market.received, now),
            }
            for (exchange, symbol), market in self.markets.items()
        ]


def age(received: int, now: int) -> str:
    """How a person says how fresh something is: never just "OK"."""
    if not received:
        return "waiting"
    seconds = max(0, now - received) / MICROSECONDS
    return f"live · {seconds:.1f} s" if seconds < STALE_SECONDS else f"quiet · {seconds:.0f} s"
