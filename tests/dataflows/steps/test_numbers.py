"""Numbers are exact, rounded half-even where they must be, and refused where they are none."""

import random
from decimal import ROUND_HALF_EVEN, Context, Decimal

import pytest

from dataflows.steps.numbers import all_positive, is_plain, product, quotient
from schemas import notional
from schemas.money import plain, units

SHAPES = ("", "1 1", " 1", "1.", ".5", "1.2.3", "1_0", "0x1", "1\n", "+1", "1e5", "NaN", "Infinity")
BAD = (*SHAPES, "0", "0.0", "00.000", "-1", "\u0661", "1" * 21, "0." + "0" * 18 + "1")


@pytest.mark.parametrize("text", BAD)
def test_one_bad_number_among_good_ones_is_noticed(text: str) -> None:
    assert all_positive(["1", "0.5"])
    assert not all_positive([text])
    assert not all_positive(["1", text, "0.5"])


def test_what_decimal_38_18_holds_is_plain() -> None:
    assert all_positive(["9" * 20 + "." + "9" * 18, "0." + "0" * 17 + "1", "007.50"])
    assert all_positive([])
    assert is_plain("0")
    assert not is_plain("-0")


def test_product_and_quotient_round_as_decimals_do(seed: int) -> None:
    chance, exact = random.Random(seed), Context(prec=120, rounding=ROUND_HALF_EVEN)
    for _ in range(2_000):
        price = plain(chance.randrange(1, 10 ** chance.randrange(2, 30)))
        size = plain(chance.randrange(1, 10 ** chance.randrange(2, 30)))
        amount = product(units(price), units(size))
        assert Decimal(plain(amount)) == notional(Decimal(price), Decimal(size))[0]
        ratio = exact.divide(Decimal(amount), Decimal(units(size)))
        assert quotient(amount, units(size)) == int(
            ratio.scaleb(18, exact).to_integral_value(ROUND_HALF_EVEN)
        )
    assert product(10**9, 5 * 10**8) == 0  # half, to even
    assert product(3 * 10**9, 5 * 10**8) == 2
    assert quotient(1, 2 * 10**18) == 0
    assert quotient(3, 2 * 10**18) == 2
