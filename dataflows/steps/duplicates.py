"""Did we store it? Drops what was stored before, and counts why it came twice.

Keeps the ids stored of each symbol and series. The first of two copies stays; one with other content is a
dead letter. An id older than all that is remembered is a dead letter too, never silently a duplicate.
"""

from collections.abc import Iterable
from typing import Any

from dataflows.steps.batch import Batch
from dataflows.steps.gaps import edited
from dataflows.steps.intervals import Intervals
from schemas import Quote, Record, Trade
from schemas.money import units

VERSION = 1
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

    __slots__ = ("fresh", "known")

    def __init__(self, snapshot: Iterable[tuple[str, str, str, int]] = ()) -> None:
        self.fresh: list[Trade] = []
        self.known: dict[str, Trade | tuple[str, str, int]] = {}
        for message_id, price, quantity, time in snapshot:
            self.known[message_id] = price, quantity, time

    def room(self) -> int:
        """How many may be fresh before the next generation begins."""
        return CONTENTS_MAX - len(self.known)

    def find(self, message_id: str) -> Trade | tuple[str, str, int] | None:
        self.known.update((trade.message_id, trade) for trade in self.fresh)
        self.fresh.clear()
        return self.known.get(message_id)

    def snapshot(self) -> tuple[Any, ...]:
        self.find("")
        return tuple((message_id, *content(one)) for message_id, one in self.known.items())


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
        stored, updates = self._stored, self._updates
        fresh, room = self._young.fresh, self._young.room()
        edits: list[tuple[int, list[Record]]] = []
        for place, record in enumerate(batch.records):
            if type(record) is Trade:
                known = stored.get(record.symbol)
                # The next id of the first series: nothing to compare, and nearly always so.
                if known is not None and record.first_sequence == known.next and not record.series:
                    known.next = record.last_sequence + 1  # type: ignore[operator]  # has a first, so a last
                else:
                    kept = self._trade(batch, place, record)
                    room = self._young.room()
                    if kept is not record:
                        edits.append((place, [] if kept is None else [kept]))
                        continue
                fresh.append(record)
                if len(fresh) >= room:
                    self._young, self._old = Contents(), self._young
                    fresh, room = self._young.fresh, CONTENTS_MAX
            elif type(record) is Quote:
                update = record.source_sequence
                if update is not None:
                    newest = updates.get(record.symbol, -1)
                    if update > newest or update < newest - UPDATES_BACK_MAX:
                        updates[record.symbol] = update
                    else:
                        self._drop(batch, record, "stale" if update < newest else None)
                        edits.append((place, []))
        if edits:
            batch.records = edited(batch.records, edits)
        return batch

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

    def _trade(self, batch: Batch, place: int, trade: Trade) -> Record | None:
        """The trade where it is new, None where it was stored, else the dead letter."""
        first, last = trade.first_sequence, trade.last_sequence
        if not self._numbered or first is None or last is None or first > last:
            return self._by_word(batch, place, trade)
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
            return batch.refuse(place, "drop_duplicates", "beyond_memory", f"id {trade.trade_id}")
        return trade if known.add(first, last) else self._repeated(batch, place, trade)

    def _by_word(self, batch: Batch, place: int, trade: Trade) -> Record | None:
        """The same for ids that cannot be counted."""
        key = trade.symbol, trade.trade_id
        if key in self._words:
            return self._repeated(batch, place, trade)
        if trade.timestamp < self._words_time - WORDS_AGE_MAX:
            return batch.refuse(place, "drop_duplicates", "beyond_memory", f"id {trade.trade_id}")
        self._words[key] = trade.timestamp
        self._words_time = max(self._words_time, trade.timestamp)
        oldest = self._words_time - WORDS_AGE_MAX
        while len(self._words) > WORDS_MAX or next(iter(self._words.values())) < oldest:
            del self._words[next(iter(self._words))]
        return trade

    def _repeated(self, batch: Batch, place: int, trade: Trade) -> Record | None:
        """Nothing, where the stored copy is the same or no longer remembered."""
        first = self._young.find(trade.message_id) or self._old.find(trade.message_id)
        if first is not None and not agree(content(first), content(trade)):
            return batch.refuse(place, "drop_duplicates", "conflict", f"first copy was {content(first)}")
        self._drop(batch, trade, None)
        return None

    def _drop(self, batch: Batch, record: Trade | Quote, reason: str | None) -> None:
        """Count a record that is dropped: by how it reached us, as far as that tells why it came twice."""
        if reason is None and record.origin != "live":
            reason = record.origin
        if reason is None:
            assert record.platform_sequence is not None
            frame = batch.frame(record.platform_sequence)
            reason = "overlap" if frame.received - frame.connection <= OVERLAP_MAX else "venue"
        batch.count(f"duplicates_{reason}")


def content(one: Trade | tuple[str, str, int]) -> tuple[str, str, int]:
    """What makes two copies of a trade the same."""
    return (one.price, one.quantity, one.timestamp) if isinstance(one, Trade) else one


def agree(one: tuple[str, str, int], other: tuple[str, str, int]) -> bool:
    """Whether two copies say the same; in their histories venues write more noughts and cut times shorter."""
    if abs(one[2] - other[2]) >= MILLISECOND:
        return False
    return one[:2] == other[:2] or all(units(a) == units(b) for a, b in zip(one[:2], other[:2], strict=True))


def plain(one: Stored) -> tuple[Any, ...]:
    return one.first, one.next, one.floor, one.missing.snapshot()


def restored(state: tuple[Any, ...]) -> Stored:
    first, following, floor, missing = state
    return Stored(first, following, floor, Intervals(missing))
