"""The lists of instruments that come with us, for a start without a network. Package data, nothing else.

Each file is the venue's own answer to its metadata request, cut down to well-known markets and what our
decoder reads of them, so that the venue's answer of today can replace it.
"""

from functools import cache
from importlib.resources import files
from types import MappingProxyType

from connectors.venues import VENUES
from connectors.venues.protocol import Instruments


@cache
def shipped_instruments(venue: str) -> Instruments:
    """The instruments of a venue that we ship, by native symbol; none where we ship no list of it."""
    try:
        body = files("connectors.venues").joinpath("instruments", f"{venue}.json").read_bytes()
    except FileNotFoundError:
        return MappingProxyType({})
    return MappingProxyType(VENUES[venue].decode_metadata(body))
