"""Numbers that nothing can be done with are refused."""

import click
import pytest

from operate.numbers import FiniteRange


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "-1", "7", "many"])
def test_what_is_no_number_of_the_range_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match=text):
        FiniteRange(min=0, max=float("inf") if text in ("inf", "1e400") else 6).convert(text, None, None)


def test_a_number_of_the_range_is_taken() -> None:
    assert FiniteRange(min=0).convert("0.5", None, None) == 0.5
