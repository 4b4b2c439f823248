"""What the texts of venues mean: numbers and times, strictly and exactly. Nothing here knows a record."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import cast

import msgspec

from schemas.health import Reason
from schemas.nanos import NANO_PLACES, Nanos, of_nanos

# How much of a venue's text a detail repeats, and the longest number that is worth converting.
TEXT_CHARACTERS_MAX = 40
TIME_WRITTEN_MAX = 10**30
# Microseconds of 16 digits, which nothing else has.
SANE_FIRST, SANE_END = 10**15, 10**16
# A number with a point in it that is not longer fits decimal(38,18), wherever the point is.
PLAIN_CHARACTERS_SURE = 19


class Refused(Exception):
    """A message, or one record of it, that cannot be accepted; becomes a DeadLetter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


# What decimal(38,18) holds, in the plain form that venues use: no exponent, NaN or padding. A negative number
# passes, for validation to name. Possessive, so that a number that does not match costs no more.
_PLAIN = r"-?[0-9]{1,20}+(?:\.[0-9]{1,18}+)?+"
plain_number = re.compile(_PLAIN).fullmatch
_plain_numbers = re.compile(rf"(?:{_PLAIN} )*+").fullmatch
_nano_numbers = re.compile(rf"(?:[0-9]{{1,20}}+\.[0-9]{{{NANO_PLACES}}} )*+").fullmatch
_any_number = re.compile(r"-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+").fullmatch
# A larger exponent fits decimal(38,18) whatever stands before it as little as this one; it is never expanded.
_small_exponent = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}").fullmatch


def number(text: str, field: str) -> str:
    """The plain digits of a price or size, or Refused."""
    if len(text) <= TEXT_CHARACTERS_MAX and _small_exponent(text):
        text = format(Decimal(text), "f")
    if plain_number(text):
        return text
    reason: Reason = "precision" if _any_number(text) else "not_a_number"
    raise Refused(reason, f"{field} is {text[:TEXT_CHARACTERS_MAX]!r}, {len(text)} characters")


def numbers(texts: Sequence[str], field: str) -> Sequence[str]:
    """The plain digits of each, or Refused. All are looked at together, which costs half."""
    joined = " ".join(texts) + " "
    # A blank inside a text would make it look like two numbers; then their count is wrong.
    if _plain_numbers(joined) and joined.count(" ") == len(texts):
        return texts
    return [number(text, field) for text in texts]


def exact(found: Sequence[str] | Sequence[msgspec.Raw], field: str) -> tuple[Sequence[str], list[int]]:
    """The plain digits of each, or Refused; and their nanos, if cheap: where all have as many places.

    To remember prices, which often repeat, costs more than this as soon as there are thousands of them.
    """
    if isinstance(found[0], msgspec.Raw):
        # A venue that writes numbers leaves their last noughts out.
        return tokens_of_numbers(cast("Sequence[msgspec.Raw]", found), field), []
    texts = cast("Sequence[str]", found)
    places = len(texts[0]) - texts[0].find(".") - 1
    padding = "0" * (NANO_PLACES - places) + " "
    joined = padding.join(texts) + padding
    if places > 0 and _nano_numbers(joined) and joined.count(" ") == len(texts):
        return texts, of_nanos(joined)
    texts = numbers(texts, field)
    return texts, list(map(_known.__getitem__, texts))


_known = Nanos()


def tokens_of_numbers(raws: Sequence[msgspec.Raw], field: str) -> Sequence[str]:
    """The plain digits of each JSON token, or Refused."""
    joined = b" ".join(raws)
    texts = str(joined, "ascii").split(" ")
    # A token without a letter, a quote or a bracket is a number: whoever read it saw to that.
    if not joined.translate(None, b"0123456789. ") and max(map(len, texts)) <= PLAIN_CHARACTERS_SURE:
        return texts
    return numbers(texts, field)


def token(raw: msgspec.Raw) -> str:
    """What the venue wrote, such as the digits of a JSON number before anybody made a float of them."""
    return str(raw, "ascii")


def quoted(text: str) -> str:
    """The text as a JSON string, whatever is in it."""
    return msgspec.json.encode(text).decode()


