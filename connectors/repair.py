"""Fills holes from a venue's trade history. Reconciled, not requested: the flow says again and again which
holes are open, and this asks for what is open, settled and not under way.

Every answer and every outcome is a frame in the shard's journal, so a crash between asking and answering
loses nothing, and a replay asks for nothing again. Time here is the journal's: what its ticks say.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import msgspec

from connectors.blocks import PAYLOAD_BYTES_MAX
from connectors.capture import Capture, Shard
from connectors.rest import Answer, Rest, Unanswered
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import Instrument, Page, PageHeader, Request
from schemas import Frame
from schemas.health import FrameKind

MICROSECONDS = 1_000_000
HTTP_OK = 200
# A venue that is back is asked again within a minute.
RETRY_SECONDS_MAX = 60.0


# Why ids will not come. The last is of a symbol that this shard captured once: nobody asks for it any more.
Reason = Literal["not_in_history", "unanswered", "not_configured"]

# exchange, symbol, series, first, last, found, since: as the step that detects gaps names a hole
OpenHole = tuple[str, str, int, int, int, int, int]


class Hole(NamedTuple):
    """Ids that the flow knows to be missing."""

    symbol: str
    series: int
    first: int
    last: int
    found: int  # receive time of the frame that showed it
    since: int  # venue time of the last trade before it


class Span(NamedTuple):
    """What is asked for at once: one hole, or neighbours that one page covers."""

    symbol: str
    series: int
    first: int
    last: int
    since: int


class Outcome(msgspec.Struct, frozen=True):
    """The payload of a frame of kind `outcome`: the ids of the span that are still missing will not come."""

    symbol: str
    series: int
    first: int
    last: int
    reason: Reason
    requests: int


@dataclass(frozen=True, kw_only=True)
class RepairPolicy:
    """How patient a repair is; every number can be set."""

    settle_seconds: float = 1.0  # a late message closes most holes by itself, and holes come in groups
    merge_ids: int = 1_000  # one page of every venue
    attempts_max: int = 6  # a history that lags behind the stream has caught up by then
    retry_seconds_first: float = 1.0  # doubles with each attempt
    unanswered_seconds: float = 900.0  # a venue that is down for longer has our holes recorded as lost
    pages_max: int = 2_000  # two million ids; a wider hole is asked for in parts


@dataclass
class Work:
    """One span under way."""

    span: Span
    began: int
    due: int
    attempts: int = 0
    requests: int = 0
    answered: int = 0  # position of the last page; the flow has judged it once it is past this
    unanswered: bool = False
    given_up: bool = False  # written down; over as soon as the flow has read it
    asking: asyncio.Task[None] | None = None


def spans(holes: Iterable[Hole], merge_ids: int) -> list[Span]:
    """The holes of each symbol and series; neighbours are one span as long as one page covers it."""
    grouped: dict[tuple[str, int], list[Hole]] = defaultdict(list)
    for hole in holes:
        grouped[hole.symbol, hole.series].append(hole)
    found: list[Span] = []
    for (symbol, series), group in grouped.items():
        group.sort(key=lambda hole: hole.first)
        start = group[0]
        last = start.last
        for hole in group[1:]:
            if hole.last - start.first < merge_ids:
                last = max(last, hole.last)
            else:
                found.append(Span(symbol, series, start.first, last, start.since))
                start, last = hole, hole.last
        found.append(Span(symbol, series, start.first, last, start.since))
    return found


class Repairs:
    """The repairers of all shards that a process captures; told of holes by any thread."""

    def __init__(self, capture: Capture, policy: RepairPolicy, logger: Any) -> None:
        self.capture = capture
        self.policy = policy
        self.logger = logger
        self.repairers = {shard.plan.shard: self.repairer(shard) for shard in capture.shards}

    def repairer(self, shard: Shard) -> "Repairer":
        intake = shard.intake
        return Repairer(
            shard=shard.plan.shard,
            rest=self.capture.venues[shard.plan.venue.name].rest,
            instruments={listed.native: listed for listed in shard.plan.instruments},
            note=intake.note,
            newest_position=lambda: intake.journal.next_position + intake.frames,
            is_ending=self.capture.is_ending,
            policy=self.policy,
            logger=self.logger,
        )

    def tell(self, shard: str, holes: Sequence[OpenHole], position: int, now: int) -> None:
        """What the flow knows of a shard's holes at that position and journal time."""
        repairer, loop = self.repairers.get(shard), self.capture.loop
        if repairer is None or loop is None or loop.is_closed() or position < repairer.listens_from:
            return
        if holes or repairer.works:
            loop.call_soon_threadsafe(repairer.reconcile, [Hole(*hole[1:]) for hole in holes], position, now)


