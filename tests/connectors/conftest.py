"""What tests of connections share: a peer that sends any bytes, venues with faults, and a capture."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from pyiceberg.exceptions import CommitFailedException
from websockets.utils import accept_key

from connectors.capture import Capture, ShardPlan
from connectors.journal_reader import JournalReader
from connectors.publishing import CachedTransaction
from connectors.resilience import Policy
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, Venue
from schemas import Frame, Trade
from simulator.server import SimulatedVenues, running
from simulator.venues.protocol import Request as Asked

# As patient as the defaults, in a hundredth of the time.
FAST = Policy(
    backoff_seconds_first=0.01,
    backoff_seconds_max=0.1,
    breaker_seconds=0.3,
    open_seconds=2.0,
    close_seconds=0.2,
    silence_seconds=1.0,
    idle_seconds=0.0,
    delivery_seconds=1.0,
    healthy_seconds=0.2,
    answer_seconds=1.0,
    sync_seconds=0.05,
    tick_seconds=0.1,
    retry_seconds=0.05,
)


@pytest.fixture
def policy() -> Policy:
    """The policy of tests."""
    return FAST


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(script: Script, *, upgrades: bool = True, tls: ssl.SSLContext | None = None) -> Any:
    """The port of a server that, after the handshake, does what the script says with the raw stream."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if upgrades:
                request = await reader.readuntil(b"\r\n\r\n")
                lines = dict(line.split(": ", 1) for line in request.decode().split("\r\n")[1:-2])
                writer.write(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept_key(lines["Sec-WebSocket-Key"]).encode() + b"\r\n\r\n"
                )
            await script(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture(name="peer")
def peer_fixture() -> Any:
    return peer


def until(holds: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait for something to be so, and return it; fail when it does not come."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Any:
    return until


@pytest.fixture
def venues(seed: int) -> Callable[..., AbstractContextManager[SimulatedVenues]]:
    """Simulated venues: `with venues(rate=…, faults=…) as sim`."""

    def start(**arguments: Any) -> AbstractContextManager[SimulatedVenues]:
        return running(seed=seed, **arguments)

    return start


def instruments(sim: SimulatedVenues, venue: Venue) -> tuple[Instrument, ...]:
    """What the simulated venue lists, as its own metadata says it."""
    asked = Asked(venue.metadata.path, dict(venue.metadata.query), {})
    body = sim.servers[venue.name].truth(asked).body
    listed = {each.symbol: each for each in venue.decode_metadata(body).values()}
    return tuple(listed[symbol] for symbol in venue.symbols if symbol in listed)


@dataclass
class Running:
    """A capture at work on one shard, and what it has written."""

    capture: Capture
    venue: Venue
    plan: ShardPlan

    def frames(self) -> list[Frame]:
        reader = JournalReader(self.plan.directory, exchange=self.venue.name, shard=self.plan.shard)
        try:
            return reader.read(10_000_000)
        finally:
            reader.close()

    def trade_ids(self, symbol: str) -> list[int]:
        """The ids of all trades of a symbol, in journal order."""
        return [record.source_sequence or 0 for _, record in self.trades() if record.symbol == symbol]

    def trades(self) -> Iterator[tuple[Frame, Trade]]:
        by_native = {each.native: each for each in self.plan.instruments}
        for frame in self.frames():
            for record in self.venue.decode(frame, by_native) if frame.kind == "data" else ():
                if isinstance(record, Trade):
                    yield frame, record

    def trade_ids_by_connection(self) -> list[dict[str, list[int]]]:
        """By connection, in the order of opening, the ids of each symbol in the order in which they came."""
        opened = [event["connection"] for event in self.events() if event["what"] == "opened"]
        found = {each: {listed.symbol: [] for listed in self.plan.instruments} for each in opened}
        for frame, record in self.trades():
            found[frame.connection][record.symbol].append(record.source_sequence or 0)
        return list(found.values())

    def events(self) -> list[dict[str, Any]]:
        """The connection events, decoded."""
        return [msgspec.json.decode(frame.payload) for frame in self.frames() if frame.kind == "connection"]

    @property
    def flowing(self) -> bool:
        """Whether a connection is open and has brought data."""
        return any(each.state == "open" and each.last_data for each in self.keeper.connections)

    @property
    def frames_seen(self) -> int:
        """How many frames the open connections have brought."""
        return sum(each.frames for each in self.keeper.connections)

    @property
    def keeper(self) -> Any:
        return self.capture.status().shards[0].keepers[0]

    @property
    def intake(self) -> Any:
        return self.capture.status().shards[0].intake


@pytest.fixture
def capturing(tmp_path: Path, seed: int) -> Callable[..., AbstractContextManager[Running]]:
    """A capture of one simulated venue: `with capturing(sim, "binance", …) as run`."""

    @contextmanager
    def start(
        sim: SimulatedVenues,
        name: str = "binance",
        *,
        policy: Policy = FAST,
        websocket_urls: tuple[str, ...] = (),
        connections: int = 1,
        limits: dict[str, Any] | None = None,
        extra: tuple[Instrument, ...] = (),
        **arguments: Any,
    ) -> Iterator[Running]:
        venue = replace(
            VENUES[name],
            websocket_urls=websocket_urls or (sim.websocket_url(name),),
            rest_urls=(sim.rest_url(name),),
            limits=replace(VENUES[name].limits, **(limits or {})),
        )
        plan = ShardPlan(
            venue=venue,
            shard=f"{name}-0",
            instruments=(*instruments(sim, venue), *extra),
            directory=tmp_path / "journal" / f"{name}-0",
            connections=connections,
        )
        capture = Capture([plan], policy=policy, random=Random(seed), **arguments)
        capture.start()
        try:
            yield Running(capture, venue, plan)
        finally:
            capture.stop()

    return start


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The commits that the catalog refused because another one came first, as they happen."""
    refused = []
    commit = CachedTransaction.commit_transaction

    def noticed(self: Any) -> Any:
        try:
            return commit(self)
        except CommitFailedException:
            refused.append(self)
            raise

    monkeypatch.setattr(CachedTransaction, "commit_transaction", noticed)
    return refused
