"""Policies at work: a fault is injected into a venue that speaks the real protocol; this is what happens."""

import asyncio
import time
from dataclasses import replace
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import structlog

from connectors.keeper import Keeper
from connectors.resilience import Breaker, Policy, Problem, ProblemKind
from connectors.venues import binance
from connectors.venues.protocol import Budget

BTC = "BTC-USDT"


@pytest.mark.parametrize(
    ("code", "kind", "detail"),
    [(1006, "cut", "EOFError: unexpected end of stream"), (1001, "closed", "1001"), (1008, "closed", "1008"),
     (1011, "closed", "1011"), (1012, "closed", "1012"), (1013, "closed", "1013")],
)  # fmt: skip
def test_whatever_the_close_code_we_come_back_and_say_why(
    code: int, kind: str, detail: str, venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=100, venues=["binance"]) as sim, capturing(sim) as run:
        until(lambda: run.flowing)
        sim.close("binance", code)
        until(lambda: run.keeper.ends == {kind: 1} and run.flowing)
        assert sim.oracle["binance"].fired["close"] == 1
    told = [(one["what"], one["problem"], one["detail"]) for one in run.events()]
    assert told == [
        ("started", "", ""), ("opened", "", ""), ("closed", kind, detail), ("opened", "", ""),
        ("closed", "closed", "stopped"),
    ]  # fmt: skip


