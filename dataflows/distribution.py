"""How long things took, counted by how long: a histogram that takes a whole batch at once. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

MICROSECONDS = 1_000_000


class Distribution:
    """A histogram that takes a whole batch at once."""

    def __init__(self, bounds: Sequence[float]) -> None:
        assert all(lower < upper for lower, upper in pairwise(bounds))
        self._bounds = bounds
        self._microseconds = [round(bound * MICROSECONDS) for bound in bounds]
        self._up_to = [0] * len(bounds)
        self._count = 0
        self.sum = 0  # in microseconds: exact, however it was added up

    def add(self, began: Sequence[int], ended: int) -> None:
        """Take what began at these times, in order; where clocks differ, less than nought is nought."""
        number = len(began)
        for place, bound in enumerate(self._microseconds):
            self._up_to[place] += number - bisect_left(began, ended - bound)
        self._count += number
        past = bisect_right(began, ended)
        self.sum += past * ended - sum(began[:past])

    def buckets(self) -> list[tuple[str, float]]:
        """How many were at most so long, as Prometheus has it."""
        up_to = zip(map(str, self._bounds), map(float, self._up_to), strict=True)
        return [*up_to, ("+Inf", self._count)]
