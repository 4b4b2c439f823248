"""Is a silent stream dead, or its market quiet? Found out for one connection, symbol by symbol.

Neither heartbeats nor other symbols count as life. A few symbols at a time are listened for. Those whose
trades do not come are asked about at the venue's REST, twice: what rose meanwhile was not told to us.
"""

import asyncio
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple

from connectors.blocks import PAYLOAD_BYTES_MAX
from connectors.intake import Intake
from connectors.resilience import Policy, Problem
from connectors.rest import Rest, Unanswered
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import Instruments, PageHeader
from schemas import DeadLetter, Frame, Trade
from schemas.health import FrameKind

# Listened for at once. One that is silent costs a search in each frame (100 ns) and two questions in a round,
# which lasts idle_seconds and leaves most of any venue's budget to repair. The others have their turn next.
SYMBOLS_MAX = 5


class Newest(NamedTuple):
    """The newest trade of a symbol as REST has it."""

    id: int
    page: bytes  # the answer, as a frame for the journal


class Watch:
    """Listens for the symbols of one connection, in turns."""

    def __init__(
        self, rest: Rest, instruments: Instruments, intake: Intake, *, policy: Policy, logger: Any
    ) -> None:
        self.rest, self.instruments, self.intake, self.logger = rest, instruments, intake, logger
        self.idle_seconds = policy.idle_seconds
        self.turns = deque(instruments)
        self.unheard: dict[bytes, str] = {}  # native symbols by how they stand in a message
        self.all_heard = asyncio.Event()
        self.is_mute = False  # since this round began nothing came at all
        self.is_quiet = False  # REST confirmed that the whole market is

    def listen(self) -> None:
        """Begin a round with the next few symbols."""
        self.unheard = {mark(native): native for native in islice(self.turns, SYMBOLS_MAX)}
        self.turns.rotate(-SYMBOLS_MAX)
        self.is_mute = True
        self.all_heard.clear()

    def hear(self, payload: bytes) -> None:
        """Strike off the symbol whose trade a data message brings; for each message while any is unheard."""
        self.is_mute = False
        for place, native in self.unheard.items():
            # Twice as fast as `in`.
            if payload.find(place) >= 0 and self.brings_trade(payload, native):
                del self.unheard[place]
                break
        if not self.unheard:
            self.all_heard.set()

    def brings_trade(self, payload: bytes, native: str) -> bool:
        """Whether a message that names a symbol has a trade of it, or is one that we cannot read."""
        symbol = self.instruments[native].symbol
        return any(
            isinstance(record, DeadLetter) or (isinstance(record, Trade) and record.symbol == symbol)
            for record in self.rest.venue.decode(self.frame("data", payload), self.instruments)
        )

    async def until_dead(self) -> Problem:
        """Return when REST has trades that the stream should have brought; they are in the journal then."""
        pause = self.idle_seconds / 3
        while True:
            self.listen()
            if await self.all_heard_within(2 * pause) or self.is_held_back():
                await asyncio.sleep(pause / 10)  # a lively market needs no closer look
                continue
            before = await self.newest()
            await self.all_heard_within(pause)
            after = await self.newest()
            self.is_quiet = self.is_mute and bool(before) and bool(after)
            await self.all_heard_within(pause / 3)  # REST may be ahead of the stream
            dead = [
                native
                for native in self.unheard.values()
                if native in before and native in after and after[native].id > before[native].id
            ]
            if not dead or self.is_held_back():
                continue
            for native in dead:
                # Its id tells the flow what is missing, so that repair begins though the stream stays silent.
                self.intake.note("repair", after[native].page)
            at = ", ".join(f"{self.instruments[each].symbol} is at id {after[each].id}" for each in dead)
            return Problem("stale", f"{at} and the stream is silent")

    async def all_heard_within(self, seconds: float) -> bool:
        """Wait until all were heard of, no longer than that; whether they were."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.all_heard.wait(), seconds)
        return self.all_heard.is_set()

    def is_held_back(self) -> bool:
        """Whether it is we who read nothing."""
        return bool(self.intake.brakes or self.intake.slowed)

    async def newest(self) -> dict[str, Newest]:
        """The newest trade of each symbol that was not heard of; without those that REST does not tell."""
        venue = self.rest.venue
        found: dict[str, Newest] = {}
        for native in list(self.unheard.values()):
            request = venue.recent(self.instruments[native])
            try:
                answer = await self.rest.ask(request, patience_seconds=self.idle_seconds)
            except Unanswered as problem:
                self.logger.info("cannot tell whether the market is quiet", why=str(problem))
                break
            header = PageHeader(native, 0, 2**63 - 1, 0, request, answer.status)
            page = pack_page(header, answer.body)
            ids = [
                each.source_sequence
                for each in venue.decode_page(self.frame("repair", page), self.instruments).records
                if isinstance(each, Trade) and each.source_sequence is not None
            ]
            if ids and len(page) <= PAYLOAD_BYTES_MAX:  # it is to become a frame
                found[native] = Newest(max(ids), page)
        return found

    def frame(self, kind: FrameKind, payload: bytes) -> Frame:
        """A frame for the decoder only."""
        return Frame(self.rest.venue.name, "", 0, 0, 0, self.intake.clock(), kind, payload)


def mark(native: str) -> bytes:
    """How a symbol stands in every message of its own: all venues' are JSON."""
    return b'"%s"' % native.encode()
