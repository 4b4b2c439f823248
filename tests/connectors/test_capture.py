"""The whole of capture: a thread of its own, complete journals, and a state that can be looked at."""

import socket
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from connectors import capture as capture_module
from connectors.capture import Capture, ShardPlan
from connectors.errors import TapeError
from connectors.journal import Journal
from connectors.resilience import Policy
from connectors.segments import JournalError, segment_path
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, instrument

BTC = "BTC-USDT"


def open_connections(run: Any) -> list[Any]:
    keepers = run.capture.status().shards[0].keepers
    return [
        each for keeper in keepers for each in keeper.connections if each.state == "open" and each.last_data
    ]


def test_a_journal_tells_its_whole_story(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=200, venues=["kraken"]) as sim, capturing(sim, "kraken") as run:
        until(lambda: open_connections(run))
        until(lambda: sum(frame.kind == "tick" for frame in run.frames()) >= 3)
        run.capture.stop()
    frames = run.frames()
    assert [frame.kind for frame in frames[:3]] == ["connection", "metadata", "connection"]
    assert msgspec.json.decode(frames[1].payload, type=tuple[Instrument, ...]) == run.plan.instruments
    assert {frame.kind for frame in frames} == {"connection", "metadata", "control", "data", "tick"}
    assert {frame.payload for frame in frames if frame.kind == "tick"} <= {b'{"open":0}', b'{"open":1}'}
    assert [event["what"] for event in run.events()] == ["started", "opened", "closed"]


def test_numbers_are_dense_times_rise_and_positions_are_unbroken(
    venues: Any, capturing: Any, until: Any
) -> None:
    with venues(rate=200, venues=["binance"]) as sim, capturing(sim) as run:
        for ends in range(1, 4):
            until(lambda: open_connections(run))
            sim.cut("binance")
            until(lambda ends=ends: run.keeper.ends == {"cut": ends})
        until(lambda: open_connections(run))
        run.capture.stop()
    frames = run.frames()
    assert [frame.position for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame.received for frame in frames] == sorted(frame.received for frame in frames)
    numbers: dict[int, list[int]] = defaultdict(list)
    for frame in frames:
        numbers[frame.connection].append(frame.number)
    assert len(numbers) == 5
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_a_second_life_goes_on_behind_the_first(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=200, venues=["binance"]) as sim:
        for _ in range(2):
            with capturing(sim) as run:
                until(lambda run=run: open_connections(run))
    frames = run.frames()
    assert [frame.position for frame in frames] == list(range(1, len(frames) + 1))
    assert [event["what"] for event in run.events()] == ["started", "opened", "closed"] * 2
    assert len({frame.connection for frame in frames}) == 4


def test_a_clock_that_was_put_back_does_not_take_the_journal_with_it(
    venues: Any, capturing: Any, until: Any
) -> None:
    hour = 3_600_000_000
    with venues(rate=200, venues=["binance"]) as sim, capture_logs() as lines:
        for behind in (0, hour):
            with capturing(
                sim,
                clock=lambda behind=behind: time.time_ns() // 1_000 - behind,
                logger=structlog.get_logger(),
            ) as run:
                until(lambda run=run: open_connections(run))
    frames = run.frames()
    assert [frame.received for frame in frames] == sorted(frame.received for frame in frames)
    assert len({(frame.connection, frame.number) for frame in frames}) == len(frames)
    assert len({frame.connection for frame in frames}) == 4
    told = [line["seconds"] for line in lines if line["event"] == "the clock is behind the journal"]
    assert 3_590 <= told[0] <= 3_600


def test_two_connections_make_the_loss_of_one_invisible(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=300, venues=["binance"]) as sim, capturing(sim, connections=2) as run:
        until(lambda: len(open_connections(run)) == 2 and run.trade_ids(BTC))
        victim = min(sim.servers["binance"].visitors.values(), key=lambda one: one.session.number)
        sim.loop.call_soon_threadsafe(sim.servers["binance"].afflict, victim, "cut", 0.0)
        until(
            lambda: sum(keeper.ends.get("cut", 0) for keeper in run.capture.status().shards[0].keepers) == 1
        )
        until(lambda: len(open_connections(run)) == 2)
        run.capture.stop()
    ids = run.trade_ids(BTC)
    assert set(ids) == set(range(min(ids), max(ids) + 1))
    assert len(ids) > len(set(ids))


