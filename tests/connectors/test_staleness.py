"""A stream that should have said something is left, a quiet one is not; the venue says which it is."""

import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from connectors import staleness
from connectors.resilience import Policy
from connectors.rest import Rest
from connectors.staleness import SYMBOLS_MAX, Watch, mark
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, instrument
from schemas import Quote
from simulator.market import Moment
from simulator.venues import FACES

IDLE = 0.9


@pytest.fixture
def attentive(policy: Policy) -> Policy:
    return replace(policy, idle_seconds=IDLE)


def asked(sim: Any, symbol: str) -> int:
    """How often REST was asked for the newest trades of a symbol."""
    questions = [what for _, what, _ in list(sim.oracle["binance"].requests)]
    return sum("/api/v3/trades" in what and symbol in what for what in questions)


# One symbol.


@pytest.mark.parametrize("venue", FACES)
def test_a_symbol_that_falls_silent_beside_others_is_noticed_and_its_stream_replaced(
    venue: str, venues: Any, capturing: Any, until: Any, attentive: Policy
) -> None:
    symbol = VENUES[venue].symbols[0]
    with venues(rate=300, venues=[venue]) as sim, capturing(sim, venue, policy=attentive) as run:
        [native] = [each.native for each in run.plan.instruments if each.symbol == symbol]
        until(lambda: run.flowing and len(run.trade_ids(symbol)) > 5)
        began = time.monotonic()
        sim.stall(venue, native, 60.0)
        until(lambda: run.keeper.rotations)
        took = time.monotonic() - began
        sim.stall(venue, native, 0)
        newest = max(run.trade_ids(symbol))
        until(lambda: max(run.trade_ids(symbol)) > newest)
        assert sim.oracle[venue].fired["stall"] >= 1
        assert run.keeper.ends == {"stale": 1}
        run.capture.stop()
    assert took < 3 * IDLE
    [opened, closed] = [one for one in run.events() if one["what"] in ("opened", "closed")][1:3]
    assert (opened["what"], closed["what"], closed["problem"]) == ("opened", "closed", "stale")
    assert closed["detail"].startswith(f"{symbol} is at id ")


def test_a_dead_stream_of_trades_is_not_hidden_by_its_quotes(
    venues: Any, capturing: Any, until: Any, attentive: Policy
) -> None:
    with venues(rate=300, venues=["binance"]) as sim, capturing(sim, policy=attentive) as run:
        until(lambda: run.trade_ids("BTC-USDT"))
        server = sim.servers["binance"]
        real = server.audible

        def without_trades(moments: Iterable[Moment], now: int) -> Iterable[Moment]:
            return [
                Moment(one.market, one.trades[:0], one.first_aggregate, one.quote)
                if one.market.listing.native == "BTCUSDT"
                else one
                for one in real(moments, now)
            ]

        server.audible = without_trades
        until(lambda: run.keeper.rotations)
        assert run.keeper.ends == {"stale": 1}
        run.capture.stop()
    last_trades = [frame.position for frame, trade in run.trades() if trade.symbol == "BTC-USDT"]
    by_native = {each.native: each for each in run.plan.instruments}
    quoted = [
        frame.position
        for frame in run.frames()
        for record in (run.venue.decode(frame, by_native) if frame.kind == "data" else ())
        if isinstance(record, Quote) and record.symbol == "BTC-USDT"
    ]
    assert sum(position > max(last_trades) for position in quoted) > 10


