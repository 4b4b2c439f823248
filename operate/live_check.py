"""`tape live-check`: prove the decoders and the repair loop against the real venues.

What came over the WebSocket goes through the steps of the flow; what the venue says by REST about the same
trades is asked for again and again, and the two are joined by the venue's ids. Needs a network, so no test
may depend on the real thing. Captures into a directory of its own and touches no store.
"""

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from connectors.capture import Capture, ShardPlan
    from connectors.repair import Repairs
    from connectors.rest import Rest
    from connectors.settings import Settings
    from connectors.venues.protocol import Instrument
    from dataflows.steps.gaps import OpenHole
    from operate.cli import Session
    from schemas import Record, Trade

# A page of history of each symbol so often: much to compare, and little of a venue's budget.
ASK_SECONDS = 20.0
ASK_IDS_MAX = 900
# Less, and the venue that allows one request a second may still count the one for its instruments.
ASK_SECONDS_MIN = 1.5
LOOK_SECONDS = 0.1
FRAMES_A_LOOK = 1_000
# For the holes that are open at the end: a venue that told us to slow down is asked again after a minute.
GRACE_SECONDS = 90.0
# Venues cut their times differently on their two ways; a trade that differs by more is another one.
TIME_MICROSECONDS_MAX = 1_000
# Problems of a shard that are told one by one.
SAID_MAX = 5


@click.command("live-check")
@click.option("--seconds", type=click.FloatRange(min=1), default=300.0, help="How long; 300 if not said.")
@click.option("--keep", type=click.Path(path_type=Path, file_okay=False), help="Keep what was captured here.")
@json_option
@click.pass_context
@click.pass_obj
def command(
    session: "Session", context: click.Context, seconds: float, keep: Path | None, as_json: bool
) -> None:
    """Capture each configured venue and compare with what it says by REST.

    Ends with 0 when all agree, 1 when something does not, and 2 when it could not be compared.
    """
    settings = session.settings()
    session.start_log(settings)
    with ExitStack() as stack:
        directory = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tape-")))
        reports = check(settings, directory, seconds)
    print_rows([report.row() for report in reports], as_json=as_json)
    for report in reports:
        for problem in report.problems:
            click.echo(f"{report.venue}: {problem}", err=True)
    verdicts = {report.verdict for report in reports}
    code = 1 if "bad" in verdicts else 2 if "unproven" in verdicts else 0
    click.echo(f"verdict: {('good', 'bad', 'unproven')[code]}", err=True)
    context.exit(code)


