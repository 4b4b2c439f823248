"""Serves what a journal recorded in the venue's own protocol, for any client of that venue.

Every client gets its own performance from the journal's beginning: the recorded frames of the streams that it
subscribed to, in recorded order, as far apart as they were received, or faster, or as fast as it reads.
What was recorded twice it gets once, and a trade that came after a later one not at all: as after any loss,
the REST service has it, which knows from the first moment on all that was recorded.
"""

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Self

from websockets.frames import Opcode

from connectors.errors import unknown
from connectors.journal_reader import recorded
from connectors.segments import oldest_header
from connectors.venues import VENUES
from schemas import Frame
from simulator import http, websocket
from simulator.http import Asked
from simulator.market import Market
from simulator.progress import Progress
from simulator.recording import survey
from simulator.rewriting import continued, rewritten, without
from simulator.server import HOST, bound, wall_clock
from simulator.venues import FACES
from simulator.venues.protocol import Allowance, Outgoing, Reply, Response, Session
from simulator.websocket import Client

# Sent at once, where more are due than a client reads.
READY_MAX = 500
# A client may subscribe in several messages; the performance begins when it has said nothing for so long.
SETTLE_SECONDS = 0.3


class Listener(NamedTuple):
    """A client with what it asked for."""

    session: Session
    playing: "asyncio.Task[None]"
    asked: asyncio.Event


class ReplayedVenue:
    """One shard's journal as a venue, as long as the context lasts."""

    def __init__(self, directory: Path, *, speed: float = 1.0, port: int = 0) -> None:
        """`speed` multiplies the recorded pace; 0: as fast as the client reads."""
        self.directory, self.recorded = directory, oldest_header(directory)
        self.venue = self.recorded.exchange
        if self.venue not in FACES:
            raise unknown("venue", self.venue, FACES)
        self.face, self.speed, self.port = FACES[self.venue], speed, port
        found = survey(self.venue, self.frames())
        self.began, self.instruments = found.began, found.instruments
        # Who subscribes is told nothing of a past that he is yet to see.
        self.market = Market(found.listings(), seed="", start=found.began, rate=0)
        self.history = found.market()
        self.allowance = Allowance(self.face.rules)
        self.listeners: dict[Client, Listener] = {}

    def frames(self) -> Iterator[Frame]:
        return chain.from_iterable(recorded(self.directory))

    async def __aenter__(self) -> Self:
        self.live = await websocket.serve(self, HOST, self.port)
        self.rest = await http.serve(self.answer, HOST, self.port + 1 if self.port else 0)
        self.tending = asyncio.create_task(self.tend())
        return self

    async def __aexit__(self, *ending: object) -> None:
        self.tending.cancel()
        self.live.close()
        self.rest.close()
        for client in list(self.listeners):
            client.transport.abort()
        await asyncio.sleep(0)

    def urls(self) -> dict[str, Any]:
        path = "/v2" if self.venue == "kraken" else ""
        return {
            self.venue: {
                "websocket": f"ws://{HOST}:{bound(self.live)}{path}",
                "rest": f"http://{HOST}:{bound(self.rest)}",
            }
        }

    def admit(self, client: Client, path: str) -> tuple[HTTPStatus, str] | None:
        now = wall_clock()
        session = Session(len(self.listeners) + 1, now, path, sent=now, last_heartbeat=now)
        asked = asyncio.Event()
        self.listeners[client] = Listener(
            session, asyncio.create_task(self.play(client, session, asked)), asked
        )
        return None

    def opened(self, client: Client) -> None:
        session = self.listeners[client].session
        self.obey(client, self.face.open(session, self.market, wall_clock()))

    def received(self, client: Client, opcode: Opcode, data: bytes) -> None:
        if opcode is Opcode.TEXT and client in self.listeners:
            session = self.listeners[client].session
            self.obey(client, self.face.receive(session, self.market, data, wall_clock()))

    def lost(self, client: Client, code: int | None) -> None:
        self.listeners.pop(client).playing.cancel()

    def obey(self, client: Client, reply: Reply) -> None:
        listener = self.listeners[client]
        if reply.frames:
            client.send([one.payload if isinstance(one, Outgoing) else one for one in reply.frames])
            listener.session.sent = wall_clock()
        if reply.close is not None:
            client.close(*reply.close)
        if listener.session.streams:
            listener.asked.set()

    async def tend(self) -> None:
        """Let the venue say by itself what is due: heartbeats and deadlines."""
        while True:
            await asyncio.sleep(0.1)
            for client, listener in list(self.listeners.items()):
                self.obey(
                    client, self.face.tend(listener.session, self.market, self.face.rules, wall_clock())
                )

    async def play(self, client: Client, session: Session, asked: asyncio.Event) -> None:
        """The whole journal for one client."""
        await asked.wait()
        await asyncio.sleep(SETTLE_SECONDS)
        clock = asyncio.get_running_loop().time
        started, ready = clock(), list[bytes]()
        progress = Progress(VENUES[self.venue], self.instruments)
        for frame in self.frames():
            due = started + (frame.received - self.began) / 1_000_000 / self.speed if self.speed else 0.0
            if due > clock() or len(ready) == READY_MAX:
                await self.send(client, session, ready)
                ready = []
                await asyncio.sleep(max(0.0, due - clock()))
            if (payload := self.due(frame, session, progress)) is not None:
                ready.append(payload)
        await self.send(client, session, ready)

    def due(self, frame: Frame, session: Session, progress: Progress) -> bytes | None:
        """What the client gets of a recorded frame: one that it asked for, and has not had."""
        found = rewritten(self.venue, frame, session.form)
        # A subscription may name its trigger; what was recorded does not.
        wanted = {(channel.partition(":")[0], native) for channel, native in session.streams}
        if found is None or found[0] not in wanted:
            return None
        stream, payload = found
        if (old := progress.old(frame)) is None:
            return None
        payload = without(payload, old) if old else payload
        begun = stream in progress.begun
        progress.begun.add(stream)
        return continued(self.venue, payload) if begun else payload

    async def send(self, client: Client, session: Session, payloads: list[bytes]) -> None:
        await client.writable.wait()
        if payloads and client.send(payloads):
            session.sent = wall_clock()

    async def answer(self, asked: Asked) -> Response | None:
        return self.face.answer(self.history, self.allowance, self.face.rules, asked.request, wall_clock())
