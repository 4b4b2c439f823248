"""The repair loop, end to end: simulated venue, capture, journal, steps, venue's history, journal again."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from connectors.blocks import PAYLOAD_BYTES_MAX
from connectors.journal_reader import JournalReader
from connectors.repair import Hole, Outcome, Repairer, RepairPolicy, Repairs, Span, spans
from connectors.resilience import Policy
from connectors.rest import Answer, Rest
from connectors.venues import VENUES
from connectors.venues.protocol import Page, instrument
from dataflows.chain import chain
from dataflows.steps.batch import batch_of
from schemas import Gap, Trade
from schemas.run import records_of
from simulator.server import SimulatedVenues
from simulator.venues import FACES

Venues = Callable[..., AbstractContextManager[SimulatedVenues]]

QUICK = RepairPolicy(settle_seconds=0.1, retry_seconds_first=0.1, attempts_max=3, unanswered_seconds=2.0)


def hole(symbol: str, first: int, last: int, series: int = 0) -> Hole:
    return Hole(symbol, series, first, last, found=1, since=first)


def test_neighbours_that_one_page_covers_are_asked_for_together() -> None:
    holes = [hole("A-B", 2_000, 2_100), hole("A-B", 10, 20), hole("A-B", 900, 1_009), hole("C-D", 30, 30)]
    assert spans(holes, 1_000) == [
        Span("A-B", 0, 10, 1_009, 10),
        Span("A-B", 0, 2_000, 2_100, 2_000),
        Span("C-D", 0, 30, 30, 30),
    ]


class Empty:
    """A history that holds nothing."""

    venue = VENUES["binance"]

    def __init__(self) -> None:
        self.asked = 0

    async def ask(self, *_: Any, **__: Any) -> Answer:
        self.asked += 1
        return Answer(200, {}, b"[]")


def repairing_from(
    rest: Any, journal: list[tuple[str, bytes]], is_ending: Callable[[], bool] = lambda: False
) -> Repairer:
    return Repairer(
        shard="binance-0",
        rest=rest,
        instruments={"BTCUSDT": instrument("binance", "BTCUSDT", "BTC", "USDT")},
        note=lambda kind, payload: journal.append((kind, payload)),
        newest_position=lambda: len(journal) + 1,
        is_ending=is_ending,
        policy=QUICK,
        logger=structlog.get_logger(),
    )


def test_told_to_stop_it_asks_for_no_further_page(monkeypatch: pytest.MonkeyPatch) -> None:
    rest: Any = Empty()
    repairer = repairing_from(rest, [], lambda: rest.asked >= 2)
    first = rest.venue.repair(repairer.by_symbol["BTC-USDT"], 5, 9, 0)
    monkeypatch.setattr(repairer, "page", lambda _: Page((), first))  # there is always more

    async def ticks() -> None:
        for second in range(1, 20):
            repairer.reconcile([hole("BTC-USDT", 5, 9)], 1_000, second * 1_000_000)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(ticks())
    assert rest.asked == 2


@pytest.mark.parametrize(
    ("symbol", "reason", "asked"), [("BTC-USDT", "not_in_history", 3), ("ETH-USDT", "not_configured", 0)]
)
def test_a_hole_ends_once_however_late_the_flow_reads_its_end(symbol: str, reason: str, asked: int) -> None:
    journal: list[tuple[str, bytes]] = []
    rest: Any = Empty()
    repairer = repairing_from(rest, journal)

    async def ticks(holes: list[Hole], begin: int, end: int) -> None:
        for second in range(begin, end):
            repairer.reconcile(holes, len(journal) + 1, second * 1_000_000)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    def outcomes() -> list[Outcome]:
        return [msgspec.json.decode(said, type=Outcome) for kind, said in journal if kind == "outcome"]

    # The flow still names the hole for as long as it has not read that it is lost.
    asyncio.run(ticks([hole(symbol, 5, 9)], 1, 50))
    assert outcomes() == [Outcome(symbol, 0, 5, 9, reason, asked)]  # type: ignore[arg-type]
    assert rest.asked == asked
    # Once it has, the same ids are a new hole.
    asyncio.run(ticks([], 50, 51))
    asyncio.run(ticks([hole(symbol, 5, 9)], 51, 100))
    assert len(outcomes()) == 2


class Flow:
    """The first steps over a growing journal, in a thread, without an engine."""

    def __init__(self, run: Any, repairs: Repairs) -> None:
        self.run = run
        self.steps = chain(VENUES, repairs.tell)
        self.trades: dict[tuple[str, int], Trade] = {}
        self.gaps: list[Gap] = []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.follow)

    def follow(self) -> None:
        plan = self.run.plan
        reader = JournalReader(plan.directory, exchange=plan.venue.name, shard=plan.shard)
        decode = self.steps.decode(plan.shard, None)
        detect = self.steps.detect_gaps(plan.shard, None)
        while not self.ended.wait(0.01):
            while frames := reader.read(1_000):
                for record in records_of(detect.step(decode.step(batch_of(frames))).records):
                    if isinstance(record, Trade):
                        self.trades[record.symbol, record.source_sequence or 0] = record
                    elif isinstance(record, Gap):
                        self.gaps.append(record)
        reader.close()

    def missing(self, symbol: str) -> set[int]:
        ids = {number for name, number in self.trades if name == symbol}
        return set(range(min(ids), max(ids) + 1)) - ids if ids else set()

    def ends(self, status: str) -> list[Gap]:
        return [gap for gap in self.gaps if gap.status == status]


@pytest.fixture
def repairing(capturing: Any) -> Callable[..., AbstractContextManager[Flow]]:
    @contextmanager
    def start(
        sim: SimulatedVenues, name: str, *, quick: RepairPolicy = QUICK, **arguments: Any
    ) -> Iterator[Flow]:
        with capturing(sim, name, **arguments) as run:
            flow = Flow(run, Repairs(run.capture, quick, structlog.get_logger()))
            flow.thread.start()
            try:
                yield flow
            finally:
                flow.ended.set()
                flow.thread.join()

    return start


@pytest.mark.parametrize("name", FACES)
def test_lost_frames_are_found_asked_for_and_repaired(
    name: str, venues: Venues, repairing: Any, until: Any
) -> None:
    symbol = VENUES[name].symbols[0]
    with venues(rate=50, venues=[name]) as sim, repairing(sim, name) as flow:
        until(lambda: len(flow.trades) > 20)
        sim.drop_next(name, 3)
        until(lambda: sim.oracle.fired("drop") >= 3)
        until(lambda: flow.ends("repaired"), seconds=30)
        until(lambda: len(flow.ends("open")) == len(flow.ends("repaired")), seconds=30)
        assert not flow.missing(symbol)
        assert not flow.ends("lost")
        repaired = [trade for trade in flow.trades.values() if trade.origin == "repair"]
        assert repaired
        for trade in repaired:
            truth = sim.oracle[name].trade(trade.native_symbol, trade.source_sequence)
            assert truth is not None
            assert Decimal(trade.price) == Decimal(truth.price)
            assert Decimal(trade.quantity) == Decimal(truth.quantity)
            assert trade.side == truth.side


def test_a_disconnect_is_a_hole_that_closes(venues: Venues, repairing: Any, until: Any) -> None:
    with venues(rate=50, venues=["binance"]) as sim, repairing(sim, "binance") as flow:
        until(lambda: len(flow.trades) > 20)
        sim.refuse_connections("binance", True)
        sim.cut("binance")
        sim.trades_now("binance", "BTCUSDT", 2_500)  # three pages
        sim.refuse_connections("binance", False)
        until(lambda: any(gap.last_missing - gap.first_missing > 2_400 for gap in flow.ends("open")), 20)
        until(lambda: len(flow.ends("open")) == len(flow.ends("repaired")), seconds=30)
        assert not flow.missing("BTC-USDT")


def test_a_symbol_whose_stream_stays_dead_is_filled_from_history_and_ends_complete(
    venues: Venues, repairing: Any, until: Any, policy: Policy
) -> None:
    attentive = replace(policy, idle_seconds=0.9)
    with venues(rate=100, venues=["binance"]) as sim, repairing(sim, "binance", policy=attentive) as flow:
        until(lambda: len(flow.trades) > 20)
        sim.stall("binance", "BTCUSDT", 60.0)
        until(lambda: flow.run.keeper.ends.get("stale", 0) >= 2, 20)  # the next stream was no better
        stalled = until(lambda: [gap for gap in flow.ends("repaired") if gap.symbol == "BTC-USDT"], 20)
        sim.stall("binance", "BTCUSDT", 0)
        # Back on the stream, which the gaps of the silence precede.
        until(lambda: any(ids_after(flow, gap) for gap in stalled), 20)
        until(lambda: len(flow.ends("open")) == len(flow.ends("repaired")), seconds=30)
        assert sim.oracle["binance"].fired["stall"] >= 1
        assert not flow.missing("BTC-USDT")
        assert not flow.ends("lost")
        filled = [trade for trade in flow.trades.values() if trade.symbol == "BTC-USDT"]
        assert sum(trade.origin == "repair" for trade in filled) > 10
        truth = [sim.oracle["binance"].trade("BTCUSDT", each.source_sequence) for each in filled]
        assert [Decimal(each.price) for each in filled] == [Decimal(each.price) for each in truth if each]


def ids_after(flow: Flow, gap: Gap) -> bool:
    """Whether the stream has brought ids above a gap."""
    return any(
        symbol == gap.symbol and number > gap.last_missing and trade.origin == "live"
        for (symbol, number), trade in list(flow.trades.items())
    )


def test_what_the_venue_no_longer_has_ends_as_lost(venues: Venues, repairing: Any, until: Any) -> None:
    with venues(rate=50, venues=["binance"]) as sim, repairing(sim, "binance") as flow:
        until(lambda: len(flow.trades) > 20)
        sim.retain("binance", 1)
        sim.drop_next("binance", 2)
        lost = until(lambda: flow.ends("lost"), seconds=30)
        assert {gap.reason for gap in lost} == {"not_in_history"}


def test_a_venue_that_does_not_answer_is_asked_again_and_then_given_up(
    venues: Venues, repairing: Any, until: Any
) -> None:
    with (
        capture_logs() as said,
        venues(rate=50, venues=["binance"]) as sim,
        repairing(sim, "binance") as flow,
    ):
        until(lambda: len(flow.trades) > 20)
        sim.rest_fail("binance", 500, times=1_000)
        sim.drop_next("binance", 2)
        lost = until(lambda: flow.ends("lost"), seconds=30)
        assert {gap.reason for gap in lost} == {"unanswered"}
        asked = [what for _, what, _ in sim.oracle["binance"].requests if "historicalTrades" in what]
        assert len(asked) > 1
    assert sum(line["event"].startswith("repairs are unanswered") for line in said) == 1


def test_an_answer_that_no_frame_can_hold_is_refused_and_capture_goes_on(
    venues: Venues, repairing: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = Rest.ask

    async def padded(rest: Rest, *request: Any, **named: Any) -> Answer:
        answer = await ask(rest, *request, **named)
        return answer._replace(body=answer.body + b" " * PAYLOAD_BYTES_MAX)

    with (
        capture_logs() as said,
        venues(rate=50, venues=["binance"]) as sim,
        repairing(sim, "binance") as flow,
    ):
        until(lambda: len(flow.trades) > 20)
        monkeypatch.setattr(Rest, "ask", padded)
        sim.drop_next("binance", 2)
        lost = until(lambda: flow.ends("lost"), seconds=30)
        assert {gap.reason for gap in lost} == {"unanswered"}
        reasons = {line["why"] for line in said if line["event"] == "repair refused"}
        assert reasons
        assert all(
            re.fullmatch(r"an answer of 8,[\d,]+ bytes; a frame has at most 8,388,608", each)
            for each in reasons
        )
        count = len(flow.trades)
        until(lambda: len(flow.trades) > count + 20)


def test_a_venue_that_says_in_a_page_that_it_is_busy_is_asked_again(
    venues: Venues, repairing: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has not looked up it has not denied."""
    ask, busy = Rest.ask, iter(range(2))

    async def sometimes(rest: Rest, *request: Any, **named: Any) -> Answer:
        answer = await ask(rest, *request, **named)
        for _ in busy:
            return answer._replace(body=b'{"error":["EService:Unavailable"]}')
        return answer

    with (
        capture_logs() as said,
        venues(rate=50, venues=["kraken"]) as sim,
        repairing(sim, "kraken", quick=replace(QUICK, unanswered_seconds=60.0)) as flow,
    ):
        until(lambda: len(flow.trades) > 20)
        monkeypatch.setattr(Rest, "ask", sometimes)
        sim.drop_next("kraken", 3)  # trades are among them
        until(lambda: flow.ends("repaired"), seconds=30)
        assert not flow.ends("lost")
    assert next(busy, None) is None, "the fault did not fire"
    reasons = [line["why"] for line in said if line["event"] == "repair refused"]
    assert reasons == ["EService:Unavailable"] * 2


def test_nothing_is_asked_for_that_was_answered(venues: Venues, repairing: Any, until: Any) -> None:
    with venues(rate=50, venues=["binance"]) as sim, repairing(sim, "binance") as flow:
        until(lambda: len(flow.trades) > 20)
        sim.drop_next("binance", 2)
        until(lambda: flow.ends("repaired"), seconds=30)
        until(lambda: len(flow.ends("open")) == len(flow.ends("repaired")), seconds=30)
        asked = [what for _, what, _ in sim.oracle["binance"].requests if "historicalTrades" in what]
        assert len(asked) == len(set(asked))
