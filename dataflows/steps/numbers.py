"""Arithmetic with prices and sizes as whole numbers: exact, and rounded only where it says so.

Looking at many texts at once costs a third of looking at each: that is why some functions take lists.
"""

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import cache

from schemas import notional
from schemas.fields import MONEY_PRECISION, MONEY_SCALE

UNIT: int = 10**MONEY_SCALE
# Two numbers of at most nine places have a product of at most eighteen, which is exact without rounding.
PLACES_MAX = 9
NANO: int = 10 ** (MONEY_SCALE - PLACES_MAX)
# Prices repeat; 10,000 of them are about 1 MB, and forgetting costs half a microsecond each.
REMEMBERED_MAX = 10_000

_whole = rf"[0-9]{{1,{MONEY_PRECISION - MONEY_SCALE}}}+"
_all_plain = re.compile(rf"(?: {_whole}(?:\.[0-9]{{1,{MONEY_SCALE}}}+)?+)*+").fullmatch
_plain = re.compile(rf"{_whole}(?:\.[0-9]{{1,{MONEY_SCALE}}})?").fullmatch


def all_positive(texts: Sequence[str]) -> bool:
    """Whether all are plain numbers that decimal(38,18) holds, and above zero."""
    joined = f" {' '.join(texts)}" if texts else ""
    # A blank inside a text would make it look like two numbers; then their count is wrong.
    if not _all_plain(joined) or joined.count(" ") != len(texts):
        return False
    # Of a nought nothing is left but the blank before it.
    left = joined.encode().translate(None, b"0.")
    return b"  " not in left and not left.endswith(b" ")


def is_plain(text: str) -> bool:
    """Whether it is a number that decimal(38,18) holds, without sign."""
    return _plain(text) is not None


class Nanos(dict[str, int]):
    """Plain numbers in units of 10^-9 by their text, or LONG; a memory of a pure function."""

    LONG = -1  # more places than that

    def __missing__(self, text: str) -> int:
        whole, _, places = text.partition(".")
        if len(places) > PLACES_MAX:
            places = places.rstrip("0")
        value = int(whole + places.ljust(PLACES_MAX, "0")) if len(places) <= PLACES_MAX else self.LONG
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        self[text] = value
        return value

    def many(self, texts: Sequence[str]) -> tuple[list[int], int]:
        """The numbers of texts that rarely repeat, and what makes nanos of them."""
        places = len(texts[0]) - texts[0].find(".") - 1
        joined = " ".join(texts) + " "
        if places <= PLACES_MAX and _all_with(places)(joined):
            return list(map(int, joined.replace(".", "").split())), 10 ** (PLACES_MAX - places)
        return [self[text] for text in texts], 1


@cache
def _all_with(places: int) -> Callable[[str], object]:
    """Whether all of some joined numbers have so many places."""
    return re.compile(rf"(?:[0-9]++\.[0-9]{{{places}}} )*+").fullmatch


def product(price: str, quantity: str) -> int:
    """The notional of one trade in units of 10^-18, rounded as the one function for it rounds."""
    amount, _ = notional(Decimal(price), Decimal(quantity))
    whole, _, places = f"{amount:f}".partition(".")
    return int(whole + places.ljust(MONEY_SCALE, "0"))  # may be more than decimal(38,18) holds


def quotient(dividend: int, divisor: int) -> int:
    """One number of units divided by another, half-even at 18 places."""
    whole, rest = divmod(dividend * UNIT, divisor)
    double = 2 * rest
    return whole + (double > divisor or (double == divisor and whole & 1))
