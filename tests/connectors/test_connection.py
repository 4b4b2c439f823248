"""One connection to a venue that misbehaves over the real protocol: what is kept of it, when it is left."""

import asyncio
import time
from collections import deque
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from connectors.connection import Connection, access
from connectors.resilience import Policy
from connectors.venues import VENUES
from connectors.venues.protocol import Budget, instrument

TRADE = b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT"}}'
ANSWER = b'{"result":null,"id":1}'


@pytest.mark.parametrize("venue", ["binance", "kraken", "coinbase"])
def test_every_trade_of_a_quiet_day_is_journalled_once(
    venue: str, venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=300, venues=[venue]) as sim, capturing(sim, venue) as run:
        symbols = [each.symbol for each in run.plan.instruments]
        until(lambda: all(len(run.trade_ids(symbol)) > 10 for symbol in symbols))
        run.capture.stop()
        sent = {symbol: ids for symbol in symbols for _, ids in sim.oracle[venue].sent(symbol)}
    got = {symbol: run.trade_ids(symbol) for symbol in symbols}
    # What was on its way when we left is not ours; nothing is missing before it.
    assert got == {symbol: sent[symbol][: len(got[symbol])] for symbol in symbols}


@pytest.mark.parametrize("venue", ["binance", "kraken", "coinbase"])
def test_each_connection_is_journalled_from_its_first_frame_to_the_last_that_came(
    venue: str, venues: Any, capturing: Any, until: Any
) -> None:
    faults = "duplicate:0.05,drop:0.05,reorder:0.05,delay:0.02:0.1,malformed:0.05"
    patient = {"connects": Budget(count=1_000, seconds=1.0)}
    with venues(rate=500, venues=[venue], faults=faults) as sim, capturing(sim, venue, limits=patient) as run:
        for ends, end in enumerate((sim.cut, partial(sim.close, code=1012), sim.cut), start=1):
            until(lambda: run.flowing and run.frames_seen > 150)
            end(venue)
            until(lambda ends=ends: sum(run.keeper.ends.values()) == ends)
        run.capture.stop()
        assert all(sim.oracle[venue].fired[each] for each in ("duplicate", "drop", "reorder", "malformed"))
    symbols = [each.symbol for each in run.plan.instruments]
    sent = [
        {symbol: sent_on(record, run, symbol) for symbol in symbols}
        for record in sim.oracle[venue].connections
    ]
    got = run.trade_ids_by_connection()
    assert sum(len(ids) for each in got for ids in each.values()) > 100
    # The venue may have greeted an attempt that was no longer wanted.
    assert len(sent) - len(got) in (0, 1)
    for ids, truth in zip(got, sent, strict=False):
        assert ids == {symbol: truth[symbol][: len(ids[symbol])] for symbol in symbols}


def sent_on(record: Any, run: Any, symbol: str) -> list[int]:
    """The ids of a symbol that the venue sent on that connection, in order."""
    [native] = [each.native for each in run.plan.instruments if each.symbol == symbol]
    return record.sent[native].ids() if native in record.sent else []


def test_a_cut_in_the_middle_of_a_frame_costs_only_that_frame(
    venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=200, venues=["binance"]) as sim, capturing(sim) as run:
        until(lambda: run.flowing)
        sim.cut("binance")
        until(lambda: run.keeper.ends == {"cut": 1} and run.flowing)
        assert sim.oracle["binance"].fired["cut"] == 1
    assert not any(b"17000" in frame.payload[-6:] for frame in run.frames())


def test_a_peer_that_is_gone_without_a_word_is_noticed(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=100, venues=["binance"]) as sim, capturing(sim) as run:
        until(lambda: run.flowing)
        began = time.monotonic()
        sim.half_open("binance")
        until(lambda: run.keeper.ends == {"silent": 1} and run.flowing)
        took = time.monotonic() - began
        assert sim.oracle["binance"].fired["half_open"] == 1
    assert 1.0 <= took < 5.0


