"""What happens on a simulated venue: a seeded flow of trades and best quotes, and the history they leave.

Pure: time is an argument, all randomness comes from the seed, and how often `advance` is called changes
nothing: the same seed and start give the same market. Nothing here knows how a venue writes what happened.
"""

from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import log
from random import Random

from msgspec import Struct

# Two hundred thousand trades of a symbol are hours of a normal market and 5 MB.
HISTORY_TRADES_MAX = 200_000

# A burst: one moment in 500 begins one of about 200 moments at twenty times the pace.
BURST_CHANCE = 0.002
BURST_MOMENTS = 200
BURST_PACE = 20.0
# Mean trades of one taker order, and the pace that bursts add, so that `rate` is what comes out.
ORDER_TRADES_MEAN = 2.74
MOMENT_QUIET_SHARE = 0.5  # moments that only move the quotes
BURST_SHARE = BURST_CHANCE * BURST_MOMENTS / (1 + BURST_CHANCE * BURST_MOMENTS)
PACE_MEAN = 1 / (1 - BURST_SHARE + BURST_SHARE / BURST_PACE)


@dataclass(frozen=True)
class Listing:
    """One symbol of one venue and how it trades."""

    native: str  # in the venue's live messages
    base: str
    quote: str
    price: str  # where the walk begins
    price_decimals: int  # of the tick
    quantity_decimals: int
    first_id: int
    weight: float = 1.0  # share of the venue's trades; a quiet symbol has a small one
    names: tuple[str, ...] = ()  # what else the venue's REST service calls it

    @property
    def symbol(self) -> str:
        return f"{self.base}-{self.quote}"


class Trade(Struct, frozen=True, gc=False):
    """One fill; price and quantity count ticks."""

    id: int
    time: int  # nanoseconds, rising within a symbol
    price: int
    quantity: int
    taker_buys: bool


class Quote(Struct, frozen=True, gc=False):
    """The best bid and offer; price and quantity count ticks."""

    update: int
    time: int  # nanoseconds
    bid: int
    bid_quantity: int
    ask: int
    ask_quantity: int


class Moment(Struct, frozen=True, gc=False):
    """What one order did to one symbol: the trades of one taker, and the quotes they left."""

    market: "SymbolMarket"
    trades: list[Trade]
    first_aggregate: int  # id of the first group of fills at one price
    quote: Quote


@dataclass(eq=False)
class Series:
    """Trades with contiguous ids in columns; the oldest leave when there are too many."""

    first: int  # id of the first one kept
    made_first: int  # id of the first one ever made
    times: "array[int]" = field(default_factory=lambda: array("q"))
    prices: "array[int]" = field(default_factory=lambda: array("q"))
    quantities: "array[int]" = field(default_factory=lambda: array("q"))  # negative: the taker sold

    @property
    def last(self) -> int:
        """Id of the newest trade; `first - 1` while there is none."""
        return self.first + len(self.times) - 1

    def forget(self, count: int) -> None:
        for column in (self.times, self.prices, self.quantities):
            del column[:count]
        self.first += count

    def trade(self, identifier: int) -> Trade:
        index = identifier - self.first
        quantity = self.quantities[index]
        return Trade(identifier, self.times[index], self.prices[index], abs(quantity), quantity > 0)


