"""The one product of price and quantity: exact if 18 places hold it, else half-even, never silently."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import notional
from schemas.money import plain, units

counts = st.integers(-(10**38) + 1, 10**38 - 1)
places = st.integers(0, 18)


@pytest.mark.parametrize(
    ("price", "quantity", "amount", "exact"),
    [
        ("43250.10", "0.002", "86.5002", True),
        ("0.000000000000000001", "1", "0.000000000000000001", True),
        ("0.000000000000000001", "0.5", "0", False),  # half, to the even zero
        ("0.000000000000000003", "0.5", "0.000000000000000002", False),  # half, to the even two
        ("0.000000000000000001", "0.51", "0.000000000000000001", False),
        ("0.0000000010", "0.0000000010", "0.000000000000000001", True),  # 20 places written, 18 needed
        ("99999999999999999999", "99999999999999999999", "9999999999999999999800000000000000000001", True),
        ("-1.5", "2", "-3", True),
    ],
)
def test_products(price: str, quantity: str, amount: str, exact: bool) -> None:
    assert notional(Decimal(price), Decimal(quantity)) == (Decimal(amount), exact)


@given(counts, counts)
def test_notional_is_the_exact_product_rounded_once(price: int, quantity: int) -> None:
    amount, exact = notional(Decimal(plain(price)), Decimal(plain(quantity)))
    true = Fraction(price * quantity, 10**36)
    assert Fraction(amount) == Fraction(round(true * 10**18), 10**18)  # round() of a fraction is half-even
    assert exact == (Fraction(amount) == true)


@given(counts, places, counts, places)
def test_zeros_at_the_end_change_nothing(price: int, more: int, quantity: int, most: int) -> None:
    first, second = plain(price), plain(quantity)
    assert notional(_padded(first, more), _padded(second, most)) == notional(Decimal(first), Decimal(second))


def _padded(text: str, zeros: int) -> Decimal:
    whole, _, fraction = text.partition(".")
    padded = f"{whole}.{fraction}{'0' * min(zeros, 18 - len(fraction))}".rstrip(".")
    assert units(padded) == units(text)
    return Decimal(padded)
