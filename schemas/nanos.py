"""Plain numbers in units of 10**-9: what nearly all prices and sizes are whole numbers of."""

import msgspec

NANO_PLACES = 9
# Prices repeat; 50,000 of them are about 6 MB, and forgetting costs half a microsecond each.
REMEMBERED_MAX = 50_000


class Nanos(dict[str, int]):
    """The nanos of plain numbers, by their text; 0 where that is not above zero or not exact."""

    def __missing__(self, text: str) -> int:
        whole, _, places = text.partition(".")
        places = places.rstrip("0")
        value = max(0, int(whole + places.ljust(NANO_PLACES, "0"))) if len(places) <= NANO_PLACES else 0
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        self[text] = value
        return value


def of_nanos(joined: str) -> list[int]:
    """The nanos of numbers that are written with as many places, each with a blank behind it."""
    digits = b"," + joined.encode().translate(_LISTED, b".")
    # Read as JSON in half the time, but that knows no noughts in front.
    if b",0" in digits:
        for noughts in (b",00000000", b",0000", b",00", b",0"):
            digits = digits.replace(noughts, b",")
    try:
        return _whole_numbers(b"[%b]" % digits[1:-1])
    except msgspec.DecodeError:  # nothing but noughts, or more of them than any price has
        return list(map(int, joined.replace(".", "").split()))


_LISTED = bytes.maketrans(b" ", b",")
_whole_numbers = msgspec.json.Decoder(list[int]).decode
