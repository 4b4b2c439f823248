"""The venues that we can play."""

from simulator.venues.binance import BINANCE
from simulator.venues.coinbase import COINBASE
from simulator.venues.kraken import KRAKEN
from simulator.venues.protocol import Face

FACES: dict[str, Face] = {face.name: face for face in (BINANCE, KRAKEN, COINBASE)}
