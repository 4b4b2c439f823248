"""The venues that we know. Adding one is one file, one line here and one conformance table."""

from connectors.venues.binance import BINANCE
from connectors.venues.coinbase import COINBASE
from connectors.venues.kraken import KRAKEN
from connectors.venues.protocol import Venue

VENUES: dict[str, Venue] = {venue.name: venue for venue in (BINANCE, KRAKEN, COINBASE)}
