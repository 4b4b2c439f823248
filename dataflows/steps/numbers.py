"""Arithmetic with prices and sizes as whole numbers: exact, and rounded only where it says so.

Looking at many texts at once costs a third of looking at each: that is why some functions take lists.
"""

import re
from collections.abc import Sequence

from schemas.fields import MONEY_PRECISION, MONEY_SCALE

UNIT: int = 10**MONEY_SCALE
# The nanos of a run in units of 10^-18: a product of two is of these units already, and exact.
NANO: int = 10**9

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


def product(price: int, quantity: int) -> int:
    """The notional of one trade, all in units of 10^-18, rounded as the one function for it rounds."""
    whole, rest = divmod(price * quantity, UNIT)
    return whole if not rest else quotient(price * quantity, UNIT * UNIT)


def quotient(dividend: int, divisor: int) -> int:
    """One number of units divided by another, half-even at 18 places."""
    whole, rest = divmod(dividend * UNIT, divisor)
    double = 2 * rest
    return whole + (double > divisor or (double == divisor and whole & 1))
