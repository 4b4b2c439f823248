"""Exact prices and sizes: plain text in records, whole units of 10**-18 in stored forms. Nothing rounds.

Plain means digits with at most one point between them: neither exponent nor blank, and never "NaN".
"""

import re

from schemas.fields import MONEY_PRECISION, MONEY_SCALE

# All that decimal(38,18) holds and nothing else, so that what matches needs no other check.
PLAIN = rf"-?[0-9]{{1,{MONEY_PRECISION - MONEY_SCALE}}}(?:\.[0-9]{{1,{MONEY_SCALE}}})?"

_is_plain = re.compile(PLAIN).fullmatch
_ONE = 10**MONEY_SCALE


def units(text: str) -> int:
    """How many units of 10**-18 a plain number is; ValueError where decimal(38,18) does not hold it."""
    if not _is_plain(text):
        raise ValueError(f"{text[: MONEY_PRECISION + 2]!r} is not a plain number within decimal(38,18)")
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(MONEY_SCALE, "0"))


def plain(count: int) -> str:
    """The shortest plain text of so many units: of equal numbers always the same."""
    whole, fraction = divmod(abs(count), _ONE)
    sign = "-" if count < 0 else ""
    return f"{sign}{whole}.{fraction:018d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"