def test_attempts_to_a_venue_that_refuses_slow_down_and_never_end(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    with venues(rate=100, venues=["binance"]) as sim:
        sim.refuse_connections("binance", True)
        with capturing(sim, policy=replace(policy, breaker_failures=100)) as run:
            until(lambda: run.keeper.failures >= 12)
            assert run.keeper.last_problem == "HTTP 503 instead of an upgrade"
            sim.refuse_connections("binance", False)
            until(lambda: run.flowing)
            times = [time for time, _ in sim.oracle["binance"].connects]
    waits = [(after - before) / 1_000_000 for before, after in pairwise(times)]
    assert sum(waits[:3]) < 0.5
    assert max(waits) > 0.02
    assert max(waits) < 0.5


def test_the_breaker_of_an_endpoint_opens_rests_half_opens_and_closes(
    venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=100, venues=["binance"]) as sim:
        sim.refuse_connections("binance", True)
        url = sim.websocket_url("binance")
        with capturing(sim) as run:
            until(lambda: run.capture.status().breakers[url] == "open")
            assert len(sim.oracle["binance"].connects) == 3
            until(lambda: run.capture.status().breakers[url] == "half_open")
            sim.refuse_connections("binance", False)
            until(lambda: run.flowing)
            assert run.capture.status().breakers[url] == "half_open"
            until(lambda: run.capture.status().breakers[url] == "closed")


def test_another_url_of_the_venue_takes_over_and_the_first_is_preferred_again(
    venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=100, venues=["binance"]) as sim:
        dead = "ws://127.0.0.1:9"
        with capturing(sim, websocket_urls=(dead, sim.websocket_url("binance"))) as run:
            until(lambda: run.flowing)
            assert [each.url for each in run.keeper.connections] == [sim.websocket_url("binance")]
            until(lambda: run.keeper.failures == 1)
            assert run.keeper.ends == {"refused": 1}
            time.sleep(0.5)  # the connection proves well
            sim.close("binance", 1012)
            until(lambda: run.keeper.ends == {"refused": 2, "closed": 1} and run.flowing)


def test_the_next_connection_delivers_before_the_venue_cuts_the_old_one(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    rules = {"binance": {"lifetime": 1.2}}
    with venues(rate=300, venues=["binance"], rules=rules) as sim:
        with capturing(
            sim,
            limits={"lifetime_seconds": 1.2},
            policy=replace(policy, rotation_seconds=0.6, delivery_seconds=0.5),
        ) as run:
            until(lambda: run.keeper.rotations >= 2)
            run.capture.stop()
        records = list(sim.oracle["binance"].connections)
    assert run.keeper.ends == {}
    assert [record.close_code for record in records] == [1000] * len(records)
    overlaps = [before.closed - after.opened for before, after in pairwise(records)]
    assert min(overlaps) > 0
    ids = set(run.trade_ids(BTC))
    assert ids == set(range(min(ids), max(ids) + 1))


def test_a_shutdown_notice_moves_us_before_the_end_comes(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=300, venues=["binance"], rules={"binance": {"notice": 1.0}}) as sim:
        with capturing(sim) as run:
            until(lambda: run.flowing)
            sim.shutdown_notice("binance")
            until(lambda: run.keeper.rotations == 1)
            time.sleep(1.2)  # the announced end
            assert run.keeper.ends == {}
            run.capture.stop()
        assert sim.oracle["binance"].fired["shutdown"] == 1
    ids = set(run.trade_ids(BTC))
    assert ids == set(range(min(ids), max(ids) + 1))


def test_the_old_connection_stays_until_the_next_one_brings_every_symbol(
    venues: Any, capturing: Any, until: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wanted takes many messages, and the budget lets them out one after the other."""
    monkeypatch.setattr(binance, "STREAMS_PER_MESSAGE", 2)
    slow = {"messages": Budget(count=2, seconds=0.5)}  # one is kept for pongs
    patient = replace(policy, delivery_seconds=2.0)
    with (
        venues(rate=300, venues=["binance"], rules={"binance": {"notice": 10.0}}) as sim,
        capturing(sim, limits=slow, policy=patient) as run,
    ):
        symbols = [listed.symbol for listed in run.plan.instruments]
        until(lambda: all(map(run.trade_ids, symbols)))
        sim.shutdown_notice("binance")
        until(lambda: run.keeper.rotations == 1)
        time.sleep(1.0)  # all that the new connection was to bring comes by now
        run.capture.stop()
    assert len(symbols) == 3
    for symbol in symbols:
        ids = set(run.trade_ids(symbol))
        assert ids == set(range(min(ids), max(ids) + 1)), symbol


def test_a_new_connection_that_says_nothing_does_not_replace_the_old_one(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    strict = replace(policy, delivery_seconds=0.3, silence_seconds=5.0)
    rules = {"binance": {"notice": 60.0}}
    with (
        venues(rate=300, venues=["binance"], rules=rules) as sim,
        capturing(sim, policy=strict) as run,
    ):
        until(lambda: run.flowing)
        server = sim.servers["binance"]
        real = server.opened

        def mute_the_second(client: Any) -> None:
            if server.visitors[client].session.number == 2:
                server.visitors[client].frozen_until = sim.clock() + 60_000_000
            real(client)

        server.opened = mute_the_second
        sim.shutdown_notice("binance")
        until(lambda: run.keeper.rotations == 1)
        assert run.keeper.ends == {"mute": 1}
        run.capture.stop()
    ids = set(run.trade_ids(BTC))
    assert ids == set(range(min(ids), max(ids) + 1))


@pytest.mark.parametrize("healthy_seconds", [0.0, 60.0])
def test_a_subscription_that_always_overflows_is_not_a_tight_loop(
    healthy_seconds: float, venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    """Whether it lives well until then or not."""
    strict = replace(policy, healthy_seconds=healthy_seconds, breaker_failures=100)
    with venues(rate=100, venues=["binance"]) as sim, capturing(sim, policy=strict) as run:
        for failures in range(1, 5):
            until(lambda: run.flowing)
            time.sleep(0.15)  # well enough for who asks for nothing
            sim.force("binance", "huge")
            until(lambda failures=failures: run.keeper.failures == failures)
        assert run.keeper.ends == {"oversize": 4}
        assert sim.oracle["binance"].fired["huge"] == 4


@pytest.mark.parametrize("kind", get_args(ProblemKind))
@pytest.mark.parametrize("healthy", [0, 1])
def test_of_a_connection_that_lived_well_only_what_comes_again_is_a_failure(
    healthy: int, kind: ProblemKind, policy: Policy
) -> None:
    at_once = replace(policy, backoff_seconds_first=0.0)
    unused: Any = None
    keeper = Keeper(unused, (), unused, policy=at_once, random=Random(1), logger=structlog.get_logger())
    keeper.failures = 2
    breaker = Breaker(policy)
    ended: Any = SimpleNamespace(
        id=1, frames=1, healthy=healthy, endpoint=SimpleNamespace(url="wss://example.com", breaker=breaker)
    )
    asyncio.run(keeper.count(ended, Problem(kind, "as it was")))
    fails = not healthy or kind in ("oversize", "protocol", "stale")
    assert (keeper.failures, breaker.failures) == ((3, 1) if fails else (0, 0))
    assert keeper.ends == {kind: 1}


def test_when_all_fall_together_the_venues_connect_budget_holds(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    budget = Budget(count=5, seconds=0.5)
    with venues(rate=100, venues=["binance"]) as sim:
        sim.refuse_connections("binance", True)
        quick = replace(policy, backoff_seconds_max=0.01, breaker_failures=1_000)
        with capturing(sim, limits={"connects": budget}, connections=2, policy=quick) as run:
            time.sleep(1.2)
            assert run.keeper.failures
        times = [time for time, _ in sim.oracle["binance"].connects]
    windows = [sum(start <= each < start + 450_000 for each in times) for start in times]
    assert max(windows) == 5
    assert len(times) >= 10


def test_who_must_say_at_once_what_he_wants_connects_when_he_may_say_it(
    venues: Any, capturing: Any, until: Any
) -> None:
    """More connections than the budget of messages lets subscribe within the venue's patience."""
    limits = {"messages": Budget(count=1, seconds=0.4), "mute_seconds": 0.5}
    rules = {"coinbase": {"subscribe": 0.5}}
    with (
        venues(rate=100, venues=["coinbase"], rules=rules) as sim,
        capturing(sim, "coinbase", limits=limits, connections=4) as run,
    ):
        until(lambda: all(keeper.connections for keeper in run.capture.status().shards[0].keepers))
        until(lambda: len(sim.oracle["coinbase"].connects) >= 4 and run.flowing)
        time.sleep(0.6)
        assert [keeper.ends for keeper in run.capture.status().shards[0].keepers] == [{}] * 4
