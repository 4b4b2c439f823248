"""How far a client's streams are, so that it gets every trade once and nothing after what came later.

A recording holds more than any one connection was sent: two connections to one venue, the overlap of a
rotation, and what the venue repeats to whoever connects again.
"""

from typing import Literal

from connectors.venues.protocol import Instruments, Venue
from dataflows.steps.series import RESTART_IDS_MIN
from schemas import Control, Frame, Quote, Trade
from simulator.venues.protocol import Stream

Place = Literal["next", "late", "gone"]


class Course:
    """The ids of one symbol's trades in the order in which a venue gives them."""

    def __init__(self) -> None:
        self.last = -1
        self.newest = 0  # venue time of the newest trade
        self.floor = -1  # what is not newer belongs to ids that the venue has given up
        self.restarts = 0

    def place(self, trade: Trade) -> Place:
        """Where the trade belongs: behind all others, among them, or before the ids began again."""
        identifier, time = int(trade.trade_id), trade.timestamp
        if time <= self.floor:
            return "gone"
        if self.last - identifier > RESTART_IDS_MIN and time > self.newest:
            self.floor, self.restarts = self.newest, self.restarts + 1
        elif identifier <= self.last:
            return "late"
        self.last, self.newest = identifier, max(self.newest, time)
        return "next"


class Progress:
    """What one client has got of a recording."""

    def __init__(self, venue: Venue, instruments: Instruments) -> None:
        self.venue, self.instruments = venue, instruments
        self.begun: set[Stream] = set()  # those of which it got something
        self.trades: dict[str, Course] = {}
        self.latest: dict[tuple[type, str | None], tuple[int, int]] = {}  # number, and connection that had it

    def old(self, frame: Frame) -> set[int] | None:
        """Ids of the frame's trades that are not to be played again; None: nothing in it is."""
        records = self.venue.decode(frame, self.instruments)
        trades = [one for one in records if isinstance(one, Trade)]
        if trades:
            courses = [self.trades.setdefault(one.symbol, Course()) for one in trades]
            places = [course.place(one) for course, one in zip(courses, trades, strict=True)]
            old = {int(one.trade_id) for one, place in zip(trades, places, strict=True) if place != "next"}
            return old if "next" in places else None
        told = [self.advances(frame, one) for one in records if isinstance(one, Quote | Control)]
        return set() if any(told) or not told else None

    def advances(self, frame: Frame, told: Quote | Control) -> bool:
        """Whether this is no step back: one connection makes none, another has to be ahead."""
        if isinstance(told, Control):
            number = told.newest_id or 0
        else:
            number = told.timestamp if told.source_sequence is None else told.source_sequence
        last, connection = self.latest.get((type(told), told.symbol), (-1, 0))
        # Heartbeats repeat a number while nothing happens.
        if frame.connection != connection and (number < last or (number == last and isinstance(told, Quote))):
            return False
        self.latest[type(told), told.symbol] = number, frame.connection
        return True
