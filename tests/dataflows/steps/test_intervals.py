"""A set of ids as intervals is a set of ids."""

import random

import pytest

from dataflows.steps.intervals import Intervals


def test_touching_intervals_join_and_others_do_not() -> None:
    ids = Intervals([(1, 3), (5, 5), (9, 12)])
    assert list(ids) == [(1, 3), (5, 5), (9, 12)]
    ids.add(4, 4)
    assert list(ids) == [(1, 5), (9, 12)]
    ids.add(3, 10)
    assert list(ids) == [(1, 12)]
    assert len(ids) == 1


def test_removing_splits() -> None:
    ids = Intervals([(1, 10)])
    ids.remove(4, 6)
    assert list(ids) == [(1, 3), (7, 10)]
    ids.remove(3, 7)
    ids.remove(20, 30)
    assert ids.snapshot() == ((1, 2), (8, 10))
    assert ids.forget_lowest() == (1, 2)
    assert list(ids) == [(8, 10)]


@pytest.mark.no_cover
def test_it_is_a_set_of_ids(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        ids, model = Intervals(), set[int]()
        for _ in range(40):
            first = chance.randrange(60)
            last = first + chance.choice((0, 0, 1, 2, 12))
            if chance.random() < 0.6:
                ids.add(first, last)
                model.update(range(first, last + 1))
            else:
                ids.remove(first, last)
                model.difference_update(range(first, last + 1))
            low, high = sorted((chance.randrange(70), chance.randrange(70)))
            span = set(range(low, high + 1))
            assert [one in ids for one in range(75)] == [one in model for one in range(75)]
            assert members(ids.within(low, high)) == model & span
            assert members(ids.holes(low, high)) == span - model
            # Never touching, so never more intervals than needed.
            assert all(end + 1 < start for (_, end), (start, _) in zip(ids, list(ids)[1:], strict=False))
            assert list(Intervals(ids.snapshot())) == list(ids)


def members(intervals: list[tuple[int, int]]) -> set[int]:
    return {one for first, last in intervals for one in range(first, last + 1)}
