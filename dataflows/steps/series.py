"""The account of one series of ids: which were received, and what became of each one that was not.

The law: every id from the first to the highest is received, or is part of exactly one gap that is open or
lost. A gap keeps its name until all its ids are in (`repaired`) or all are given up (`lost`). One that ends
partly is `split`: its ids are then named by the gaps that tile it, each open, repaired or lost.
"""

from bisect import bisect_left, insort
from dataclasses import astuple, dataclass
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from dataflows.steps.intervals import Intervals

# What one symbol may take of the state: 10,000 intervals are about 1 MB.
INTERVALS_MAX = 10_000
# More than any venue trades in a symbol while we reconnect; asking for more would not end before retention.
JUMP_IDS_MAX = 1_000_000
# An id received before, this far back and yet newer in time, is a restart; nearer, a trade that was changed.
RESTART_IDS_MIN = 100
# This far back no repetition reaches, whatever a venue's clock says; it may have been set back by a minute.
RESTART_IDS_FAR = 1_000_000
CLOCK_SET_BACK_MAX = 60 * 1_000_000


class Change(NamedTuple):
    """What becomes of a range of ids."""

    first: int
    last: int
    status: Literal["open", "repaired", "lost", "split"]
    reason: str
    found: int


@dataclass(slots=True)
class Hole:
    """A gap that still misses ids."""

    first: int
    last: int
    lost: bool
    reason: str
    found: int  # receive time of the frame that showed it
    since: int  # venue time of the last trade before it
    repaired: bool  # a page has brought some of its ids


class Series:
    """One run of a symbol's ids, from the first that we saw to the next that we expect."""

    __slots__ = ("first", "floor", "holes", "mark", "missing", "next", "number", "time")

    def __init__(self, number: int, first: int) -> None:
        self.number = number
        self.first = first
        self.next = first
        self.time = 0  # venue time of the highest id
        self.floor = 0  # below it nothing is remembered
        self.mark = 0  # the next id of the series in use when this one was left
        self.missing = Intervals()
        self.holes: list[Hole] = []

    def continues(self, first: int, last: int, time: int, *, live: bool) -> bool:
        """Whether ids first..last can belong here: no absurd jump, no restart."""
        if first >= self.next:
            return first - self.next <= JUMP_IDS_MAX
        if not live or self.missing.within(first, last):
            return True
        back = self.next - first
        newer = back > RESTART_IDS_MIN and time > self.time
        return not newer and not (back > RESTART_IDS_FAR and time > self.time - CLOCK_SET_BACK_MAX)

    def open(self, first: int, last: int, reason: str, found: int) -> list[Change]:
        """Ids first..last were skipped."""
        self.holes.append(Hole(first, last, False, reason, found, self.time, False))
        self.missing.add(first, last)
        return [Change(first, last, "open", reason, found), *self.forget()]

    def receive(self, first: int, last: int, *, repair: bool) -> list[Change]:
        """Ids first..last came after higher ones."""
        if not self.missing.within(first, last):
            return []
        self.missing.remove(first, last)
        changes: list[Change] = []
        for hole in self.overlapping(first, last):
            hole.repaired = hole.repaired or repair
            if not self.missing.within(hole.first, hole.last):
                self.holes.remove(hole)
                changes.append(Change(hole.first, hole.last, "repaired", brought(hole), hole.found))
            elif hole.lost:
                changes += self.split(hole, 0, -1, "")
        return changes + self.forget()

    def give_up(self, first: int, last: int, reason: str) -> list[Change]:
        """What is still missing of first..last will not come."""
        changes: list[Change] = []
        for hole in self.overlapping(first, last):
            given_up = [] if hole.lost else self.missing.within(max(first, hole.first), min(last, hole.last))
            if given_up == [(hole.first, hole.last)]:
                hole.lost, hole.reason = True, reason
                changes.append(Change(hole.first, hole.last, "lost", reason, hole.found))
            elif given_up:
                changes += self.split(hole, first, last, reason)
        return changes

    def split(self, hole: Hole, first: int, last: int, reason: str) -> list[Change]:
        """Replace a gap by gaps that tile it; of the ids it misses, first..last are lost from now on."""
        parts: list[Change] = []
        for start, end in self.missing.within(hole.first, hole.last):
            if hole.lost:
                parts.append(Change(start, end, "lost", hole.reason, hole.found))
                continue
            for low, high, lost in (
                (start, min(end, first - 1), False),
                (max(start, first), min(end, last), True),
                (max(start, last + 1), end, False),
            ):
                if low <= high:
                    status: Literal["lost", "open"] = "lost" if lost else "open"
                    parts.append(Change(low, high, status, reason if lost else hole.reason, hole.found))
        parts += [
            Change(start, end, "repaired", brought(hole), hole.found)
            for start, end in self.missing.holes(hole.first, hole.last)
        ]
        parts.sort()
        self.holes.remove(hole)
        for part in parts:
            if part.status != "repaired":
                lost = part.status == "lost"
                self.keep(Hole(part.first, part.last, lost, part.reason, hole.found, hole.since, False))
        return [Change(hole.first, hole.last, "split", "partly", hole.found), *parts]

    def keep(self, hole: Hole) -> None:
        insort(self.holes, hole, key=attrgetter("first"))

    def overlapping(self, first: int, last: int) -> list[Hole]:
        """The gaps that have ids of first..last, in order."""
        place = bisect_left(self.holes, first, key=attrgetter("last"))
        end = place
        while end < len(self.holes) and self.holes[end].first <= last:
            end += 1
        return self.holes[place:end]

    def since(self, first: int, last: int) -> int:
        """Venue time of the last trade before the gap that misses some of first..last."""
        return self.overlapping(first, last)[0].since

    def forget(self) -> list[Change]:
        """Close the oldest gaps while there are more intervals than may be kept."""
        changes: list[Change] = []
        while len(self.missing) > INTERVALS_MAX:
            first, last = self.holes[0].first, self.holes[0].last
            changes += self.give_up(first, last, "memory")
            self.missing.remove(first, last)
            self.holes = [hole for hole in self.holes if hole.first > last]
            self.floor = last + 1
        return changes

    def snapshot(self) -> tuple[Any, ...]:
        holes = tuple(astuple(hole) for hole in self.holes)
        numbers = (self.number, self.first, self.next, self.time, self.floor, self.mark)
        return (*numbers, self.missing.snapshot(), holes)


def restored(state: tuple[Any, ...]) -> Series:
    """The series whose snapshot that is."""
    number, first, following, time, floor, mark, missing, holes = state
    series = Series(number, first)
    series.next, series.time, series.floor, series.mark = following, time, floor, mark
    series.missing = Intervals(missing)
    series.holes = [Hole(*hole) for hole in holes]
    return series


def brought(hole: Hole) -> str:
    """What brought the ids of a gap that were missing."""
    return "repair" if hole.repaired else "late"