class SymbolMarket:
    """One symbol: where its price is, and everything that was traded."""

    def __init__(self, listing: Listing, seed: str, history_max: int) -> None:
        self.listing = listing
        self.random = Random(f"{seed}:{listing.native}")
        self.start = int(Decimal(listing.price).scaleb(listing.price_decimals))
        self.price = self.start
        self.time = 0
        self.series: list[Series] = [Series(listing.first_id, listing.first_id)]
        self.aggregates: deque[int] = deque(maxlen=history_max)  # first trade id of each group at one price
        self.next_aggregate = listing.first_id // 2
        self.update = listing.first_id * 3
        self.history_max = history_max
        self.size = 10**listing.quantity_decimals
        self.shown_max: int | None = None  # how many trades the venue still shows of its history
        self.quote = self.quoted()

    def trade(self, time: int, count: int = 0) -> Moment:
        """A taker order that fills `count` times; 0: as often as chance says."""
        bits = self.random.getrandbits
        count = count or order_trades(bits(30) / 2**30)
        began = self.time = max(self.time + 1, time * 1_000)
        buys = bits(1) == 1
        price = self.quote.ask if buys else self.quote.bid
        step, sign = (1, 1) if buys else (-1, -1)
        series, trades, first_aggregate = self.series[-1], [], self.next_aggregate
        next_id, size, grouped = series.last + 1, self.size, 0
        for index in range(count):
            draw = bits(40)
            if index and draw & 3 == 0:
                price = max(1, price + step)
            if price != grouped:
                grouped = price
                self.aggregates.append(next_id + index)
                self.next_aggregate += 1
            # A product of two draws: small sizes are common, large ones happen.
            quantity = (draw >> 2 & 0xFFFF) * (draw >> 20) % size + 1
            trades.append(Trade(next_id + index, began + index, price, quantity, buys))
            series.times.append(began + index)
            series.prices.append(price)
            series.quantities.append(sign * quantity)
        self.time += count - 1
        if len(series.times) > self.history_max * 5 // 4:
            series.forget(len(series.times) - self.history_max)
        self.price = price
        self.quote = self.quoted()
        return Moment(self, trades, first_aggregate, self.quote)

    def move(self, time: int) -> Moment:
        """The quotes change without a trade."""
        self.time = max(self.time + 1, time * 1_000)
        step = self.random.getrandbits(8) % 5 - 2
        # The walk turns back before it leaves half to twice of where it began.
        self.price = min(max(self.price + step, self.start // 2 + 2), self.start * 2)
        self.quote = self.quoted()
        return Moment(self, [], self.next_aggregate, self.quote)

    def quoted(self) -> Quote:
        draw, size = self.random.getrandbits(60), 5 * self.size
        self.update += 1 + (draw & 7)
        bid = self.price - (draw >> 3 & 1) or 1
        ask = self.price + 1 + (draw >> 4 & 1)
        return Quote(self.update, self.time, bid, (draw >> 8) % size + 1, ask, (draw >> 5) % size + 1)

    def reset(self) -> None:
        """The venue begins to count again from 1."""
        self.series.append(Series(1, 1))
        self.aggregates.clear()
        self.next_aggregate = 1

    def last_id(self) -> int:
        """Id of the newest trade; one below the first while there is none."""
        return self.series[-1].last

    def find(self, identifier: int) -> Trade | None:
        """The trade of that id, from the newest series that has it."""
        for series in reversed(self.series):
            if series.first <= identifier <= series.last:
                return series.trade(identifier)
        return None

    def shown(self) -> list[Series]:
        """What the venue shows of its history, newest series first, each as far back as it is kept."""
        return self.series[::-1] if self.shown_max is None else self.series[:-2:-1]

    def oldest(self, series: Series) -> int:
        """The lowest id that the venue shows of a series."""
        return series.first if self.shown_max is None else max(series.first, series.last + 1 - self.shown_max)

    def from_id(self, identifier: int, count: int) -> list[Trade]:
        """At most `count` trades from that id on, ascending, all of one series."""
        holding = [one for one in self.shown() if self.oldest(one) <= identifier <= one.last]
        series = holding[0] if holding else self.series[-1]
        first = max(identifier, self.oldest(series))
        return [series.trade(one) for one in range(first, min(first + count, series.last + 1))]

    def newest(self, count: int, below: int | None = None) -> list[Trade]:
        """The last `count` trades with an id under `below`, ascending, all of one series."""
        newest = self.last_id() if below is None else below - 1
        for series in self.shown():
            if (oldest := self.oldest(series)) <= newest and (newest <= series.last or below is None):
                return [series.trade(one) for one in range(max(oldest, newest - count + 1), newest + 1)]
        return self.newest(count) if below is not None and newest > self.last_id() else []

    def since(self, time: int, count: int) -> list[Trade]:
        """At most `count` trades that happened after `time` in nanoseconds, ascending."""
        found: list[Trade] = []
        for series in reversed(self.shown()):
            start = max(bisect_left(series.times, time + 1), self.oldest(series) - series.first)
            stop = min(len(series.times), start + count - len(found))
            found += [series.trade(series.first + index) for index in range(start, stop)]
        return found


class Market:
    """All symbols of one venue, moved by one seeded stream of orders."""

    def __init__(
        self,
        listings: Sequence[Listing],
        *,
        seed: str,
        start: int,
        rate: float,
        history_max: int = HISTORY_TRADES_MAX,
        made: Callable[[Listing, str, int], SymbolMarket] = SymbolMarket,
    ) -> None:
        self.symbols = {one.native: made(one, seed, history_max) for one in listings}
        self.names = {
            name: self.symbols[one.native]
            for one in listings
            for name in (one.native, one.symbol, *one.names)
        }
        self.random = Random(seed)
        self.now = start
        self.burst = 0
        # Mean microseconds between two moments; 0 stands for a market that only moves when told to.
        moments = rate / (ORDER_TRADES_MEAN * (1 - MOMENT_QUIET_SHARE))
        self.interval = 1_000_000 / moments * PACE_MEAN if rate else 0.0
        self.next = start + self.interval
        self.order = list(self.symbols.values())
        self.shares = cumulative([one.weight for one in listings])

    def prepare(self, count: int) -> None:
        """Give every symbol a past: `count` orders, a second apart, before the market opens."""
        for symbol in self.order:
            for age in range(count, 0, -1):
                symbol.trade(self.now - age * 1_000_000, 1)

    def advance(self, until: int, trades_max: int | None = None) -> list[Moment]:
        """What happens up to `until` (microseconds), or up to about `trades_max` trades of it."""
        moments: list[Moment] = []
        trades = 0
        while self.interval and self.next <= until and (trades_max is None or trades < trades_max):
            moments.append(self.moment(int(self.next)))
            trades += len(moments[-1].trades)
        if trades_max is None or trades < trades_max:
            self.now = max(self.now, until)
        return moments

    def moment(self, time: int) -> Moment:
        """The next thing that happens."""
        chance = self.random.random
        self.now = max(self.now, time)
        if self.burst:
            self.burst -= 1
            self.next -= log(1 - chance()) * self.interval / BURST_PACE
        else:
            self.next -= log(1 - chance()) * self.interval
            if chance() < BURST_CHANCE:
                self.burst = int(-log(1 - chance()) * BURST_MOMENTS)
        market = self.order[min(bisect_left(self.shares, chance()), len(self.shares) - 1)]
        return market.move(self.now) if chance() < MOMENT_QUIET_SHARE else market.trade(self.now)

    def trades_now(self, name: str, count: int, time: int) -> list[Moment]:
        """`count` trades of one symbol, one order each, whatever the flow would have done."""
        self.now = max(self.now, time)
        return [self.names[name].trade(self.now, 1) for _ in range(count)]

    def __iter__(self) -> Iterator[SymbolMarket]:
        return iter(self.order)


def order_trades(chance: float) -> int:
    """How many resting orders a taker meets: mostly one, now and then dozens."""
    if chance < 0.7:
        return 1
    return 2 + int((chance - 0.7) * 16) if chance < 0.95 else 6 + int((chance - 0.95) * 700)


def cumulative(weights: Sequence[float]) -> list[float]:
    """Upper ends of the shares of 0..1."""
    total, sums = sum(weights), 0.0
    return [(sums := sums + weight) / total for weight in weights]
