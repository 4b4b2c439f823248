"""What did the market do? Bars of 1s, 1m, 5m, 15m, 1h and 1d by event time, UTC, each with its completeness.

A window's bar is issued when its symbol's watermark passes its end: by a trade, or by a tick where the market
is quiet. Trades that come later, and gaps that open or close, issue it again with a higher revision at the
next tick. A window that is not remembered any more is named as stale instead.
"""

from typing import Any

from dataflows.steps.batch import Batch, Edits, edited
from dataflows.steps.book import Book, Span, restored
from dataflows.steps.windows import (
    NAMES,
    SECOND,
    SIZES,
    Traded,
    Window,
    bar_of,
    fold,
    market_of,
    traded_of,
    unpacked,
    window_of,
)
from schemas import Bar, Gap, Record, StaleWindow, Tick, Trade
from schemas.run import Run

VERSION = 1
# How far behind the newest event time trades are still expected.
LATENESS_SECONDS = 5
# A market without trades for so long has its windows closed by ticks.
QUIET_SECONDS = 10
# How long a bar can be issued again.
RETENTION_SECONDS = 3_600
# Closed windows of one interval in a shard: about 150 bytes each in every snapshot, 5 MB.
WINDOWS_MAX = 30_000


class Aggregate:
    """Sum up the trades of a shard."""

    def __init__(
        self,
        state: tuple[Any, ...] | None,
        *,
        continuity: str,
        lateness_seconds: float = LATENESS_SECONDS,
        quiet_seconds: float = QUIET_SECONDS,
        retention_seconds: float = RETENTION_SECONDS,
        windows_max: int = WINDOWS_MAX,
    ) -> None:
        self._provable = continuity in ("contiguous", "range")
        self._lateness = int(lateness_seconds * SECOND)
        self._quiet = int(quiet_seconds * SECOND)
        self._retention = int(retention_seconds * SECOND)
        self._windows_max = windows_max
        self._split: tuple[int, Span | None] | None = None  # last id of the gap whose parts come next
        self._books: dict[str, Book] = {}
        self._floors = [0] * len(SIZES)  # starts below are forgotten, whatever the retention
        if state is not None:
            version, floors, books = state
            assert version == VERSION
            self._floors = list(floors)
            self._books = {symbol: restored(one) for symbol, one in books}
        self._totals = [sum(len(book.closed[level]) for book in self._books.values()) for level in levels()]

    def step(self, batch: Batch) -> Batch:
        edits: Edits = []
        for place, record in enumerate(batch.records):
            if type(record) is Run:
                rows = self._run(record)
            elif type(record) is Trade:
                rows = self._trade(record)
            elif type(record) is Tick:
                rows = self._tick(record)
            elif type(record) is Gap:
                self._gap(record)
                continue
            else:
                continue
            if rows:
                edits.append((place, [record, *rows]))
        if edits:
            batch.count("bars", sum(len(rows) for _, rows in edits) - len(edits))
            batch.records = edited(batch.records, edits)
        return batch

    def snapshot(self) -> tuple[Any, ...]:
        assert self._split is None  # a gap's parts come right behind it, of the same frame
        books = tuple((symbol, book.snapshot()) for symbol, book in self._books.items())
        return VERSION, tuple(self._floors), books

    def _run(self, run: Run) -> list[Record]:
        """Trades that nearly all only add to the newest window of their symbol."""
        rows: list[Record] = []
        columns = run.ids, run.times, run.price_nanos, run.quantity_nanos, run.sides, run.received
        for place, (book, identifier, time, price, quantity, side, received) in enumerate(
            zip(map(self._books.get, run.symbols), *columns, strict=True)
        ):
            # Adding up at once costs less than to keep trades and fold many; and comparing, less than max.
            if (
                book is not None
                and time < book.limit
                and (time > book.newest or (time == book.newest and identifier > book.last))
            ):
                book.newest, book.last, book.close = time, identifier, price
                book.notional += price * quantity
                if side == "BUY":
                    book.buys += 1
                    book.bought += quantity
                else:
                    book.sales += 1
                    book.sold += quantity
                if price > book.high:  # noqa: PLR1730
                    book.high = price
                if price < book.low:  # noqa: PLR1730
                    book.low = price
                if received > book.received:  # noqa: PLR1730
                    book.received = received
            else:
                frame = run.frames[place]
                found = book or self._open(traded_of(run.listed[place], frame), time)
                window = window_of(time, identifier, price, quantity, side)
                rows += self._add(found, time, received, 0, identifier, frame.position, window)
        return rows

    def _trade(self, trade: Trade) -> list[Record]:
        """A trade that is a record of its own."""
        place = trade.series or 0, trade.first_sequence or 0, trade.platform_sequence or 0
        book = self._books.get(trade.symbol) or self._open(market_of(trade), trade.timestamp)
        return self._add(book, trade.timestamp, trade.ingestion_timestamp, *place, fold([trade]))

    def _open(self, traded: Traded, time: int) -> Book:
        """The book of a symbol that trades for the first time."""
        book = self._books[traded.symbol] = Book(traded)
        book.watermark = time - self._lateness
        return book

    def _add(
        self, book: Book, time: int, received: int, series: int, first: int, position: int, window: Window
    ) -> list[Record]:
        """A trade that opens or closes a window, comes out of order, or follows a gap."""
        book.settle()
        book.received = max(book.received, received)
        if book.unresolved:
            for span in book.resolve(series, first, time):
                self._change(book, span)
        rows: list[Record] = []
        if time >= book.newest:
            book.newest = time
            rows = self._advance(book, time - self._lateness, position)
            book.second = time - time % SECOND
        start = time - time % SECOND
        if start + SECOND <= book.watermark:
            self._late(book, time, window)
        else:
            book.add(0, start, window)
        book.set_limit(self._lateness)
        return rows

    def _tick(self, tick: Tick) -> list[Record]:
        """Close the windows of quiet symbols and issue again what has changed."""
        rows: list[Record] = []
        for book in self._books.values():
            if tick.time - book.received >= self._quiet:
                book.settle()
                reached = tick.time - self._lateness - self._quiet
                rows += self._advance(book, reached, tick.platform_sequence)
                book.set_limit(self._lateness)
            if book.changed:
                rows += self._issue_again(book, tick.platform_sequence)
        return rows

    def _advance(self, book: Book, watermark: int, position: int) -> list[Record]:
        """Close all windows that the watermark passes; it never goes back."""
        before = book.watermark
        book.watermark = max(before, watermark)
        rows: list[Record] = []
        for level in levels():
            size = SIZES[level]
            if book.watermark // size == before // size:
                break  # larger windows end where smaller ones do
            rows += [self._close(book, level, start, position) for start in book.due(level)]
        if book.watermark // SIZES[1] != before // SIZES[1]:
            self._forget_old(book)  # after a silence the windows before it still say what they miss
        return rows

    def _close(self, book: Book, level: int, start: int, position: int) -> Bar:
        window = book.open[level].pop(start)
        if level + 1 < len(SIZES):
            book.add(level + 1, start - start % SIZES[level + 1], window.copy())
        return self._issue(book, level, start, window, position)

    def _issue(self, book: Book, level: int, start: int, window: Window, position: int) -> Bar:
        """The bar of a closed window, with the next revision."""
        window.revision += 1
        window.missing = self._missing(book, level, start)
        self._keep(book, level, start, window)
        return bar_of(book.traded, level, start, window, position)

    def _missing(self, book: Book, level: int, start: int) -> int | None:
        return book.missing(level, start) if self._provable else None

    def _late(self, book: Book, time: int, trade: Window) -> None:
        """Add a trade to windows that are closed, up to the first that is still open."""
        for level, size in enumerate(SIZES):
            start = time - time % size
            window = trade.copy()
            if start + size > book.watermark:
                book.add(level, start, window)
                return
            book.changed[level, start] = True
            if self._remembers(book, level, start):
                packed = book.closed[level].get(start)
                if packed is not None:
                    known = unpacked(packed)
                    known.merge(window)
                    window = known
                self._keep(book, level, start, window)
            else:
                self._drop(book, level, start)

    def _issue_again(self, book: Book, position: int) -> list[Record]:
        rows: list[Record] = []
        changed, book.changed = sorted(book.changed.items()), {}
        for (level, start), trades_came in changed:
            packed = book.closed[level].get(start)
            if packed is None:
                rows.append(stale(book, level, start, position))
                continue
            window = unpacked(packed)
            if trades_came or window.missing != self._missing(book, level, start):
                rows.append(self._issue(book, level, start, window, position))
        return rows

    def _gap(self, gap: Gap) -> None:
        """Keep account of what is missing, and mark the bars that said otherwise."""
        book = self._books.get(gap.symbol)
        if book is None:
            return  # before the first trade there is no bar
        key = gap.series, gap.first_missing, gap.last_missing
        if gap.status == "split":
            self._split = gap.last_missing, book.gaps.get(key)
        if gap.status in ("split", "repaired"):
            ended = book.gaps.pop(key, None)
            if ended is not None:
                self._change(book, ended)
        elif key not in book.gaps:
            span = self._span(book, gap)
            if span is not None:
                book.settle()
                book.open_gap(key, span)
                self._change(book, span)
                book.set_limit(self._lateness)
        if gap.status != "split" and self._split is not None and self._split[0] == gap.last_missing:
            self._split = None

    def _span(self, book: Book, gap: Gap) -> Span | None:
        """Where a gap lies that is not known; nowhere if it is, or is part of, one that is forgotten."""
        if self._split is not None:
            return self._split[1]
        return (book.newest, None) if gap.status == "open" else None

    def _change(self, book: Book, span: Span) -> None:
        """Look again at the closed windows that a gap overlaps."""
        for level in levels():
            for start in book.overlapped(level, span):
                if start in book.closed[level] or not self._remembers(book, level, start):
                    book.changed.setdefault((level, start), False)

    def _remembers(self, book: Book, level: int, start: int) -> bool:
        """Whether a closed window would still be here, had it any trades."""
        kept_until = start + SIZES[level] + self._retention
        return kept_until > book.watermark and start >= self._floors[level]

    def _keep(self, book: Book, level: int, start: int, window: Window) -> None:
        self._totals[level] += start not in book.closed[level]
        book.closed[level][start] = window.pack()
        if self._totals[level] > self._windows_max:
            self._forget_most(level)

    def _drop(self, book: Book, level: int, start: int) -> None:
        self._totals[level] -= book.closed[level].pop(start, None) is not None

    def _forget_old(self, book: Book) -> None:
        for level in levels():
            for start in list(book.closed[level]):
                if not self._remembers(book, level, start):
                    self._drop(book, level, start)
        horizon = book.watermark - self._retention - SIZES[-1]
        book.gaps = {gap: span for gap, span in book.gaps.items() if span[1] is None or span[1] >= horizon}

    def _forget_most(self, level: int) -> None:
        """Raise the floor of an interval so that a tenth of its windows goes, the oldest ones."""
        starts = sorted(start for book in self._books.values() for start in book.closed[level])
        self._floors[level] = starts[len(starts) // 10] + SIZES[level]
        for book in self._books.values():
            for start in [one for one in book.closed[level] if one < self._floors[level]]:
                self._drop(book, level, start)


def levels() -> range:
    """The places of all intervals, smallest first."""
    return range(len(SIZES))


def stale(book: Book, level: int, start: int, position: int) -> StaleWindow:
    traded = book.traded
    return StaleWindow(
        traded.exchange, traded.market, traded.symbol, NAMES[level], start, traded.shard, position
    )