class Report:
    """What was found of one venue."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.counts: Counter[str] = Counter()
        self.dead_letters: Counter[str] = Counter()
        self.problems: list[str] = []

    @property
    def verdict(self) -> str:
        """Bad where something is wrong, unproven where nothing could be compared."""
        if self.problems or self.dead_letters or self.counts["lost"]:
            return "bad"
        return "good" if self.counts["compared"] else "unproven"

    def row(self) -> dict[str, object]:
        """For a table."""
        names = ("frames", "trades", "compared", "sides agree", "contents agree", "holes", "repaired", "lost")
        letters = [f"{reason} {count}" for reason, count in self.dead_letters.most_common()]
        return {
            "venue": self.venue,
            **{name.replace(" ", "_"): self.counts[name] for name in names},
            "dead_letters": letters,
            "verdict": self.verdict,
        }


def check(settings: "Settings", directory: Path, seconds: float) -> list[Report]:
    """Capture for so long, then compare."""
    import structlog

    from connectors.capture import Capture
    from connectors.plans import plan_shards, policy_of, venues_of
    from connectors.repair import RepairPolicy, Repairs

    logger = structlog.get_logger()
    venues = venues_of(settings)
    reports = {venue.name: Report(venue.name) for venue in venues}
    plans = plan_shards(settings, venues, directory, logger)
    capture = Capture(plans, policy=policy_of(settings.capture), logger=logger)
    capture.start()
    try:
        repairs = Repairs(capture, RepairPolicy(), logger)
        shards = [Shard(plan, capture, repairs, reports[plan.venue.name]) for plan in plans]
        click.echo(f"capturing {', '.join(reports)} for {seconds:g} s", err=True)
        watch(shards, seconds)
    finally:
        capture.stop()
    for shard in shards:
        shard.conclude()
    return list(reports.values())


def watch(shards: "Sequence[Shard]", seconds: float) -> None:
    """Look into the journals and ask the venues, then give holes the time to be repaired."""
    pause = min(ASK_SECONDS, max(ASK_SECONDS_MIN, seconds / 4))
    end, due = time.monotonic() + seconds, time.monotonic() + pause
    while (now := time.monotonic()) < end:
        if now >= due:
            due = now + pause
            for shard in shards:
                shard.ask()
        for shard in shards:
            shard.look()
        time.sleep(LOOK_SECONDS)
    for shard in shards:
        shard.ask()
        shard.end = time.time_ns() // 1000
    while any(shard.waits() for shard in shards) and time.monotonic() < end + GRACE_SECONDS:
        time.sleep(LOOK_SECONDS)
        for shard in shards:
            shard.look()


class Said(NamedTuple):
    """What was said of a trade."""

    side: str
    price: int
    quantity: int
    time: int

    def same(self, other: "Said") -> bool:
        """Whether all but the side is the same."""
        is_same_time = abs(self.time - other.time) <= TIME_MICROSECONDS_MAX
        return is_same_time and (self.price, self.quantity) == (other.price, other.quantity)


class Shard:
    """One shard: its journal through the steps, and its venue's own word."""

    def __init__(self, plan: "ShardPlan", capture: "Capture", repairs: "Repairs", report: Report) -> None:
        from connectors.journal_reader import JournalReader
        from dataflows.chain import chain

        self.plan, self.capture, self.repairs, self.report = plan, capture, repairs, report
        self.reader = JournalReader(plan.directory, exchange=plan.venue.name, shard=plan.shard)
        begins = chain({plan.venue.name: plan.venue}, tell=self.tell)
        self.steps = [begin(plan.shard, None) for begin in begins]
        self.by_symbol = {listed.symbol: listed for listed in plan.instruments}
        self.open: list[OpenHole] = []
        self.end = sys.maxsize  # holes found later are not judged
        self.asking: list[Future[tuple[Trade, ...]]] = []
        self.live: dict[tuple[str, int], Said] = {}  # by symbol and id
        self.newest: dict[str, int] = {}  # id by symbol
        self.asked: dict[str, int] = {}  # up to which id
        self.repaired: set[tuple[str, int]] = set()
        self.missing: list[tuple[str, int, int]] = []  # what the flow named: symbol, first, last

    def tell(self, shard: str, holes: "list[OpenHole]", position: int, now: int) -> None:
        """What is missing now."""
        self.open = [hole for hole in holes if hole[5] <= self.end]
        self.repairs.tell(shard, holes, position, now)

    def waits(self) -> bool:
        """Whether more is to come."""
        return bool(self.open) or not all(one.done() for one in self.asking)

    def ask(self) -> None:
        """Have the venue say what was traded since we asked last."""
        rest = self.capture.venues[self.plan.venue.name].rest
        for symbol, last in self.newest.items():
            before = max(self.asked.get(symbol, 0), last - ASK_IDS_MAX)
            # Histories are asked from a trade that we know, for what follows it.
            known = [one for name, one in self.live if name == symbol and before <= one < last]
            if known:
                first = min(known) + 1
                span = self.by_symbol[symbol], first, last, self.live[symbol, first - 1].time
                self.asking.append(self.capture.run(history(rest, *span)))
                self.asked[symbol] = last

    def look(self) -> None:
        """Take what the journal has."""
        from dataflows.steps.batch import batch_of
        from schemas.run import records_of

        while taken := self.reader.read(FRAMES_A_LOOK):
            batch = batch_of(taken)
            for step in self.steps:
                batch = step.step(batch)
            self.report.counts["frames"] += len(taken)
            for record in records_of(batch.records):
                self.take(record)

    def take(self, record: "Record") -> None:
        """Count a record; remember what is to be compared."""
        from schemas import DeadLetter, Gap, Trade

        if isinstance(record, Trade):
            self.report.counts["trades"] += 1
            if record.source_sequence is not None and record.origin == "live":
                self.live[record.symbol, record.source_sequence] = said(record)
                self.newest[record.symbol] = record.source_sequence
            elif record.source_sequence is not None:
                self.repaired.add((record.symbol, record.source_sequence))
        elif isinstance(record, DeadLetter):
            self.report.dead_letters[record.reason] += 1
        elif isinstance(record, Gap) and record.found <= self.end:
            self.report.counts["holes" if record.status == "open" else record.status] += 1
            if record.status == "open":
                self.missing.append((record.symbol, record.first_missing, record.last_missing))

    def conclude(self) -> None:
        """Compare, and say what is wrong."""
        self.look()
        self.reader.close()
        told = {
            (trade.symbol, trade.source_sequence): said(trade)
            for future in self.asking
            for trade in answered(future)
            if trade.source_sequence is not None
        }
        problems = list(self.differences(told))
        problems += [
            f"{symbol} misses {first} to {last} still" for _, symbol, _, first, last, *_ in self.open
        ]
        self.report.problems += problems[:SAID_MAX]
        if len(problems) > SAID_MAX:
            self.report.problems.append(f"{len(problems) - SAID_MAX} more on {self.plan.shard}")

    def differences(self, told: dict[tuple[str, int], Said]) -> Iterator[str]:
        """Where stream and REST do not agree."""
        counts, begins, ends = self.report.counts, dict[str, int](), dict[str, int]()
        for symbol, identifier in self.live:
            begins[symbol] = min(identifier, begins.get(symbol, identifier))
            ends[symbol] = max(identifier, ends.get(symbol, identifier))
        for (symbol, identifier), by_rest in told.items():
            live = self.live.get((symbol, identifier))
            if live is not None:
                counts["compared"] += 1
                counts["sides agree"] += live.side == by_rest.side
                counts["contents agree"] += live.same(by_rest)
                if live.side != by_rest.side or not live.same(by_rest):
                    yield f"{symbol} {identifier}: the stream said {live}, REST {by_rest}"
            elif begins.get(symbol, identifier) < identifier < ends.get(symbol, identifier):
                is_named = any(
                    name == symbol and first <= identifier <= last for name, first, last in self.missing
                )
                if (symbol, identifier) not in self.repaired and not is_named:
                    yield f"{symbol} {identifier}: REST knows it, we neither have it nor miss it"


async def history(
    rest: "Rest", listed: "Instrument", first: int, last: int, since: int
) -> "tuple[Trade, ...]":
    """What the venue says of these trades of an instrument."""
    from connectors.venues.decoding import pack_page
    from connectors.venues.protocol import PageHeader
    from schemas import Frame, Trade

    request = rest.venue.repair(listed, first, last, since)
    answer = await rest.ask(request, patience_seconds=GRACE_SECONDS)
    header = PageHeader(listed.native, first, last, since, request, answer.status)
    frame = Frame(rest.venue.name, "", 0, 0, 0, 0, "repair", pack_page(header, answer.body))
    page = rest.venue.decode_page(frame, {listed.native: listed})
    return tuple(one for one in page.records if isinstance(one, Trade))


def answered(asking: "Future[tuple[Trade, ...]]") -> "tuple[Trade, ...]":
    """The answer; none where none came."""
    from connectors.rest import Unanswered

    try:
        return asking.result(timeout=0)
    except (Unanswered, TimeoutError, CancelledError):
        return ()


def said(trade: "Trade") -> Said:
    """What a trade says."""
    from schemas.money import units

    return Said(trade.side, units(trade.price), units(trade.quantity), trade.timestamp)
