"""Holes of the whole flow, over kills: found all, asked for once, and never invented."""

import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from connectors.faults import Fault
from connectors.slots import read
from connectors.venues.decoding import unpack_page
from schemas import Frame, Gap, Trade
from schemas.run import records_of
from simulator.server import SimulatedVenues, running
from tests.campaigns.running import batches
from tests.dataflows.test_running import Started

PATIENCE_SECONDS = 60
# While an answer takes so long the process that waits for it is killed.
HELD_SECONDS = 5.0
# In a repair of many pages each takes so long.
PAGE_SECONDS = 0.5
PAGE_IDS = 1_000
PAGES = 6

Question = tuple[str, int]  # symbol, first id

pytestmark = pytest.mark.timeout(300)  # three starts of the flow, on a machine that may be busy


@pytest.fixture
def venues(seed: int) -> Iterator[SimulatedVenues]:
    faults = {"rest_slow": Fault(0.0, HELD_SECONDS)}
    with running(seed=seed, rate=50, venues=["binance"], faults=faults) as sim:
        yield sim


class Flow:
    """The flow on one simulated venue, started and killed, and what its journal becomes."""

    def __init__(self, directory: Path, sim: SimulatedVenues) -> None:
        self.directory, self.sim = directory, sim
        lines = [
            *("[venues.kraken]", "enabled = false", "[venues.coinbase]", "enabled = false"),
            *("[venues.binance]", f'websocket_urls = ["{sim.websocket_url("binance")}"]'),
            f'rest_urls = ["{sim.rest_url("binance")}"]',
        ]
        self.file = directory / "tape.toml"
        self.file.write_text("\n".join(lines))
        self.started: Started | None = None

    def start(self) -> Started:
        given = {"TAPE_CONFIG": str(self.file), "TAPE_METRICS__PORT": "0", "BYTEWAX_SNAPSHOT_INTERVAL": "1"}
        self.started = Started(self.directory, **given)
        self.started.until("connected")
        return self.started

    def kill(self, number: int = signal.SIGKILL) -> None:
        assert self.started is not None
        self.started.process.send_signal(number)
        assert self.started.ends() == (-number if number == signal.SIGKILL else 0), self.started.text()

    def records(self) -> tuple[list[Frame], list[Trade], list[Gap]]:
        """What the journal says by now."""
        store = read(self.directory / "data" / "simulated")
        assert store is not None
        frames: list[Frame] = []
        trades: list[Trade] = []
        gaps: list[Gap] = []
        for batch in batches(self.directory / "data" / "simulated", store.slots):
            frames += batch.frames
            trades += [one for one in records_of(batch.records) if isinstance(one, Trade)]
            gaps += [one for one in batch.records if isinstance(one, Gap)]
        return frames, trades, gaps

    def until(self, holds: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (found := holds()):
            assert self.started is not None
            assert time.monotonic() < deadline, self.started.text()
            time.sleep(0.05)
        return found

    def settled(self, ids: int) -> bool:
        """Whether so many missing ids were found in all, and all of them are there."""
        _, _, gaps = self.records()
        found = {
            status: sum(ids_of(gap) for gap in gaps if gap.status == status)
            for status in ("open", "repaired")
        }
        return found["open"] >= ids and found["open"] == found["repaired"]

    def asked(self) -> Counter[Question]:
        """How often the venue was asked for each page."""
        asked = [urlsplit(what) for _, what, _ in list(self.sim.oracle["binance"].requests)]
        return Counter(
            question(parse_qsl(one.query)) for one in asked if one.path.endswith("historicalTrades")
        )

    def answered(self) -> Counter[Question]:
        """How often each page is in the journal."""
        pages = [unpack_page(one.payload)[0] for one in self.records()[0] if one.kind == "repair"]
        return Counter(question(page.request.query) for page in pages)


def question(query: Iterable[tuple[str, str]]) -> Question:
    found = dict(query)
    return found["symbol"], int(found["fromId"])


def ids_of(gap: Gap) -> int:
    return gap.last_missing - gap.first_missing + 1


def complete(trades: list[Trade]) -> bool:
    """Whether every id of every symbol is there once."""
    ids: dict[str, list[int]] = defaultdict(list)
    for trade in trades:
        ids[trade.symbol].append(trade.source_sequence or 0)
    return all(sorted(found) == list(range(min(found), max(found) + 1)) for found in ids.values())


@pytest.mark.long
def test_over_kills_every_hole_is_filled_and_no_question_is_asked_twice(
    tmp_path: Path, venues: SimulatedVenues
) -> None:
    flow = Flow(tmp_path, venues)
    flow.start()
    flow.until(lambda: len(flow.records()[1]) > 20)

    # Moved to another connection nothing is missing, and nothing is said to be.
    venues.shutdown_notice("binance")
    flow.until(lambda: len({one.connection for one in flow.records()[0] if one.kind == "data"}) >= 2)
    assert flow.records()[2] == []
    assert not flow.asked()

    # Killed between asking and answering it asks once more for what was not answered.
    venues.force("binance", "rest_slow", 100)
    venues.drop_next("binance", 3)
    flow.until(flow.asked)
    flow.kill()
    waiting = flow.asked() - flow.answered()
    assert waiting, "the answer was there before the kill"
    venues.servers["binance"].chances.asked.clear()
    venues.trades_now("binance", "BTCUSDT", 100)
    flow.start()
    flow.until(lambda: flow.settled(103))
    assert flow.asked() == flow.answered() + waiting
    assert set(flow.answered().values()) == {1}

    # While a long history is fetched the stream goes on.
    flow.kill()
    before = flow.asked()
    venues.servers["binance"].chances.faults = {"rest_slow": Fault(1.0, PAGE_SECONDS)}
    venues.trades_now("binance", "BTCUSDT", PAGES * PAGE_IDS)
    flow.start()
    flow.until(lambda: flow.settled(103 + PAGES * PAGE_IDS))
    flow.kill(signal.SIGTERM)
    frames, trades, gaps = flow.records()
    pages = [at for at, one in enumerate(frames) if one.kind == "repair"][-PAGES:]
    assert all(
        any(frame.kind == "data" for frame in frames[first:last]) for first, last in pairwise(pages)
    ), "the stream waited for the history"
    after = flow.asked() - before
    assert not set(after) & set(before)
    assert sum(after.values()) >= PAGES
    assert flow.asked() == flow.answered() + waiting
    assert {gap.status for gap in gaps} <= {"open", "repaired", "split"}
    assert complete(trades)