class Repairer:
    """Repairs the holes of one shard."""

    def __init__(
        self,
        *,
        shard: str,
        rest: Rest,
        instruments: Mapping[str, Instrument],
        note: Callable[[FrameKind, bytes], None],
        newest_position: Callable[[], int],
        is_ending: Callable[[], bool],
        policy: RepairPolicy,
        logger: Any,
    ) -> None:
        self.shard = shard
        self.rest = rest
        self.by_native = instruments
        self.by_symbol = {listed.symbol: listed for listed in instruments.values()}
        self.note = note
        self.newest_position = newest_position
        self.is_ending = is_ending  # pages that are still missing are for the next start
        self.policy = policy
        self.logger = logger.bind(shard=shard)
        self.works: list[Work] = []
        self._is_silent = False  # the venue did not answer when it was asked last
        # What a replay tells up to here was open long ago.
        self.listens_from = newest_position()

    def reconcile(self, holes: Sequence[Hole], position: int, now: int) -> None:
        """Take the holes that the flow knows at that position and journal time; runs in capture's loop."""
        if self.is_ending():
            return
        self.works = [work for work in self.works if self.goes_on(work, holes, position, now)]
        free = [hole for hole in holes if not any(overlaps(work.span, hole) for work in self.works)]
        settled = [hole for hole in free if now - hole.found >= self.policy.settle_seconds * MICROSECONDS]
        for span in spans(settled, self.policy.merge_ids):
            work = Work(span, began=now, due=now)
            self.works.append(work)
            if span.symbol not in self.by_symbol:
                self.give_up(work, "not_configured")
        for work in self.works:
            if work.asking is None and not work.answered and not work.given_up and work.due <= now:
                work.asking = asyncio.create_task(self.ask(work))

    def goes_on(self, work: Work, holes: Sequence[Hole], position: int, now: int) -> bool:
        """Whether the work is still to be done; writes down how it ended where it failed."""
        if work.asking is not None and not work.asking.done():
            return True
        if work.asking is not None:
            work.asking.result()
            work.asking = None
        if work.answered > position:
            return True
        missing = any(overlaps(work.span, hole) for hole in holes)
        if work.given_up or not missing:
            return missing
        if not work.attempts:
            return True
        if work.unanswered:
            given_up = now - work.began >= self.policy.unanswered_seconds * MICROSECONDS
        else:
            given_up = work.attempts >= self.policy.attempts_max
        if given_up:
            self.give_up(work, "unanswered" if work.unanswered else "not_in_history")
        elif work.answered:
            work.answered = 0
            delay = min(self.policy.retry_seconds_first * 2 ** (work.attempts - 1), RETRY_SECONDS_MAX)
            work.due = now + round(delay * MICROSECONDS)
        return True

    def _say_once(self, silence: str) -> None:
        """Say when the venue begins to be silent, and when that is over, not each time that it is asked."""
        if bool(silence) != self._is_silent:
            self._is_silent = bool(silence)
            self.logger.info(silence or "repairs are answered again")

    def give_up(self, work: Work, reason: Reason) -> None:
        """Write down that the span will not come; the work stays until the flow names no hole of it."""
        work.given_up = True
        span = work.span
        outcome = Outcome(span.symbol, span.series, span.first, span.last, reason, work.requests)
        self.note("outcome", msgspec.json.encode(outcome))
        self.logger.warning("hole lost", symbol=span.symbol, first=span.first, last=span.last, reason=reason)

    async def ask(self, work: Work) -> None:
        """Ask for the span page by page; each answer goes to the journal before the next is asked for."""
        work.attempts += 1
        work.unanswered = False
        span = work.span
        listed = self.by_symbol[span.symbol]
        request: Request | None = self.rest.venue.repair(listed, span.first, span.last, span.since)
        for _ in range(self.policy.pages_max):
            if request is None or self.is_ending():
                break
            try:
                answer = await self.rest.ask(request, patience_seconds=self.policy.unanswered_seconds)
            except Unanswered as error:
                self._say_once(f"repairs are unanswered: {error}")
                work.unanswered = True
                break
            self._say_once("")
            work.requests += 1
            header = PageHeader(listed.native, span.first, span.last, span.since, request, answer.status)
            payload = pack_page(header, answer.body)
            page = self.page(payload)
            why = refusal(answer, payload) or page.unreadable
            if why:
                self.logger.info("repair refused", symbol=span.symbol, why=why)
                work.unanswered = True
                break
            self.note("repair", payload)
            request = page.next
        work.answered = self.newest_position()

    def page(self, payload: bytes) -> Page:
        """Whether it is one and what it leaves to be asked; only the flow's reading of it counts as data."""
        venue = self.rest.venue
        frame = Frame(venue.name, self.shard, 0, 0, 0, 0, "repair", payload)
        return venue.decode_page(frame, self.by_native)


def refusal(answer: Answer, payload: bytes) -> str:
    """Why an answer is no page; nothing where it may be one."""
    if answer.status != HTTP_OK:
        return f"HTTP {answer.status}"
    if len(payload) <= PAYLOAD_BYTES_MAX:
        return ""
    return f"an answer of {len(payload):,} bytes; a frame has at most {PAYLOAD_BYTES_MAX:,}"


def overlaps(span: Span, hole: Hole) -> bool:
    return (
        span.symbol == hole.symbol
        and span.series == hole.series
        and span.first <= hole.last
        and hole.first <= span.last
    )
