"""All simulated venues in one process, with the clock, the loop and the ways to interfere.

`async with SimulatedVenues(seed=1) as sim` in a program that has a loop; `with running(seed=1) as sim`
elsewhere. Whatever interferes may be called from any thread, and from any process through POST /control.
"""

import asyncio
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec, Protocol, Self, TypeVar

import msgspec

from connectors.faults import FAULTS, Fault, parse_faults
from simulator import http, websocket
from simulator.http import Asked
from simulator.market import HISTORY_TRADES_MAX, Market
from simulator.oracle import Oracle
from simulator.venue import VenueServer
from simulator.venues import FACES
from simulator.venues.protocol import SECOND, Response, Rules

HOST = "127.0.0.1"
STEP_SECONDS = 0.005
PAST_TRADES = 100  # of each symbol, so that nothing begins with an empty history

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def wall_clock() -> int:
    return time.time_ns() // 1_000


def clock_from(start: int) -> Callable[[], int]:
    """A clock that says that it is that time, and goes on from there."""
    ahead = start - wall_clock()
    return lambda: wall_clock() + ahead


def interferes(method: Callable[Parameters, Answer]) -> Callable[Parameters, Answer]:
    """Run the method where the sockets live, whichever thread calls."""

    @wraps(method)
    def called(*given: Parameters.args, **named: Parameters.kwargs) -> Answer:
        self = given[0]
        assert isinstance(self, SimulatedVenues)
        if self.thread == threading.get_ident():
            return method(*given, **named)

        async def run() -> Answer:
            return method(*given, **named)

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(timeout=10)

    return called


class SimulatedVenues:
    """The venues, as long as the context lasts."""

    def __init__(
        self,
        *,
        seed: int | str = 1,
        faults: str | Mapping[str, Fault] = "",
        rate: float = 20.0,
        venues: Sequence[str] = tuple(FACES),
        symbols: Mapping[str, Sequence[str]] | None = None,
        rules: Mapping[str, Mapping[str, Any]] | None = None,
        history_max: int = HISTORY_TRADES_MAX,
        port: int = 0,
        ids_from: int = 0,
        clock: Callable[[], int] = wall_clock,
        start: int | None = None,
    ) -> None:
        """`rate` is trades a second of each venue; `symbols` and `rules` replace parts of a venue's own."""
        given = parse_faults(faults) if isinstance(faults, str) else dict(faults)
        if start is not None:
            clock = clock_from(start)
        self.seed, self.clock, self.port = seed, clock, port
        self.servers: dict[str, VenueServer] = {}
        for name in venues:
            face, wanted = FACES[name], (symbols or {}).get(name)
            listings = [
                replace(one, first_id=one.first_id + ids_from)
                for one in face.listings
                if wanted is None or {one.native, one.symbol} & set(wanted)
            ]
            own_seed = f"{seed}:{name}"
            market = Market(
                listings, seed=own_seed, start=start or clock(), rate=rate, history_max=history_max
            )
            market.prepare(PAST_TRADES)
            own_rules: Rules = replace(face.rules, **(rules or {}).get(name, {}))
            self.servers[name] = VenueServer(face, market, own_rules, given, own_seed, clock)
        self.oracle = Oracle({name: server.oracle for name, server in self.servers.items()})
        self.addresses: dict[str, tuple[int, int]] = {}
        self.listening: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        self.loop, self.thread = asyncio.get_running_loop(), threading.get_ident()
        ports = iter(range(self.port, self.port + 2 * len(self.servers) + 1) if self.port else ())
        control = await http.serve(self.control, HOST, next(ports, 0))
        self.listening.append(control)
        self.control_port = bound(control)
        for name, server in self.servers.items():
            live = await websocket.serve(server, HOST, next(ports, 0))
            rest = await http.serve(self.answerer(server), HOST, next(ports, 0))
            self.listening += [live, rest]
            self.addresses[name] = bound(live), bound(rest)
        self.pace = asyncio.create_task(self.run())
        return self

    async def __aexit__(self, *ending: object) -> None:
        self.pace.cancel()
        for server in self.listening:
            server.close()
        for venue in self.servers.values():
            for client in list(venue.visitors):
                client.transport.abort()
        ended = await asyncio.gather(self.pace, return_exceptions=True)
        await asyncio.sleep(0)
        if isinstance(ended[0], Exception):
            raise ended[0]

    async def run(self) -> None:
        """Move the markets, tend the connections, and let faults happen."""
        tended = misbehaved = self.loop.time()
        while True:
            behind = [server.step() for server in self.servers.values()]
            now = self.loop.time()
            if now - tended >= 0.1:
                tended = now
                for server in self.servers.values():
                    server.tend()
            if now - misbehaved >= 1.0:
                misbehaved = now
                for server in self.servers.values():
                    server.misbehave()
            await asyncio.sleep(0 if any(behind) else STEP_SECONDS)

    def websocket_url(self, venue: str) -> str:
        return f"ws://{HOST}:{self.addresses[venue][0]}{'/v2' if venue == 'kraken' else ''}"

    def rest_url(self, venue: str) -> str:
        return f"http://{HOST}:{self.addresses[venue][1]}"

    def control_url(self) -> str:
        return f"http://{HOST}:{self.control_port}"

    def urls(self) -> dict[str, Any]:
        """Where everything is, in plain values."""
        found: dict[str, Any] = {
            name: {"websocket": self.websocket_url(name), "rest": self.rest_url(name)}
            for name in self.servers
        }
        return found | {"control": self.control_url()}

    def answerer(self, server: VenueServer) -> http.Answerer:
        async def answer(asked: Asked) -> Response | None:
            delay, response = server.answer(asked)
            if delay:
                await asyncio.sleep(delay)
            return response

        return answer

    # What tests and operators can do to the venues

    @interferes
    def trades_now(self, venue: str, symbol: str, count: int) -> None:
        """Make trades at once."""
        server = self.servers[venue]
        now = self.clock()
        server.deliver(server.market.trades_now(symbol, count, now), now)

    @interferes
    def drop_next(self, venue: str, count: int) -> None:
        """Keep the next trades from every connection."""
        self.servers[venue].drops += count

    @interferes
    def force(self, venue: str, fault: str, times: int = 1) -> None:
        """Let a fault fire at its next opportunities."""
        if fault not in FAULTS:
            raise ValueError(f"no fault {fault!r}; there are {', '.join(FAULTS)}")
        self.servers[venue].chances.asked[fault] += times

    @interferes
    def cut(self, venue: str) -> None:
        """End every connection in the middle of a frame."""
        self.afflict(venue, "cut")

    @interferes
    def close(self, venue: str, code: int) -> None:
        """End every connection with this code; 1006: without any."""
        self.afflict(venue, "close", code=code)

    @interferes
    def freeze(self, venue: str, seconds: float, heartbeats: bool = False) -> None:
        """Send nothing on the connections that are open, or nothing but heartbeats."""
        self.afflict(venue, "freeze_data" if heartbeats else "freeze", seconds)

    @interferes
    def half_open(self, venue: str, seconds: float = 60.0) -> None:
        """Leave every connection open with nobody there."""
        self.afflict(venue, "half_open", seconds)

    def afflict(self, venue: str, fault: str, seconds: float = 0.0, code: int = 0) -> None:
        server = self.servers[venue]
        for visitor in list(server.visitors.values()):
            server.oracle.fired[fault] += 1
            server.afflict(visitor, fault, seconds, code)

    @interferes
    def stall(self, venue: str, symbol: str, seconds: float) -> None:
        """Keep one symbol silent on the stream."""
        server = self.servers[venue]
        server.stalled[server.market.names[symbol].listing.native] = self.clock() + int(seconds * SECOND)
        server.oracle.fired["stall"] += 1

    @interferes
    def id_reset(self, venue: str, symbol: str) -> None:
        """Begin one symbol's ids at 1 again."""
        self.servers[venue].market.names[symbol].reset()
        self.oracle[venue].fired["id_reset"] += 1

    @interferes
    def shutdown_notice(self, venue: str) -> None:
        """Announce a shutdown; the connections that are open end some seconds later."""
        self.servers[venue].announce()
        self.oracle[venue].fired["shutdown"] += 1

    @interferes
    def rest_fail(self, venue: str, status: int, times: int = 1) -> None:
        """Answer the next requests with this status."""
        self.servers[venue].failures.extend([status] * times)

    @interferes
    def refuse_connections(self, venue: str, refuses: bool) -> None:
        """Let nobody in any more, or everybody again."""
        self.servers[venue].refuses = refuses

    @interferes
    def retain(self, venue: str, count: int | None) -> None:
        """Show only the newest trades of each symbol by REST; None: all."""
        for symbol in self.servers[venue].market:
            symbol.shown_max = count

    async def control(self, asked: Asked) -> Response | None:
        """`POST /control {"do": …}`, `GET /oracle[?venue=…]`, `GET /trades?venue=…&symbol=…`, `GET /urls`."""
        query, path = asked.request.query, asked.request.path
        try:
            if (asked.method, path) == ("POST", "/control"):
                arguments = msgspec.json.decode(asked.body, type=dict[str, Any])
                ORDERS[arguments.pop("do")](self, **arguments)
                return told({"ok": True})
            if path == "/oracle":
                names = [query["venue"]] if "venue" in query else list(self.oracle)
                return told({name: self.oracle[name].as_json() for name in names})
            if path == "/trades":
                return told([one._asdict() for one in self.oracle[query["venue"]].trades(query["symbol"])])
            return told(self.urls()) if path == "/urls" else Response(404, b'{"error":"no such address"}')
        except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
            return Response(400, msgspec.json.encode({"error": f"{type(error).__name__}: {error}"}))


