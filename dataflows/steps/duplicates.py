"""Did we store it? Drops what was stored before, and counts why it came twice.

Keeps the ids stored of each symbol and series. The first of two copies stays; one with other content is a
dead letter. An id older than all that is remembered is a dead letter too, never silently a duplicate.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from dataflows.steps.batch import Batch, Edits, Pieces, edited
from dataflows.steps.intervals import Intervals
from schemas import Quote, Record, Trade
from schemas.money import units
from schemas.run import Run

VERSION = 1
Content = tuple[str, str, int]  # price, quantity, time
MILLISECOND = 1_000
# What one symbol may take of the state: 10,000 intervals are about 1 MB.
INTERVALS_MAX = 10_000
# Trades of a shard whose content is remembered, twice at most: copies follow each other closely, and more
# would cost every trade its place in the processor's cache.
CONTENTS_MAX = 1_000
# Later series; each rogue id makes one.
LATER_MAX = 1_000
# Of ids that cannot be kept as intervals: one hour, and at most 10 MB for a shard.
WORDS_MAX = 100_000
WORDS_AGE_MAX = 3_600 * 1_000_000
# A connection repeats what another brought while both are open, which is while it is young.
OVERLAP_MAX = 120 * 1_000_000
# Updates of one symbol within two minutes; further back the venue has restarted its numbers.
UPDATES_BACK_MAX = 10_000_000


class Stored:
    """The ids stored of one series."""

    __slots__ = ("first", "floor", "missing", "next")

    def __init__(self, first: int, following: int, floor: int, missing: Intervals) -> None:
        self.first = first
        self.next = following
        self.floor = floor  # below it nothing is remembered
        self.missing = missing  # ids of first..next that are not stored

    def add(self, first: int, last: int) -> bool:
        """Store first..last; False where all of it is stored already."""
        if first >= self.next:
            if first > self.next:
                self.missing.add(self.next, first - 1)
            self.next = last + 1
        elif last < self.first:
            if last + 1 < self.first:
                self.missing.add(last + 1, self.first - 1)
            self.first = first
        elif first < self.first or last >= self.next or self.missing.within(first, last):
            self.missing.remove(first, last)
            self.first, self.next = min(first, self.first), max(last + 1, self.next)
        else:
            return False
        while len(self.missing) > INTERVALS_MAX:
            self.floor = self.first = self.missing.forget_lowest()[1] + 1
        return True


class Contents:
    """What was in some trades, to compare copies with; indexed only when a copy comes, which is rare."""

    __slots__ = ("_fresh", "_known", "room")

    def __init__(self, snapshot: Iterable[tuple[str, str, str, int]] = ()) -> None:
        self._fresh: list[tuple[Any, ...]] = []  # columns
        self._known: dict[str, Content] = {}
        for message_id, price, quantity, time in snapshot:
            self._known[message_id] = price, quantity, time
        self.room = CONTENTS_MAX - len(self._known)  # for so many more

    def add(self, run: Run, start: int, stop: int) -> None:
        """Those of a run; nothing else of it is kept."""
        columns: tuple[Sequence[Any], ...] = run.listed, run.ids, run.prices, run.quantities, run.times
        if stop - start < len(run.ids):
            columns = tuple(column[start:stop] for column in columns)
        self._fresh.append(columns)
        self.room -= stop - start

    def add_one(self, trade: Trade) -> None:
        self._index()
        self._known[trade.message_id] = content(trade)
        self.room -= 1

    def find(self, message_id: str) -> Content | None:
        self._index()
        return self._known.get(message_id)

    def _index(self) -> None:
        for columns in self._fresh:
            for one, identifier, price, quantity, time in zip(*columns, strict=True):
                self._known[f"{one.trade_prefix}{identifier}"] = price, quantity, time
        self._fresh.clear()

    def snapshot(self) -> tuple[Any, ...]:
        self._index()
        return tuple((message_id, *content) for message_id, content in self._known.items())


class DropDuplicates:
    """Let each trade through once, and no quote older than the newest of its symbol."""

    def __init__(self, state: tuple[Any, ...] | None, *, continuity: str) -> None:
        self._numbered = continuity in ("contiguous", "range")
        self._stored: dict[str, Stored] = {}  # of each symbol's series 0, the only one of nearly all
        self._later: dict[tuple[str, int], Stored] = {}
        self._updates: dict[str, int] = {}
        self._words: dict[tuple[str, str], int] = {}  # trade ids in order of arrival, with their times
        self._words_time = 0
        # Two generations: the younger one takes the place of the older when it is full.
        self._young, self._old = Contents(), Contents()
        if state is not None:
            version, stored, later, updates, words, self._words_time, contents, before = state
            assert version == VERSION
            self._stored = {symbol: restored(one) for symbol, one in stored}
            self._later = {key: restored(one) for key, one in later}
            self._updates, self._words = dict(updates), dict(words)
            self._young, self._old = Contents(contents), Contents(before)

    def step(self, batch: Batch) -> Batch:
        stored = self._stored
        edits: Edits = []
        for place, record in enumerate(batch.records):
            if type(record) is Run:
                pieces = self._run(batch, place, record)
                if pieces:
                    edits.append((place, pieces.all()))
                continue
            if type(record) is Trade:
                known = stored.get(record.symbol)
                if known is not None and record.first_sequence == known.next and not record.series:
                    known.next = record.last_sequence + 1  # type: ignore[operator]  # has a first, so a last
                else:
                    kept = self._trade(batch, place, record)
                    if kept is not record:
                        edits.append(
                            (place, self._repeated(batch, place, record) if kept is None else [kept])
                        )
                        continue
                self._young.add_one(record)
                if not self._young.room:
                    self._age()
            elif type(record) is Quote:
                self._quote(batch, place, record, edits)
        if edits:
            batch.records = edited(batch.records, edits)
        return batch

    def _run(self, batch: Batch, place: int, run: Run) -> Pieces | None:
        """Trades that nearly all are plainly the next of their symbols."""
        pieces: Pieces | None = None
        done = 0  # so many are remembered
        expected = map(self._stored.get, run.symbols)
        for within, (known, identifier) in enumerate(zip(expected, run.ids, strict=True)):
            if known is not None and identifier == known.next:
                known.next = identifier + 1
            else:
                trade = run.trade(within)
                kept = self._trade(batch, place, trade, within)
                if kept is not trade:
                    self._remember(run, done, within)
                    done = within + 1
                    again = self._repeated(batch, place, trade, within) if kept is None else [kept]
                    pieces = pieces or Pieces(run)
                    pieces.replace(within, again)
        self._remember(run, done, len(run))
        return pieces

    def _remember(self, run: Run, start: int, stop: int) -> None:
        """Keep the content of some of a run's trades for a while."""
        while start < stop:
            end = min(stop, start + self._young.room)
            self._young.add(run, start, end)
            if not self._young.room:
                self._age()
            start = end

    def _age(self) -> None:
        """Begin a generation."""
        self._young, self._old = Contents(), self._young

    def _quote(self, batch: Batch, place: int, quote: Quote, edits: Edits) -> None:
        """Drop it where a newer one of its symbol was seen."""
        update = quote.source_sequence
        if update is None:
            return
        newest = self._updates.get(quote.symbol, -1)
        if update > newest or update < newest - UPDATES_BACK_MAX:
            self._updates[quote.symbol] = update
        else:
            self._drop(batch, quote, "stale" if update < newest else None)
            edits.append((place, []))

    def snapshot(self) -> tuple[Any, ...]:
        return (
            VERSION,
            tuple((symbol, plain(one)) for symbol, one in self._stored.items()),
            tuple((key, plain(one)) for key, one in self._later.items()),
            tuple(self._updates.items()),
            tuple(self._words.items()),
            self._words_time,
            self._young.snapshot(),
            self._old.snapshot(),
        )

    def _trade(self, batch: Batch, place: int, trade: Trade, within: int | None = None) -> Record | None:
        """The trade where it is new, None where it was stored, else the dead letter."""
        first, last = trade.first_sequence, trade.last_sequence
        if not self._numbered or first is None or last is None or first > last:
            return self._by_word(batch, place, trade, within)
        known = (
            self._later.get((trade.symbol, trade.series)) if trade.series else self._stored.get(trade.symbol)
        )
        if known is None:
            known = Stored(first, last + 1, 0, Intervals())
            if trade.series:
                self._later[trade.symbol, trade.series] = known
                if len(self._later) > LATER_MAX:
                    del self._later[next(iter(self._later))]
            else:
                self._stored[trade.symbol] = known
            return trade
        if last < known.floor:
            return batch.refuse(place, "drop_duplicates", "beyond_memory", f"id {trade.trade_id}", within)
        return trade if known.add(first, last) else None

    def _by_word(self, batch: Batch, place: int, trade: Trade, within: int | None) -> Record | None:
        """The same for ids that cannot be counted."""
        key = trade.symbol, trade.trade_id
        if key in self._words:
            return None
        if trade.timestamp < self._words_time - WORDS_AGE_MAX:
            return batch.refuse(place, "drop_duplicates", "beyond_memory", f"id {trade.trade_id}", within)
        self._words[key] = trade.timestamp
        self._words_time = max(self._words_time, trade.timestamp)
        oldest = self._words_time - WORDS_AGE_MAX
        while len(self._words) > WORDS_MAX or next(iter(self._words.values())) < oldest:
            del self._words[next(iter(self._words))]
        return trade

    def _repeated(self, batch: Batch, place: int, trade: Trade, within: int | None = None) -> list[Record]:
        """Nothing, where the stored copy is the same or no longer remembered."""
        first = self._young.find(trade.message_id) or self._old.find(trade.message_id)
        if first is not None and not agree(first, content(trade)):
            return [batch.refuse(place, "drop_duplicates", "conflict", f"first copy was {first}", within)]
        self._drop(batch, trade, None)
        return []

    def _drop(self, batch: Batch, record: Trade | Quote, reason: str | None) -> None:
        """Count a record that is dropped: by how it reached us, as far as that tells why it came twice."""
        if reason is None and record.origin != "live":
            reason = record.origin
        if reason is None:
            assert record.platform_sequence is not None
            frame = batch.frame(record.platform_sequence)
            reason = "overlap" if frame.received - frame.connection <= OVERLAP_MAX else "venue"
        batch.count(f"duplicates_{reason}")


def content(trade: Trade) -> Content:
    """What makes two copies of a trade the same."""
    return trade.price, trade.quantity, trade.timestamp


def agree(one: Content, other: Content) -> bool:
    """Whether two copies say the same; in their histories venues write more noughts and cut times shorter."""
    if abs(one[2] - other[2]) >= MILLISECOND:
        return False
    return one[:2] == other[:2] or all(units(a) == units(b) for a, b in zip(one[:2], other[:2], strict=True))


def plain(one: Stored) -> tuple[Any, ...]:
    return one.first, one.next, one.floor, one.missing.snapshot()


def restored(state: tuple[Any, ...]) -> Stored:
    first, following, floor, missing = state
    return Stored(first, following, floor, Intervals(missing))
