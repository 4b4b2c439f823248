"""How a person names a market: BASE-QUOTE, what was most likely meant by anything else, and whose it is.

Only what is a mistake at every venue is refused here; which markets a venue has, it says itself.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache

from connectors.errors import TapeError, nearest, together, unknown
from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments

# What is captured when nobody says otherwise.
SYMBOLS: Mapping[str, tuple[str, ...]] = {name: venue.symbols for name, venue in VENUES.items()}

# What is longer is no symbol, and hides what is said of it.
SHOWN_MAX = 60
# Assets are named in any script; what has capitals is written in them.
SYMBOL = re.compile(r"[^\W_]{1,20}-[^\W_]{2,20}")


def canonical(symbol: str) -> str:
    """A symbol in our spelling, or ValueError with the nearest one."""
    if meant := unswapped(symbol):
        raise ValueError(f'unknown symbol "{symbol}" (did you mean "{meant}"?)')
    if is_symbol(symbol):
        return symbol
    given, meant = symbol[:SHOWN_MAX], suggest_symbol(symbol)
    raise ValueError(f'expected symbols as BASE-QUOTE, got "{given}" (try "{meant}")')


def is_symbol(text: str) -> bool:
    """Whether it is spelt as ours are."""
    return bool(SYMBOL.fullmatch(text)) and text == text.upper()


@cache
def quote_currencies() -> frozenset[str]:
    """What prices are in, as far as we know markets."""
    return frozenset(each.quote for name in VENUES for each in shipped_instruments(name).values())


def unswapped(symbol: str) -> str | None:
    """The symbol that was meant by one with two letters of its quote currency swapped; None for any other.

    Venues list new markets every day, so no more than this is known to be a mistake without asking them.
    """
    base, dash, quote = symbol.partition("-")
    if quote in quote_currencies():
        return None
    swaps = (f"{quote[:at]}{quote[at + 1]}{quote[at]}{quote[at + 2 :]}" for at in range(len(quote) - 1))
    return next((f"{base}{dash}{swap}" for swap in swaps if swap in quote_currencies()), None)


def suggest_symbol(text: str, known: Iterable[str] = ()) -> str:
    """The symbol that was most likely meant; one to show how they are spelt where none comes close."""
    known = list(known) or sorted({symbol for symbols in SYMBOLS.values() for symbol in symbols})
    return meant_symbol(text, known) or known[0]


def meant_symbol(text: str, known: Sequence[str]) -> str | None:
    """The symbol that was most likely meant, if any comes close."""
    plain = re.sub(r"[/_: ]", "-", text.strip().upper())
    base, dash, quote = plain.partition("-")
    plain = f"{OTHER_NAMES.get(base, base)}{dash}{quote}"
    if is_symbol(plain):
        return unswapped(plain) or plain
    joined = [symbol for symbol in known if symbol.replace("-", "") == plain]
    begun = [symbol for symbol in known if plain and symbol.startswith(f"{plain}-")]
    return (joined + begun + [nearest(plain, known)])[0]


# What some call the assets that all others know by another name.
OTHER_NAMES = {"XBT": "BTC", "XDG": "DOGE"}


def listed_symbol(text: str, listed: Collection[str]) -> str | None:
    """The listed symbol that was most likely meant: of the same asset, or of one whose name is nearly so."""
    meant = meant_symbol(text, sorted(listed)) or text
    if meant in listed:
        return meant
    base, _, quote = meant.partition("-")
    same = [symbol for symbol in listed if symbol.startswith(f"{base}-")]
    bases = {symbol.partition("-")[0]: symbol for symbol in listed if symbol.endswith(f"-{quote}")}
    near = nearest(base, bases)
    return (nearest(meant, same) or same[0]) if same else near and bases[near]


def parse_symbols(text: str, configured: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """What `--symbols BTC-USDT,kraken:ETH-USD` asks of each venue.

    A bare symbol goes to the venues that already trade in its quote currency, to all of them where none does.
    """
    chosen: dict[str, dict[str, None]] = {}
    problems: list[TapeError] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        venue, colon, symbol = part.rpartition(":")
        if colon and venue not in SYMBOLS:
            problems.append(unknown("venue", venue, SYMBOLS))
            continue
        if not is_symbol(symbol) or unswapped(symbol):
            meant = suggest_symbol(symbol, SYMBOLS.get(venue, ()))
            hint = f"did you mean {venue}{colon}{meant}?"
            problems.append(TapeError(f"unknown symbol {symbol!r}", hint=hint))
            continue
        for name in [venue] if colon else trading_in(symbol.partition("-")[2], configured):
            chosen.setdefault(name, {})[symbol] = None
    if problems:
        raise together(problems)
    if not chosen:
        raise TapeError("--symbols names no symbol", hint="try --symbols BTC-USDT,kraken:BTC-USD")
    return {name: tuple(symbols) for name, symbols in chosen.items()}


def trading_in(quote: str, configured: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The venues with a symbol in that quote currency, else all."""
    found = [
        name
        for name, symbols in configured.items()
        if any(symbol.endswith(f"-{quote}") for symbol in symbols)
    ]
    return found or list(configured)
