"""Many trades at once, field by field: what a live stream nearly always brings, and what is quick to pass on.

The law: a run is worth the Trades that `trades` makes of it, no more and no less. It holds only what is
usual: live trades of one shard, each with one id, of the first series, with plain numbers, and short in
all that the venue says of each. Behind validation nanos are above zero, and so exact.
"""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct

from schemas.fields import Origin, Side
from schemas.health import Frame
from schemas.market import Trade

# An instrument: exchange, symbol, native, base, quote, and what message_id and vendor_data begin with.
Listed = Any
# Makes the vendor_data of instruments and messages.
Words = Callable[[Sequence[Listed], Sequence[Any]], list[str]]


class Run(Struct, gc=False):
    """Trades in the order in which they came, a column a field."""

    frames: Sequence[Frame]  # of each trade
    listed: Sequence[Listed]
    symbols: list[str]
    received: list[int]
    ids: list[int]
    times: list[int]
    prices: Sequence[str]  # as the venue wrote them
    quantities: Sequence[str]
    price_nanos: list[int]  # the same in units of 10**-9; 0 where that is not above zero or not exact;
    # nothing where decoding would have to read them for it: validation does
    quantity_nanos: list[int]
    sides: list[Side]
    wires: Sequence[Any]  # the venue's messages
    words: Words

    def __len__(self) -> int:
        return len(self.ids)

    def columns(self) -> tuple[Any, ...]:
        """All that has an item a trade, in the order of the fields."""
        return (
            self.frames,
            self.listed,
            self.symbols,
            self.received,
            self.ids,
            self.times,
            self.prices,
            self.quantities,
            self.price_nanos,
            self.quantity_nanos,
            self.sides,
            self.wires,
        )

    def cut(self, start: int, stop: int) -> "Run":
        """Some of it."""
        return run_of([column[start:stop] for column in self.columns()], self.words)

    def trade(self, place: int) -> Trade:
        """One of them."""
        part = slice(place, place + 1)
        listed, own = self.listed[part], self.words(self.listed[part], self.wires[part])
        facts = self.ids[part], self.times[part], self.prices[part], self.quantities[part], self.sides[part]
        (found,) = trades_of(self.frames[part], listed, *facts, own)
        return found

    def trades(self) -> list[Trade]:
        """What it is worth."""
        own = self.words(self.listed, self.wires)
        return trades_of(
            self.frames, self.listed, self.ids, self.times, self.prices, self.quantities, self.sides, own
        )


def run_of(columns: Sequence[Any], words: Words) -> Run:
    """The run with those columns."""
    return Run(*columns, words)  # type: ignore[call-arg]  # as many as there are


def records_of(records: Iterable[Any]) -> list[Any]:
    """Records of a shard, runs as their trades, in the order of their frames."""
    found = [one for record in records for one in (record.trades() if type(record) is Run else (record,))]
    return sorted(found, key=attrgetter("platform_sequence"))


def joined(runs: Sequence[Run]) -> Run:
    """One run of several that have the same words."""
    if len(runs) == 1:
        return runs[0]
    columns: list[list[Any]] = [[] for _ in runs[0].columns()]
    for run in runs:
        for whole, part in zip(columns, run.columns(), strict=True):
            whole.extend(part)
    return run_of(columns, runs[0].words)


def trades_of(
    frames: Sequence[Frame],
    listed: Sequence[Listed],
    ids: Sequence[int],
    times: Sequence[int],
    prices: Sequence[str],
    quantities: Sequence[str],
    sides: Sequence[Side],
    vendor_data: Sequence[str],
    origin: Origin = "live",
) -> list[Trade]:
    """Crypto spot trades with one id of the first series each."""
    columns = zip(frames, listed, ids, times, prices, quantities, sides, vendor_data, strict=True)
    # By position: naming 24 fields would double the cost.
    return [
        Trade(
            one.trade_prefix + (trade_id := str(identifier)),
            trade_id,
            one.symbol,
            one.exchange,
            "crypto",
            time,
            price,
            quantity,
            one.quote,
            side,
            (),
            identifier,
            frame.received,
            frame.position,
            own,
            "spot",
            one.base,
            one.quote,
            one.native,
            identifier,
            identifier,
            0,
            origin,
            frame.shard,
        )
        for frame, one, identifier, time, price, quantity, side, own in columns
    ]