def test_stopping_is_quick_polite_and_complete(venues: Any, capturing: Any, until: Any) -> None:
    with venues(rate=2_000, venues=["binance"]) as sim, capturing(sim) as run:
        until(lambda: run.intake.next_position > 1_000)
        began = time.monotonic()
        run.capture.stop()
        assert time.monotonic() - began < 2.0
        [record] = sim.oracle["binance"].connections
        until(lambda: record.closed)
        assert record.close_code == 1000
        assert run.capture.status().alive is False
        status = run.intake
        assert (status.queue_frames, status.queue_bytes) == (0, 0)
        assert status.durable_position == status.next_position - 1 == run.frames()[-1].position


def test_stopping_while_nothing_can_be_reached_is_quick(capturing: Any, venues: Any, until: Any) -> None:
    with venues(venues=["binance"]) as sim:
        sim.refuse_connections("binance", True)
        slow = Policy(backoff_seconds_first=60.0, backoff_seconds_max=60.0)
        with capturing(sim, policy=slow) as run:
            until(lambda: run.keeper.waiting_seconds)
            began = time.monotonic()
            run.capture.stop()
            assert time.monotonic() - began < 1.0


def test_stopping_while_a_name_server_does_not_answer_is_quick(
    tmp_path: Path, until: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def slow(*_: Any, **__: Any) -> Any:
        asked.append(time.monotonic())
        time.sleep(1.5)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    bitcoin = (instrument("binance", "BTCUSDT", "BTC", "USDT"),)
    plan = ShardPlan(venue=VENUES["binance"], shard="binance-0", instruments=bitcoin, directory=tmp_path)
    capture = Capture([plan], policy=policy)
    capture.start()
    until(lambda: asked)
    began = time.monotonic()
    capture.stop()
    assert time.monotonic() - began < 0.5
    capture.thread.join()


def test_a_full_disk_holds_the_venue_back_and_loses_nothing(
    venues: Any, capturing: Any, until: Any, tmp_path: Path
) -> None:
    class Full:
        """A journal whose disk is full on order."""

        def __init__(self, journal: Journal) -> None:
            self.journal, self.full, self.asked = journal, False, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

        def append(self, entries: Any) -> int:
            if self.full:
                self.asked += 1
                raise JournalError("cannot append: No space left on device")
            return self.journal.append(entries)

    made: list[Full] = []

    def open_journal(plan: ShardPlan) -> Any:
        made.append(Full(Journal.open(plan.directory, exchange="binance", shard=plan.shard, now=0)))
        return made[-1]

    with venues(rate=300, venues=["binance"]) as sim, capturing(sim, open_journal=open_journal) as run:
        until(lambda: open_connections(run))
        made[0].full = True
        until(lambda: made[0].asked >= 5)
        assert run.intake.brakes == {"append": "cannot append: No space left on device"}
        assert [each.state for each in run.keeper.connections] == ["held"]
        before = run.intake.next_position
        time.sleep(1.3)  # longer than a silent peer gets: it is us who do not listen
        made[0].full = False
        until(lambda: open_connections(run))
        until(lambda: run.intake.next_position > before + 300)
        assert (run.keeper.ends, run.intake.brakes) == ({}, {})
        run.capture.stop()
    ids = run.trade_ids(BTC)
    assert ids == list(range(ids[0], ids[-1] + 1))


def test_a_slow_disk_fills_the_queue_and_the_queue_holds_the_venue_back(
    venues: Any, capturing: Any, until: Any, policy: Policy
) -> None:
    class Slow:
        """A journal on a disk that takes a tenth of a second for each append."""

        def __init__(self, journal: Journal) -> None:
            self.journal, self.seconds = journal, 0.5

        def __getattr__(self, name: str) -> Any:
            return getattr(self.journal, name)

        def append(self, entries: Any) -> int:
            time.sleep(self.seconds)
            return self.journal.append(entries)

    made: list[Slow] = []

    def open_journal(plan: ShardPlan) -> Any:
        made.append(Slow(Journal.open(plan.directory, exchange="binance", shard=plan.shard, now=0)))
        return made[-1]

    small = replace(policy, queue_bytes_max=50_000)
    with (
        venues(rate=2_000, venues=["binance"]) as sim,
        capturing(sim, policy=small, open_journal=open_journal) as run,
    ):
        until(lambda: run.intake.brakes)
        assert list(run.intake.brakes) == ["queue"]
        # One read of the socket may come on top.
        assert 50_000 < run.intake.queue_bytes < 50_000 + 1_000_000
        made[0].seconds = 0.0
        until(lambda: not run.intake.brakes)
        run.capture.stop()
    ids = run.trade_ids(BTC)
    assert ids == list(range(ids[0], ids[-1] + 1))


def test_short_of_memory_intake_slows_says_so_and_never_stops(
    venues: Any, capturing: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = [0]
    monkeypatch.setattr(capture_module, "resident_bytes", lambda: used[0])
    with (
        capture_logs() as lines,
        venues(rate=500, venues=["binance"]) as sim,
        capturing(sim, logger=structlog.get_logger()) as run,
    ):
        until(lambda: open_connections(run))
        used[0] = 2 * 1024**3
        until(lambda: run.intake.slowed)
        assert run.intake.slowed == "2147483648 bytes in use"
        before = open_connections(run)[0].frames
        until(lambda: open_connections(run)[0].frames > before + 100)
        used[0] = 0
        until(lambda: not run.intake.slowed)
    told = [line["event"] for line in lines if line["event"].startswith("intake")]
    assert told == ["intake slowed", "intake at full speed"]


def test_the_memory_in_use_is_this_processs() -> None:
    before = capture_module.resident_bytes()
    block = bytearray(64 * 1024 * 1024)
    block[::4096] = b"x" * len(block[::4096])
    assert 32 * 1024 * 1024 < capture_module.resident_bytes() - before < 128 * 1024 * 1024


def test_a_bug_ends_the_thread_and_is_raised_where_it_is_stopped(
    venues: Any, capturing: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(payload: bytes) -> Any:
        raise KeyError("bug")

    with venues(rate=100, venues=["binance"]) as sim:
        monkeypatch.setitem(VENUES, "binance", replace(VENUES["binance"], classify=broken))
        with pytest.raises(KeyError, match="bug"), capturing(sim) as run:  # noqa: PT012  # raised at its end
            until(lambda: not run.capture.status().alive)
            assert run.capture.status().failure == "KeyError: 'bug'"


def test_a_journal_that_another_process_writes_prevents_the_start(
    venues: Any, capturing: Any, tmp_path: Path
) -> None:
    directory = tmp_path / "journal" / "binance-0"
    other = Journal.open(directory, exchange="binance", shard="binance-0", now=0)
    begun = pytest.raises(JournalError, match="is written by process")
    with venues(venues=["binance"]) as sim, begun, capturing(sim):
        pass
    other.close()


def test_what_is_dropped_of_a_journal_is_said(tmp_path: Path, policy: Policy) -> None:
    Journal.open(tmp_path, exchange="binance", shard="binance-0", now=0).close()
    with segment_path(tmp_path, 1).open("ab") as file:
        file.write(b"TAPE and no more")
    plan = ShardPlan(venue=VENUES["binance"], shard="binance-0", instruments=(), directory=tmp_path)
    with capture_logs() as lines:
        capture = Capture([plan], policy=policy, logger=structlog.get_logger())
        capture.start()
        capture.stop()
    [said] = [line for line in lines if line["event"] == "end of the journal dropped"]
    assert (said["log_level"], said["shard"], said["bytes"]) == ("warning", "binance-0", 16)


def test_a_shard_without_symbols_is_said_and_does_nothing(tmp_path: Path, until: Any, policy: Policy) -> None:
    plan = ShardPlan(venue=VENUES["binance"], shard="binance-0", instruments=(), directory=tmp_path)
    with capture_logs() as lines:
        capture = Capture([plan], policy=policy, logger=structlog.get_logger())
        capture.start()
        until(lambda: capture.status().shards[0].intake.next_position > 4)
        capture.stop()
    assert [line["event"] for line in lines] == ["shard without symbols"]


def test_more_symbols_than_a_connection_may_carry_are_refused(tmp_path: Path) -> None:
    many = tuple(instrument("binance", f"S{number}USDT", f"S{number}", "USDT") for number in range(600))
    plan = ShardPlan(venue=VENUES["binance"], shard="binance-0", instruments=many, directory=tmp_path)
    with pytest.raises(TapeError, match="binance-0 would carry 1200 streams, the venue allows 1024"):
        Capture([plan])
