"""Plain numbers in units of 10**-9: what nearly all prices and sizes are whole numbers of."""

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
    return list(map(int, joined.encode().translate(None, b".").split()))
