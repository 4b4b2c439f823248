"""Which markets a venue has: asked of the venue, kept on disk, shipped with us for a start without."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from connectors.disk import disk_errors
from connectors.errors import TapeError
from connectors.rest import Rest, Unanswered
from connectors.symbols import listed_symbol
from connectors.venues.protocol import Instrument, Venue

# Longer waits do not make a start; the kept list is as good for all but the newest markets.
PATIENCE_SECONDS = 15.0

_kept = msgspec.json.Decoder(list[Instrument])


class UnknownSymbol(TapeError):
    """A venue has no market of that name."""


async def find_instruments(
    venue: Venue,
    rest: Rest,
    symbols: Sequence[str],
    *,
    kept: Path,
    shipped: Iterable[Instrument],
    logger: Any,
) -> tuple[Instrument, ...]:
    """The instruments of the symbols, or UnknownSymbol; what the venue answers is kept in that file."""
    try:
        listed = await ask_for_instruments(venue, rest)
    except (Unanswered, ValueError, TimeoutError) as error:
        listed, source = last_known(kept, shipped)
        logger.warning("instruments not renewed", venue=venue.name, why=str(error)[:200], taken_from=source)
    else:
        keep(kept, listed)
    return chosen(venue.name, symbols, {each.symbol: each for each in listed})


async def ask_for_instruments(venue: Venue, rest: Rest) -> list[Instrument]:
    """What the venue lists now; raises Unanswered, TimeoutError, or ValueError for nonsense."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        answer = await rest.ask(venue.metadata, patience_seconds=PATIENCE_SECONDS)
    listed = list(venue.decode_metadata(answer.body).values())
    if not listed:
        raise ValueError("the venue lists nothing")
    return listed


def last_known(kept: Path, shipped: Iterable[Instrument]) -> tuple[list[Instrument], str]:
    """The list that was kept last, else the shipped one, and where it came from."""
    try:
        return _kept.decode(kept.read_bytes()), str(kept)
    except (FileNotFoundError, msgspec.DecodeError):
        return list(shipped), "what was shipped"


def keep(kept: Path, listed: Iterable[Instrument]) -> None:
    """Write the list down for a start without the venue; replaced as a whole."""
    unfinished = kept.with_suffix(f".{os.getpid()}")
    with disk_errors("write", kept, TapeError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_bytes(msgspec.json.encode(list(listed)))
        unfinished.replace(kept)


def chosen(venue: str, symbols: Sequence[str], by_symbol: Mapping[str, Instrument]) -> tuple[Instrument, ...]:
    """The instruments of the symbols, or UnknownSymbol that names every wrong one and what was meant."""
    wrong = [symbol for symbol in symbols if symbol not in by_symbol]
    if not wrong:
        return tuple(by_symbol[symbol] for symbol in symbols)
    meant = [near for symbol in wrong if (near := listed_symbol(symbol, by_symbol)) is not None]
    hint = f"did you mean {', '.join(meant)}?" if meant else f"{venue} lists {len(by_symbol)} others"
    raise UnknownSymbol(f"venues.{venue}.symbols: not listed there: {', '.join(wrong)}", hint=hint)