def test_a_quiet_symbol_beside_lively_ones_is_left_in_peace(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    """It trades once in three seconds, so that REST is often asked just then."""
    quiet = instrument("binance", "PEPEUSDT", "PEPE", "USDT")
    attentive = replace(policy, idle_seconds=0.6)
    with (
        venues(rate=300, venues=["binance"]) as sim,
        capturing(sim, policy=attentive, extra=(quiet,)) as run,
    ):
        until(lambda: asked(sim, "PEPEUSDT") >= 12, 30)
        assert (run.keeper.ends, run.keeper.rotations) == ({}, 0)
        assert len(sim.oracle["binance"].connects) == 1
        assert not [frame for frame in run.frames() if frame.kind == "repair"]


def test_every_symbol_has_its_turn_and_few_are_asked_about_at_once(
    venues: Any, capturing: Any, until: Any, attentive: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staleness, "SYMBOLS_MAX", 1)
    with venues(rate=300, venues=["binance"]) as sim, capturing(sim, policy=attentive) as run:
        until(lambda: run.flowing)
        [*_, last] = run.plan.instruments
        sim.stall("binance", last.native, 60.0)
        until(lambda: run.keeper.rotations)
        assert asked(sim, last.native) == 2
        assert [asked(sim, each.native) for each in run.plan.instruments[:-1]] == [0, 0]


def test_what_we_hold_back_ourselves_is_nobodys_silence(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    slow = replace(policy, idle_seconds=0.3, memory_bytes_max=1)
    with venues(rate=300, venues=["binance"]) as sim, capturing(sim, policy=slow) as run:
        until(lambda: run.flowing and run.intake.slowed)
        sim.stall("binance", "BTCUSDT", 60.0)
        time.sleep(1.5)
        assert (run.keeper.ends, run.keeper.rotations) == ({}, 0)


def listed(count: int) -> dict[str, Instrument]:
    return {f"S{n}USDT": instrument("binance", f"S{n}USDT", f"S{n}", "USDT") for n in range(count)}


def watch(instruments: dict[str, Instrument], policy: Policy) -> Watch:
    intake: Any = SimpleNamespace(clock=lambda: 1)
    rest = Rest(VENUES["binance"], policy)
    return Watch(rest, instruments, intake, policy=policy, logger=structlog.get_logger())


def test_turns_go_round(policy: Policy) -> None:
    instruments = listed(2 * SYMBOLS_MAX + 1)
    watching = watch(instruments, policy)
    rounds = []
    for _ in range(len(instruments)):
        watching.listen()
        rounds.append(list(watching.unheard.values()))
    assert {len(each) for each in rounds} == {SYMBOLS_MAX}
    assert Counter(chain.from_iterable(rounds)) == dict.fromkeys(instruments, SYMBOLS_MAX)
    assert set(chain.from_iterable(rounds[:3])) == set(instruments)


@pytest.mark.parametrize(
    ("payload", "unheard"),
    [
        (b'{"stream":"s1usdt@trade","data":{"e":"trade","s":"S1USDT"}}', ["S0USDT"]),  # unreadable, but there
        (b'{"stream":"s1usdt@bookTicker","data":{"u":1,"s":"S1USDT","b":"1","B":"1","a":"2","A":"1"}}', None),
        (b'{"stream":"s11usdt@trade","data":{"e":"trade","s":"S11USDT"}}', None),
        (b"", None),
    ],
)
def test_only_a_trade_or_what_may_be_one_is_heard(
    payload: bytes, unheard: list[str] | None, policy: Policy
) -> None:
    watching = watch(listed(2), policy)
    watching.listen()
    watching.hear(payload)
    assert list(watching.unheard.values()) == (unheard or ["S0USDT", "S1USDT"])
    assert not watching.is_mute


@pytest.mark.parametrize("venue", FACES)
def test_every_trade_of_a_venue_names_its_symbol_as_we_look_for_it(
    venue: str, venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=300, venues=[venue]) as sim, capturing(sim, venue) as run:
        symbols = {each.symbol: each.native for each in run.plan.instruments}
        until(lambda: {trade.symbol for _, trade in run.trades()} == set(symbols))
        run.capture.stop()
    assert all(mark(symbols[trade.symbol]) in frame.payload for frame, trade in run.trades())


# All of them.


@pytest.mark.parametrize("venue", ["binance", "kraken", "coinbase"])
def test_a_stream_without_data_while_the_market_trades_is_left(
    venue: str, venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    attentive = replace(policy, idle_seconds=1.5)
    with venues(rate=100, venues=[venue]) as sim, capturing(sim, venue, policy=attentive) as run:
        until(lambda: run.flowing)
        sim.freeze(venue, 30.0, heartbeats=True)
        until(lambda: run.keeper.ends == {"stale": 1} and run.flowing, 15)
        assert sim.oracle[venue].fired["freeze_data"] == 1


def test_a_quiet_market_is_left_in_peace(venues: Any, capturing: Any, until: Any, policy: Policy) -> None:
    attentive = replace(policy, idle_seconds=0.6)
    with venues(rate=0.001, venues=["binance"]) as sim, capturing(sim, policy=attentive) as run:
        asked = sim.oracle["binance"].requests
        until(lambda: sum("/api/v3/trades" in what for _, what, _ in list(asked)) >= 9)
        assert run.keeper.ends == {}
        assert len(sim.oracle["binance"].connects) == 1


@pytest.mark.parametrize("status", [500, 429])
def test_while_rest_cannot_tell_the_connection_is_kept(
    status: int, venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    with venues(rate=0.001, venues=["binance"]) as sim:
        sim.rest_fail("binance", status, 1_000)
        with capturing(sim, policy=replace(policy, idle_seconds=0.3)) as run:
            until(lambda: sim.oracle["binance"].fired["rest_fail"] >= 1)
            time.sleep(0.5)
            assert run.keeper.ends == {}
