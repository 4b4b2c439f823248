"""What the data is: one flat, frozen Struct per record. Imports nothing of ours."""

from schemas.health import Control, DeadLetter, Frame, Gap, Outcome, StaleWindow, Tick
from schemas.market import Bar, Quote, Trade, notional

Record = Trade | Quote | Bar | Gap | DeadLetter | Control | Tick | Outcome | StaleWindow

__all__ = [
    "Bar",
    "Control",
    "DeadLetter",
    "Frame",
    "Gap",
    "Outcome",
    "Quote",
    "Record",
    "StaleWindow",
    "Tick",
    "Trade",
    "notional",
]