def test_a_silent_peer_that_answers_pings_is_kept(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    strict = replace(policy, silence_seconds=0.9)  # two pings a second: the venue allows us three
    with venues(rate=100, venues=["binance"]) as sim, capturing(sim, policy=strict) as run:
        until(lambda: run.flowing)
        sim.freeze("binance", 2.6)
        time.sleep(0.2)  # what was on its way
        before = run.frames_seen
        time.sleep(2.0)
        assert sim.oracle["binance"].fired["freeze"] == 1
        assert (run.keeper.ends, run.frames_seen) == ({}, before)
        until(lambda: run.frames_seen > before)


@pytest.mark.parametrize(("fault", "kind"), [("huge", "oversize"), ("bomb", "protocol")])
def test_an_endless_message_ends_the_connection_and_nothing_else(
    fault: str, kind: str, venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=100, venues=["binance"]) as sim, capturing(sim) as run:
        until(lambda: run.flowing)
        sim.force("binance", fault)
        until(lambda: run.keeper.ends == {kind: 1} and run.flowing)
        assert sim.oracle["binance"].fired[fault] == 1


def test_unreadable_messages_are_frames_like_others(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=100, venues=["binance"], faults="malformed:0.5") as sim, capturing(sim) as run:
        until(lambda: any(b"\xff\xfe" in frame.payload for frame in run.frames()))
        until(lambda: any(frame.payload == b"" for frame in run.frames()))
        assert run.keeper.ends == {}


def test_many_connections_subscribe_within_one_message_budget(
    venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=100, venues=["binance"]) as sim:
        # Of three messages in a time one is left to pongs, and a connection takes one to subscribe.
        limits = {"messages": Budget(count=2, seconds=1.0)}
        with capturing(sim, limits=limits, connections=2) as run:
            until(lambda: len(acknowledged(run)) == 2)
    first, second = sorted(acknowledged(run).values())
    assert second - first > 900_000


def test_a_connection_that_waits_for_its_turn_to_subscribe_is_closed_like_others(
    venues: Any, capturing: Any, until: Any
) -> None:
    limits = {"messages": Budget(count=1, seconds=60.0)}
    with venues(rate=100, venues=["binance"]) as sim:
        with capturing(sim, limits=limits, connections=2) as run:
            until(lambda: len(acknowledged(run)) == 1 and len(sim.oracle["binance"].connections) == 2)
        until(lambda: [each.close_code for each in sim.oracle["binance"].connections] == [1000, 1000])


def acknowledged(run: Any) -> dict[int, int]:
    """When each connection got the answer to its subscription."""
    controls = [frame for frame in run.frames() if frame.kind == "control"]
    return {frame.connection: frame.received for frame in reversed(controls)}


@pytest.mark.parametrize(
    ("came", "found"),
    [
        ([], None),
        ([(0.51, TRADE)], 0.52),
        ([(-0.5, TRADE)], None),
        ([(-0.5, TRADE), (0.51, TRADE)], 0.52),
        ([(0.51, ANSWER)], 0.62),
        ([(-0.5, ANSWER), (0.51, TRADE)], None),
        ([(0.0, ANSWER), (0.51, TRADE)], None),
        ([(-0.5, ANSWER), (0.51, ANSWER)], 0.62),
        ([(0.31, ANSWER), (0.37, TRADE), (0.39, ANSWER), (0.43, ANSWER)], 0.54),
        ([(0.95, ANSWER)], None),
    ],
    ids=["silence", "data", "data before all was asked for", "data before and after", "an answer",
         "an answer to a part, then data", "an answer at that very moment", "answers to each part",
         "an answer for each symbol", "an answer too late to settle"],
)  # fmt: skip
def test_a_new_connection_delivers_once_what_was_asked_for_last_comes(
    came: list[tuple[float, bytes]], found: float | None, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times count from when all was asked for; they go on only where it waits."""
    asked = now = 100.0
    on_its_way = deque(came)
    intake: Any = SimpleNamespace(new_connection=lambda: 1, put=lambda *_: None, note=lambda *_: None)
    shared = access(VENUES["binance"], policy)
    bitcoin = instrument("binance", "BTCUSDT", "BTC", "USDT")
    fresh = Connection(shared, shared.endpoints[0], (bitcoin,), intake, policy, structlog.get_logger())

    def pass_until(time: float) -> None:
        nonlocal now
        while on_its_way and asked + on_its_way[0][0] <= time:
            seconds, payload = on_its_way.popleft()
            now = asked + seconds
            fresh.deliver(1, payload)
        now = time

    async def wait(seconds: float) -> None:
        pass_until(now + seconds)

    async def main() -> bool:
        asyncio.get_running_loop().time = lambda: now  # type: ignore[method-assign]
        pass_until(asked)
        fresh.asked.set()
        with monkeypatch.context() as patch:
            patch.setattr(asyncio, "sleep", wait)
            return await fresh.delivers()

    assert (round(now - asked, 2) if asyncio.run(main()) else None) == found
    assert not on_its_way


def test_what_a_venue_refuses_is_said_in_its_own_words(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=100, venues=["kraken"]) as sim, capture_logs() as lines:
        unknown = instrument("kraken", "NO/PE", "NO", "PE")
        with capturing(sim, "kraken", extra=(unknown,), logger=structlog.get_logger()) as run:
            until(lambda: run.flowing)
            until(lambda: any(line["event"] == "venue says refused" for line in lines))
    told = [(line["symbol"], line["detail"]) for line in lines if line["event"] == "venue says refused"]
    assert told[0][0] == "NO-PE"
    assert "NO/PE" in told[0][1]
