"""What trades of one interval amount to. The same fold serves the flow, maintenance and whoever asks.

Folding is exact and its order does not matter: the first and last trade are told by (time, series, id), and
sums are whole numbers of 10^-18. So a bar is a function of the set of its trades.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from dataflows.steps.numbers import NANO, product, quotient
from schemas import Bar, Frame, Trade
from schemas.fields import AssetClass, Market, Side
from schemas.money import plain, units
from schemas.run import Listed

SECOND = 1_000_000
# Each is a whole number of the one before, so that a window is exactly the sum of smaller ones.
INTERVALS: dict[str, int] = {
    "1s": SECOND,
    "1m": 60 * SECOND,
    "5m": 300 * SECOND,
    "15m": 900 * SECOND,
    "1h": 3_600 * SECOND,
    "1d": 86_400 * SECOND,
}
NAMES = tuple(INTERVALS)
SIZES = tuple(INTERVALS.values())

Key = tuple[int, int, int, str]  # time, series, id, id as text


class Traded(NamedTuple):
    """What all bars of a symbol have in common."""

    shard: str
    symbol: str
    exchange: str
    asset_class: AssetClass
    currency: str
    market: Market
    base: str
    quote: str


class Window:
    """The sum of some trades; money in units of 10^-18."""

    __slots__ = (
        "buy_count",
        "buy_volume",
        "close",
        "count",
        "first",
        "high",
        "last",
        "low",
        "missing",
        "notional",
        "open",
        "revision",
        "volume",
    )

    def __init__(
        self,
        first: Key,
        last: Key,
        count: int,
        buy_count: int,
        open: int,  # noqa: A002  # the word for it
        close: int,
        high: int,
        low: int,
        volume: int,
        notional: int,
        buy_volume: int,
        revision: int = -1,
        missing: int | None = None,
    ) -> None:
        self.first = first
        self.last = last
        self.count = count
        self.buy_count = buy_count
        self.open = open
        self.close = close
        self.high = high
        self.low = low
        self.volume = volume
        self.notional = notional
        self.buy_volume = buy_volume
        self.revision = revision  # of the bar issued last; -1 before the first
        self.missing = missing  # what that bar said

    def merge(self, other: "Window") -> None:
        """Add other trades to these."""
        if other.first < self.first:
            self.first, self.open = other.first, other.open
        if other.last > self.last:
            self.last, self.close = other.last, other.close
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.count += other.count
        self.buy_count += other.buy_count
        self.volume += other.volume
        self.notional += other.notional
        self.buy_volume += other.buy_volume

    def copy(self) -> "Window":
        """The same trades, never issued."""
        return Window(
            self.first,
            self.last,
            self.count,
            self.buy_count,
            self.open,
            self.close,
            self.high,
            self.low,
            self.volume,
            self.notional,
            self.buy_volume,
        )

    def pack(self) -> bytes:
        """As bytes: a tenth of what the object takes, and quick to snapshot."""
        money = (self.open, self.close, self.high, self.low, self.volume, self.notional, self.buy_volume)
        counts = (self.count, self.buy_count, self.revision, self.missing)
        return _encode((self.first, self.last, *counts, " ".join(map(str, money))))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Key, Key, int, int, int, int | None, str]).decode


def unpacked(packed: bytes) -> Window:
    first, last, count, buy_count, revision, missing, money = _decode(packed)
    opened, closed, high, low, volume, notional, buy_volume = map(int, money.split())
    return Window(
        first,
        last,
        count,
        buy_count,
        opened,
        closed,
        high,
        low,
        volume,
        notional,
        buy_volume,
        revision,
        missing,
    )


def key(trade: Trade) -> Key:
    """Which of two trades came first at the venue."""
    return trade.timestamp, trade.series or 0, trade.source_sequence or 0, trade.trade_id


def window_of(time: int, identifier: int, price: int, quantity: int, side: Side) -> Window:
    """The window of one trade of the first series, whose price and quantity are nanos."""
    place = time, 0, identifier, str(identifier)
    price, volume, notional = price * NANO, quantity * NANO, price * quantity
    bought = side == "BUY"
    return Window(
        place, place, 1, int(bought), price, price, price, price, volume, notional, volume if bought else 0
    )


def fold(trades: Sequence[Trade]) -> Window:
    """The window of some trades, in any order."""
    first, last = min(trades, key=key), max(trades, key=key)
    prices = [units(one.price) for one in trades]
    quantities = [units(one.quantity) for one in trades]
    bought = [size for one, size in zip(trades, quantities, strict=True) if one.side == "BUY"]
    return Window(
        key(first),
        key(last),
        len(trades),
        len(bought),
        units(first.price),
        units(last.price),
        max(prices),
        min(prices),
        sum(quantities),
        sum(map(product, prices, quantities)),
        sum(bought),
    )


def market_of(trade: Trade) -> Traded:
    """What all bars of the trade's symbol have in common."""
    return Traded(
        trade.shard or "",
        trade.symbol,
        trade.exchange,
        trade.asset_class,
        trade.currency,
        trade.market or "spot",
        trade.base_asset or "",
        trade.quote_asset or trade.currency,
    )


def traded_of(listed: Listed, frame: Frame) -> Traded:
    """The same from what a run has of a trade."""
    pair = listed.base, listed.quote
    return Traded(frame.shard, listed.symbol, listed.exchange, "crypto", listed.quote, "spot", *pair)


def bar_of(market: Traded, level: int, start: int, window: Window, position: int) -> Bar:
    """The bar of a window as it is now."""
    name = NAMES[level]
    prefix = f"{market.exchange}:{market.market}:{market.symbol}"
    return Bar(
        message_id=f"{prefix}:{name}:{start}:{window.revision}",
        symbol=market.symbol,
        exchange=market.exchange,
        asset_class=market.asset_class,
        interval=name,
        window_start=start,
        window_end=start + SIZES[level],
        open=plain(window.open),
        high=plain(window.high),
        low=plain(window.low),
        close=plain(window.close),
        volume=plain(window.volume),
        notional=plain(window.notional),
        vwap=plain(quotient(window.notional, window.volume)),
        trade_count=window.count,
        taker_buy_volume=plain(window.buy_volume),
        taker_buy_count=window.buy_count,
        first_trade_id=window.first[3],
        last_trade_id=window.last[3],
        missing=window.missing,
        revision=window.revision,
        currency=market.currency,
        market=market.market,
        base_asset=market.base,
        quote_asset=market.quote,
        shard=market.shard,
        platform_sequence=position,
    )


def bars_of(
    trades: Iterable[Trade], interval: str, *, missing: int | None = None, revision: int = 0
) -> list[Bar]:
    """The bars of any trades, each once and in any order; each says the position of its newest trade."""
    level, size = NAMES.index(interval), INTERVALS[interval]
    groups: dict[tuple[str, str, int], list[Trade]] = {}
    for trade in trades:
        start = trade.timestamp - trade.timestamp % size
        groups.setdefault((trade.exchange, trade.symbol, start), []).append(trade)
    bars: list[Bar] = []
    for (_, _, start), group in sorted(groups.items()):
        window = fold(group)
        window.missing, window.revision = missing, revision
        position = max(one.platform_sequence or 0 for one in group)
        bars.append(bar_of(market_of(group[0]), level, start, window, position))
    return bars
