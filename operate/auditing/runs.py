"""Which numbers were seen, by key. As ranges, because numbers here are nearly always dense: fifty million of
them are a few thousand ranges, and what is missing or repeated shows between them. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

Key = tuple[Any, ...]
Range = tuple[int, int]  # first and last, both included


class Account(NamedTuple):
    """The numbers of one key."""

    ranges: list[Range]  # apart from each other, ascending
    repeated: list[Range]

    def different(self) -> int:
        """How many different numbers there are."""
        return size(self.ranges)

    def missing(self, first: int, last: int) -> list[Range]:
        """The numbers of first..last that are not among them."""
        return without([(first, last)], self.ranges)


class Runs:
    """Numbers by key, as they are found."""

    def __init__(self) -> None:
        self._found: dict[Key, list[Range]] = {}

    def add(self, rows: pa.Table, keys: Sequence[str], first: str, last: str, *, of: Key = ()) -> None:
        """The numbers first..last of each row, under the row's keys behind those that all have."""
        for *parts, low, high in runs(rows, keys, first, last):
            known = self._found.setdefault((*of, *parts), [])
            if known and known[-1][1] + 1 == low:
                known[-1] = known[-1][0], high
            else:
                known.append((low, high))

    def __iter__(self) -> Iterator[Key]:
        return iter(self._found)

    def account(self, *keys: Key) -> Account:
        """What was found of some keys together."""
        return account(found for key in keys for found in self._found.get(key, ()))


def runs(rows: pa.Table, keys: Sequence[str], first: str, last: str) -> Iterator[tuple[Any, ...]]:
    """Key, first and last of each run: rows in their order, each going on where the one before ended."""
    count = rows.num_rows
    if not count:
        return
    rows = rows.select([*dict.fromkeys([*keys, first, last])]).combine_chunks()
    ends = pc.add(rows.column(last).slice(0, count - 1), 1)
    goes_on = pc.equal(rows.column(first).slice(1), ends)
    for name in keys:
        column = rows.column(name)
        goes_on = pc.and_(goes_on, pc.equal(column.slice(1), column.slice(0, count - 1)))
    breaks = pc.indices_nonzero(pc.invert(goes_on)).to_pylist()
    starts = rows.take([0, *(place + 1 for place in breaks)])
    highs = rows.column(last).take([*breaks, count - 1])
    columns = [starts.column(name).to_pylist() for name in (*keys, first)]
    yield from zip(*columns, highs.to_pylist(), strict=True)


def account(ranges: Iterable[Range]) -> Account:
    """Ranges in any order, put together."""
    apart: list[Range] = []
    repeated: list[Range] = []
    for low, high in sorted(ranges):
        end = apart[-1][1] if apart else low - 2
        if low <= end:
            repeated.append((low, min(high, end)))
        if low <= end + 1:
            apart[-1] = apart[-1][0], max(end, high)
        else:
            apart.append((low, high))
    return Account(apart, repeated)


def without(ranges: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """What is left of ascending ranges when others, ascending too, are taken away."""
    left: list[Range] = []
    others = list(taken)
    place = 0
    for low, high in ranges:
        while place < len(others) and others[place][1] < low:
            place += 1
        start, at = low, place
        while at < len(others) and others[at][0] <= high:
            if start < others[at][0]:
                left.append((start, others[at][0] - 1))
            start = max(start, others[at][1] + 1)
            at += 1
        if start <= high:
            left.append((start, high))
    return left


def size(ranges: Iterable[Range]) -> int:
    """How many numbers are in them."""
    return sum(high - low + 1 for low, high in ranges)


def told(found: Range) -> str:
    """A range as a person reads it."""
    return f"{found[0]}" if found[0] == found[1] else f"{found[0]}-{found[1]}"
