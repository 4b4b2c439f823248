"""Ranges of numbers, against sets."""

from random import Random

import pyarrow as pa

from operate.auditing.runs import Runs, account, runs, size, told, without


def test_rows_that_go_on_are_one_run() -> None:
    rows = pa.table({"key": ["a", "a", "b", "b", "b"], "n": [1, 2, 3, 4, 6]})
    assert list(runs(rows, ("key",), "n", "n")) == [("a", 1, 2), ("b", 3, 4), ("b", 6, 6)]
    assert list(runs(rows.slice(0, 0), ("key",), "n", "n")) == []


def test_what_is_missing_and_what_is_repeated(seed: int) -> None:
    random = Random(seed)
    for _ in range(200):
        numbers = [random.randrange(60) for _ in range(random.randrange(1, 80))]
        found = Runs()
        for start in range(0, len(numbers), 7):
            found.add(pa.table({"n": numbers[start : start + 7]}), (), "n", "n", of=("x",))
        one = found.account(("x",))
        assert {n for low, high in one.ranges for n in range(low, high + 1)} == set(numbers)
        assert one.different() == len(set(numbers))
        assert size(one.repeated) == len(numbers) - len(set(numbers))
        missing = {n for low, high in one.missing(5, 50) for n in range(low, high + 1)}
        assert missing == set(range(5, 51)) - set(numbers)


def test_keys_are_apart_and_may_be_put_together() -> None:
    found = Runs()
    found.add(pa.table({"k": [1, 2], "n": [7, 7]}), ("k",), "n", "n")
    assert list(found) == [(1,), (2,)]
    assert not found.account((1,)).repeated
    assert found.account((1,), (2,)).repeated == [(7, 7)]


def test_ranges_are_taken_away() -> None:
    assert without([(1, 10)], [(0, 1), (4, 5), (10, 12)]) == [(2, 3), (6, 9)]
    assert account([(5, 9), (1, 4), (8, 12)]) == ([(1, 12)], [(8, 9)])
    assert [told((3, 3)), told((3, 4))] == ["3", "3-4"]
