"""A set of ids as intervals: small while ids are dense, whatever their number. Knows nothing of markets."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator


class Intervals:
    """Disjoint, never touching intervals of ids, both ends included, in order."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add(first, last)

    def __len__(self) -> int:
        """How many intervals, which is what memory is spent on."""
        return len(self._firsts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __contains__(self, identifier: int) -> bool:
        place = bisect_right(self._firsts, identifier) - 1
        return place >= 0 and identifier <= self._lasts[place]

    def add(self, first: int, last: int) -> None:
        """Put ids first..last in, joining the intervals that they overlap or touch."""
        assert first <= last
        low = bisect_left(self._lasts, first - 1)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def remove(self, first: int, last: int) -> None:
        """Take ids first..last out, where they are in."""
        assert first <= last
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        if low >= high:
            return
        left = [(self._firsts[low], first - 1)] if self._firsts[low] < first else []
        right = [(last + 1, self._lasts[high - 1])] if self._lasts[high - 1] > last else []
        kept = left + right
        self._firsts[low:high] = [one[0] for one in kept]
        self._lasts[low:high] = [one[1] for one in kept]

    def within(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of first..last that are in."""
        low = bisect_left(self._lasts, first)
        high = bisect_right(self._firsts, last)
        return [
            (max(first, self._firsts[place]), min(last, self._lasts[place])) for place in range(low, high)
        ]

    def holes(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of first..last that are not in."""
        found: list[tuple[int, int]] = []
        for start, end in self.within(first, last):
            if first < start:
                found.append((first, start - 1))
            first = end + 1
        if first <= last:
            found.append((first, last))
        return found

    def forget_lowest(self) -> tuple[int, int]:
        """Take the lowest interval out and return it."""
        return self._firsts.pop(0), self._lasts.pop(0)

    def snapshot(self) -> tuple[tuple[int, int], ...]:
        return tuple(self)
