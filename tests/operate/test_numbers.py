"""Numbers that nothing can be done with are refused."""

import click
import pytest

from operate.numbers import FiniteRange, Moment


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "-1", "7", "many"])
def test_what_is_no_number_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=text):
        FiniteRange(min=0, max=float("inf") if text in ("inf", "1e400") else 6).convert(text, None, None)


def test_a_number_of_the_range_is_taken() -> None:
    assert FiniteRange(min=0).convert("0.5", None, None) == 0.5


def test_a_time_is_one_that_can_be() -> None:
    assert Moment().convert("1795291137875222", None, None) == 1_795_291_137_875_222
    assert Moment().convert("2026-11-21T09:30:00Z", None, None) == 1_795_253_400_000_000
    for text in ("9" * 26, "9" * 5_000, "tomorrow", "-1"):
        with pytest.raises(click.BadParameter, match="is neither microseconds nor a time"):
            Moment().convert(text, None, None)
