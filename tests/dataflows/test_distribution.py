"""The histogram: as many up to each bound as there are, however they are added."""

from random import Random

from dataflows.distribution import MICROSECONDS, Distribution


def test_it_counts_as_one_by_one(seed: int) -> None:
    random = Random(seed)
    ended = 100 * MICROSECONDS
    began = sorted(ended - random.randrange(20 * MICROSECONDS) for _ in range(500))
    whole, single = Distribution((0.5, 1.0, 10.0)), Distribution((0.5, 1.0, 10.0))
    whole.add(began, ended)
    for each in began:
        single.add([each], ended)
    assert whole.buckets() == single.buckets()
    assert whole.sum == single.sum == sum(ended - each for each in began)
    counted = [sum(ended - each <= bound * MICROSECONDS for each in began) for bound in (0.5, 1, 10)]
    assert whole.buckets() == [("0.5", counted[0]), ("1.0", counted[1]), ("10.0", counted[2]), ("+Inf", 500)]


def test_what_ended_before_it_began_took_no_time() -> None:
    found = Distribution((1.0,))
    found.add([5, 20], 10)
    assert found.buckets() == [("1.0", 2), ("+Inf", 2)]
    assert found.sum == 5
