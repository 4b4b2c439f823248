"""The open and the remembered windows of one symbol, and the gaps that they overlap.

A window is open until the watermark passes its end; its content then goes into the next larger one, and it
stays, packed, for as long as its bar may be issued again.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from dataflows.steps.numbers import NANO
from dataflows.steps.windows import SECOND, SIZES, Traded, Window, unpacked

# As many as the gap step keeps; beyond it the oldest stop being counted in new bars.
GAPS_MAX = 10_000
# No price in nanos is as high.
LOW_MAX = 10**30

Span = tuple[int, int | None]  # venue times of the trades before and after; None while nothing came after
GapKey = tuple[int, int, int]  # series, first, last


class Book:
    """One symbol's windows."""

    __slots__ = (
        "bought",
        "buys",
        "changed",
        "close",
        "closed",
        "gaps",
        "high",
        "last",
        "limit",
        "low",
        "newest",
        "notional",
        "open",
        "received",
        "sales",
        "second",
        "sold",
        "traded",
        "unresolved",
        "watermark",
    )

    def __init__(self, traded: Traded) -> None:
        self.traded = traded
        self.newest = 0  # highest event time
        self.limit = 0  # event times from newest to below this only add to the window of `second`
        self.second = 0
        self.last = 0  # id of the newest trade, where there is a limit
        self.clear()
        self.watermark = 0
        self.received = 0  # when the last trade came
        self.open: tuple[dict[int, Window], ...] = tuple({} for _ in SIZES)
        self.closed: tuple[dict[int, bytes], ...] = tuple({} for _ in SIZES)
        self.changed: dict[tuple[int, int], bool] = {}  # closed windows to issue again; whether trades came
        self.gaps: dict[GapKey, Span] = {}
        self.unresolved = False  # a gap waits for the trade after it

    def clear(self) -> None:
        """Begin to sum up trades that only add to the window of `second`; prices and sizes are nanos."""
        self.buys = self.sales = self.bought = self.sold = self.notional = self.high = self.close = 0
        self.low = LOW_MAX

    def settle(self) -> None:
        """Add that sum, whose last trade is the newest, to its window."""
        if self.buys or self.sales:
            window = self.open[0][self.second]
            window.last = self.newest, 0, self.last, str(self.last)
            window.close = self.close * NANO
            window.high = max(window.high, self.high * NANO)
            window.low = min(window.low, self.low * NANO)
            window.count += self.buys + self.sales
            window.buy_count += self.buys
            window.volume += (self.bought + self.sold) * NANO
            window.buy_volume += self.bought * NANO
            window.notional += self.notional
            self.clear()

    def add(self, level: int, start: int, window: Window) -> None:
        """Add trades to an open window."""
        known = self.open[level].get(start)
        if known is None:
            self.open[level][start] = window
        else:
            known.merge(window)

    def set_limit(self, lateness: int) -> None:
        """Up to which event time a trade that comes next can neither close nor open a window."""
        window = self.open[0].get(self.second)  # None: the watermark has overtaken it
        self.limit = 0
        if window is not None and not self.unresolved and not window.last[1]:
            closing = self.watermark - self.watermark % SECOND + SECOND + lateness
            self.limit = min(self.second + SECOND, closing)
            self.last = window.last[2]

    def due(self, level: int) -> list[int]:
        """The open windows that the watermark has passed."""
        latest = self.watermark - SIZES[level]
        return sorted(start for start in self.open[level] if start <= latest)

    def missing(self, level: int, start: int) -> int:
        """Ids of the gaps that overlap a window."""
        end = start + SIZES[level]
        return sum(
            last - first + 1
            for (_, first, last), (since, until) in self.gaps.items()
            if since < end and (until is None or until >= start)
        )

    def open_gap(self, gap: GapKey, span: Span) -> None:
        self.gaps[gap] = span
        self.unresolved = self.unresolved or span[1] is None
        if len(self.gaps) > GAPS_MAX:
            del self.gaps[next(iter(self.gaps))]

    def resolve(self, series: int, first: int, time: int) -> list[Span]:
        """Say where gaps end now that the trade after them is known; returns what they overlapped before.

        Of another series any trade will do that is not older: a series that has ended has no next trade.
        """
        before: list[Span] = []
        for gap, (since, until) in self.gaps.items():
            after = gap[2] < first if gap[0] == series else since <= time
            if until is None and after:
                before.append((since, until))
                self.gaps[gap] = since, max(since, time)
        self.unresolved = any(until is None for _, until in self.gaps.values())
        return before

    def overlapped(self, level: int, span: Span) -> Iterator[int]:
        """The closed windows of a level that a gap overlaps; at its ends also those not kept."""
        size = SIZES[level]
        latest = self.watermark - size
        end = latest if span[1] is None else min(latest, span[1])
        first, last = span[0] - span[0] % size, end - end % size
        if first > last:
            return
        closed = self.closed[level]
        inside: Iterable[int] = range(first + size, last, size)
        if (last - first) // size > len(closed):
            inside = sorted(start for start in closed if first < start < last)
        yield first
        yield from (start for start in inside if start in closed)
        if last > first:
            yield last

    def snapshot(self) -> tuple[Any, ...]:
        self.settle()
        return (
            tuple(self.traded),
            (self.newest, self.limit, self.second, self.watermark, self.received, self.unresolved),
            tuple(tuple((start, window.pack()) for start, window in level.items()) for level in self.open),
            tuple(dict(level) for level in self.closed),
            tuple(self.changed.items()),
            tuple(self.gaps.items()),
        )


def restored(state: tuple[Any, ...]) -> Book:
    """The book whose snapshot that is."""
    traded, numbers, opened, closed, changed, gaps = state
    book = Book(Traded(*traded))
    book.newest, book.limit, book.second, book.watermark, book.received, book.unresolved = numbers
    book.open = tuple({start: unpacked(packed) for start, packed in level} for level in opened)
    if book.limit:
        book.last = book.open[0][book.second].last[2]
    book.closed = tuple(dict(level) for level in closed)
    book.changed, book.gaps = dict(changed), dict(gaps)
    return book