ORDERS: dict[str, Callable[..., None]] = {
    name: method
    for name, method in inspect.getmembers(SimulatedVenues, inspect.isfunction)
    if hasattr(method, "__wrapped__")
}


def told(value: Any) -> Response:
    return Response(200, msgspec.json.encode(value))


def bound(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def stop_with_input() -> None:
    """Ask ourselves to stop when whoever started us is gone."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


class Served(Protocol):
    """What can be served as a program."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *ending: object) -> None: ...
    def urls(self) -> dict[str, Any]: ...


def serve(venues: Served, announce: Callable[[dict[str, Any]], None], *, attached: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, or, if attached, until standard input ends with whoever started us.

    `announce` gets the addresses once all of them listen.
    """
    if attached:
        threading.Thread(target=stop_with_input, daemon=True).start()

    async def live() -> None:
        ended = asyncio.Event()
        for ending in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(ending, ended.set)
        async with venues:
            announce(venues.urls())
            await ended.wait()

    asyncio.run(live())


@contextmanager
def running(**arguments: Any) -> Iterator[SimulatedVenues]:
    """The venues in a thread of their own, for programs without a loop."""
    started: Future[tuple[SimulatedVenues, asyncio.Event]] = Future()

    async def live() -> None:
        ended = asyncio.Event()
        try:
            async with SimulatedVenues(**arguments) as sim:
                started.set_result((sim, ended))
                await ended.wait()
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=asyncio.run, args=(live(),), name="simulator")
    thread.start()
    sim, ended = started.result(timeout=10)
    try:
        yield sim
    finally:
        sim.loop.call_soon_threadsafe(ended.set)
        thread.join()