def all_quoted(texts: Sequence[str]) -> list[str]:
    """Each text as a JSON string."""
    found = msgspec.json.encode(texts).decode()[1:-1].split(",")
    return found if len(found) == len(texts) else [quoted(text) for text in texts]


def offered(raw: msgspec.Raw) -> str | None:
    """The same for a side of a quote; None where nobody offers."""
    text = token(raw)
    return None if text == "null" else text


def sane_time(microseconds: int) -> int:
    """The same, from September 2001 to November 2286, or Refused."""
    if SANE_FIRST <= microseconds < SANE_END:
        return microseconds
    # Python refuses to write out what only an enemy sends.
    said = f"{microseconds:.6e}" if abs(microseconds) < TIME_WRITTEN_MAX else "of more than 30 digits"
    raise Refused("time", f"time {said}")


def epoch_time(value: int) -> int:
    """Microseconds of a venue's microseconds or milliseconds, told apart by magnitude, or Refused."""
    if SANE_FIRST <= value < SANE_END:
        return value
    return sane_time(value * 1_000)


def epoch_times(values: list[int]) -> list[int]:
    """The same for each of some values."""
    if min(values) >= SANE_FIRST and max(values) < SANE_END:
        return values
    return [epoch_time(value) for value in values]


def clock_time(text: str) -> int:
    """Microseconds of an RFC 3339 time in UTC such as 2023-09-25T07:49:37.708706Z, or Refused.

    Digits after the sixth are cut off. Offsets, blanks and small letters are refused: no venue sends them.
    """
    fraction = text[20:26]
    if text[26:] == "Z" and fraction.isdecimal() and fraction.isascii():
        return sane_time(_second(text[:20]) + int(fraction))
    found = _other_fraction(text, 19)
    if found is None:
        raise Refused("time", f"time {text[:TEXT_CHARACTERS_MAX]!r}")
    return sane_time(_second(text[:19] + ".") + int((found[1] or "0")[:6].ljust(6, "0")))


def clock_times(texts: Sequence[str]) -> list[int]:
    """The same for each of some times, which mostly are of one minute."""
    minute = texts[0][:17].encode("ascii", "replace")
    joined = ("Z\n" + "\n".join(texts)).encode("ascii", "replace")
    # The 1 is there because JSON's numbers do not begin with a nought. No other comma and no line end may be
    # left: so each text began with the minute and ended with the Z.
    rest = joined.replace(b"Z\n" + minute, b",1")
    if (
        rest.translate(_NOUGHTS) == b",000.000000" * len(texts) + b"Z"
        and not rest[2::11].translate(None, b"012345")  # no minute has more than 60 seconds
        and minute.translate(_NOUGHTS) == b"0000-00-00T00:00:"
    ):
        start = _second(minute.decode() + "00.") - 100_000_000
        found = [start + one for one in _whole_numbers(b"[" + rest[1:-1].translate(None, b".") + b"]")]
        if min(found) >= SANE_FIRST and max(found) < SANE_END:
            return found
    return [clock_time(text) for text in texts]


# Any digit as a nought, so that one comparison finds what is not a digit where one must be.
_NOUGHTS = bytes.maketrans(b"123456789", b"000000000")
_whole_numbers = msgspec.json.Decoder(list[int]).decode
_other_fraction = re.compile(r"(?:\.([0-9]{1,9}))?Z").fullmatch
_whole_second = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.").fullmatch


@lru_cache(maxsize=1_024)  # trades of the same second share the work; more seconds are never in flight
def _second(text: str) -> int:
    """Microseconds of a whole second of any year."""
    try:
        if not _whole_second(text):
            raise ValueError("not a time")
        since_epoch = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)
    except ValueError as error:
        raise Refused("time", f"time {text!r}: {error}") from error
    return since_epoch // timedelta(microseconds=1)


def seconds_time(text: str) -> int:
    """Microseconds of a decimal number of seconds, digits after the sixth cut off, or Refused."""
    second, _, fraction = number(text, "time").partition(".")
    return sane_time(int(second + fraction[:6].ljust(6, "0")))
