"""One connection from its handshake to its end: subscribes, hands frames over, notices when it is dead."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from connectors.intake import Intake
from connectors.resilience import (
    Allowance,
    Endpoint,
    Policy,
    Problem,
    endpoints,
    rotation_due,
    silence_limit,
    with_room_for_pongs,
)
from connectors.rest import Rest
from connectors.staleness import Watch
from connectors.venues.protocol import Instrument, Venue
from connectors.websocket import EXPECTED, Socket, connection_problem, ended, open_socket
from schemas import Control, Frame
from schemas.health import ConnectionEvent

State = Literal["connecting", "open", "backoff", "held", "closed"]

# What a venue says to a wish to subscribe.
ANSWERS = ("subscribed", "refused", "error")
# Without another answer for this part of the time that it has there is none left: it may answer for each
# symbol, and until then an older connection brings the same.
SETTLE_PART, LOOK_SECONDS = 0.1, 0.02

# A venue that refuses everything says so in the log this often per connection.
SAID_MAX = 5


@dataclass(frozen=True, kw_only=True)
class Access:
    """What all connections to one venue share: its endpoints, its budgets, its REST client."""

    venue: Venue
    endpoints: tuple[Endpoint, ...]
    connects: Allowance
    messages: Allowance
    rest: Rest


def access(venue: Venue, policy: Policy) -> Access:
    """Closed breakers and fresh budgets for a venue, but for the list of markets that was just asked for."""
    rest = Rest(venue, policy)
    rest.allowance.take(rest.monotonic(), venue.metadata.weight)
    return Access(
        venue=venue,
        endpoints=endpoints(venue.websocket_urls, policy),
        connects=Allowance(venue.limits.connects),
        messages=Allowance(with_room_for_pongs(venue.limits.messages)),
        rest=rest,
    )


@dataclass(frozen=True)
class ConnectionStatus:
    """One connection as it stands; times in microseconds, 0 for never."""

    connection: int
    url: str
    state: State
    frames: int
    bytes: int
    last_frame: int
    last_data: int


class Connection:
    """One connection from its handshake to its end."""

    def __init__(
        self,
        shared: Access,
        endpoint: Endpoint,
        instruments: Sequence[Instrument],
        intake: Intake,
        policy: Policy,
        logger: Any,
    ) -> None:
        self.shared, self.endpoint, self.intake, self.policy = shared, endpoint, intake, policy
        self.instruments = instruments
        self.by_native = {each.native: each for each in instruments}
        self.wishes = shared.venue.subscribe(instruments)
        # Who must say at once what he wants waits for his turn before he connects.
        self.is_hurried = shared.venue.limits.mute_seconds is not None and bool(self.wishes)
        self.classify = shared.venue.classify
        self.id = intake.new_connection()
        self.logger = logger.bind(connection=self.id)
        self.watch = Watch(shared.rest, self.by_native, intake, policy=policy, logger=self.logger)
        self.state: State = "connecting"
        self.frames = self.data = self.bytes = self.last_frame = self.last_data = self.said = 0
        self.healthy = 0  # how often it has proved well
        self.asked = asyncio.Event()  # for all that we want
        self.answered = 0.0  # when the venue last said yes or no to it
        self.rotate = asyncio.Event()
        self.problem: Problem | None = None
        self.socket: Socket
        self.opened = 0.0

    async def open(self) -> Problem | None:
        """Connect; what went wrong, if it did. Nothing may be awaited once the socket is ours to close."""
        self.endpoint.breaker.begin(asyncio.get_running_loop().time())
        if self.is_hurried:
            await wait_for(self.shared.messages)
        await wait_for(self.shared.connects)
        url = self.endpoint.url.rstrip("/") + self.shared.venue.connect_path
        try:
            self.socket = await open_socket(url, self.deliver, policy=self.policy, clock=self.intake.clock)
        except EXPECTED as error:
            self.state = "closed"
            return connection_problem(error)
        self.begin()
        self.intake.add(self.socket)
        return None

    def begin(self) -> None:
        """It is open, as its first message or the end of the handshake says, whichever is seen first."""
        if self.state == "connecting":
            self.state, self.opened = "open", asyncio.get_running_loop().time()
            self.note("opened")

    def deliver(self, received: int, payload: bytes) -> None:
        """Number a message and hand it over."""
        if not self.frames:
            self.begin()
        self.frames += 1
        self.bytes += len(payload)
        self.last_frame = received
        kind = self.classify(payload)
        self.intake.put(received, self.id, self.frames, kind, payload)
        if kind == "data":
            self.data += 1
            self.last_data = received
            if self.watch.unheard:
                self.watch.hear(payload)
        else:
            self.read_control(received, payload)

    def read_control(self, received: int, payload: bytes) -> None:
        """Act on a shutdown notice; repeat what the venue refuses."""
        # For the decoder only: the journal numbers its own.
        frame = Frame(self.shared.venue.name, "", 0, self.id, self.frames, received, "control", payload)
        for record in self.shared.venue.decode(frame, self.by_native):
            if not isinstance(record, Control):
                continue
            if record.what in ANSWERS:
                self.answered = asyncio.get_running_loop().time()
            if record.what == "shutdown":
                self.logger.info("shutdown announced", detail=record.detail[:200])
                self.rotate.set()
            elif record.what in ("refused", "error") and self.said < SAID_MAX:
                self.said += 1
                self.logger.warning(
                    f"venue says {record.what}", symbol=record.symbol, detail=record.detail[:200]
                )

    async def run(self) -> Problem:
        """Subscribe and watch until it ends; why it did."""
        async with asyncio.TaskGroup() as group:
            works = (self.subscribe(), self.watch_peer(), self.watch_data())
            watchers = [group.create_task(work) for work in works]
            said = await ended(self.socket)
            for watcher in watchers:
                watcher.cancel()
        problem = self.problem or said
        self.state = "closed"
        self.intake.sockets.discard(self.socket)
        self.note("closed", problem)
        return problem

    async def subscribe(self) -> None:
        """Ask for what we want, within the venue's message budget."""
        for number, message in enumerate(self.wishes):
            if number or not self.is_hurried:
                await wait_for(self.shared.messages)
            self.socket.say(message)
        self.asked.set()

    async def delivers(self) -> bool:
        """Whether it brings in good time all that it was asked for, or some of it where nobody answers."""
        now = asyncio.get_running_loop().time
        await self.asked.wait()
        asked, before, patience = now(), self.data, self.policy.delivery_seconds
        while now() < asked + patience:
            came = self.answered > asked if self.answered else self.data > before
            if came and now() > self.answered + SETTLE_PART * patience:
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def watch_peer(self) -> None:
        """Ask a silent peer once, then give it up; tell when rotation is due and health proved."""
        now = asyncio.get_running_loop().time
        limit = silence_limit(self.shared.venue.limits, self.policy)
        due = rotation_due(self.opened, self.shared.venue.limits, self.policy)
        asked = 0.0
        while True:
            await asyncio.sleep(min(1.0, limit / 10))
            silent = self.socket.silent_seconds()
            if silent >= limit:
                self.give_up(Problem("silent", f"not a byte for {silent:.1f} s"))
            elif (
                silent >= limit / 2
                and asked != self.socket.last_byte
                and not self.shared.messages.delay(now())
            ):
                asked = self.socket.last_byte
                self.shared.messages.take(now())
                self.socket.say(self.shared.venue.keep_alive(self.intake.clock()))
            if due is not None and now() >= due:
                self.rotate.set()
            proved = (self.healthy + 1) * self.policy.healthy_seconds
            if now() >= self.opened + proved and (self.data or self.watch.is_quiet):
                self.healthy += 1
                self.endpoint.breaker.succeed()

    async def watch_data(self) -> None:
        """Leave a stream that is dead: at once where it is all silent, else when the next one is open."""
        if not self.policy.idle_seconds or not self.instruments:
            return
        problem = await self.watch.until_dead()
        if self.watch.is_mute:
            self.give_up(problem)
        else:
            self.problem = problem
            self.rotate.set()

    def give_up(self, problem: Problem) -> None:
        """End it without a goodbye that nobody would answer."""
        self.problem = self.problem or problem
        self.socket.abort()

    async def close(self, why: str) -> None:
        """End it politely, for a reason of ours."""
        self.problem = self.problem or Problem("closed", why)
        await self.socket.close()

    def note(self, what: Literal["opened", "refused", "closed"], problem: Problem | None = None) -> None:
        """Write the event into the journal."""
        kind, detail = problem or ("", "")
        event = ConnectionEvent(what, self.id, self.endpoint.url, kind, detail)
        self.intake.note("connection", msgspec.json.encode(event))

    def status(self) -> ConnectionStatus:
        """How it stands."""
        held = self.state == "open" and bool(self.intake.brakes)
        state: State = "held" if held else self.state
        return ConnectionStatus(
            self.id, self.endpoint.url, state, self.frames, self.bytes, self.last_frame, self.last_data
        )


async def wait_for(allowance: Allowance) -> None:
    """Take one of an allowance, when it is there."""
    now = asyncio.get_running_loop().time
    # Who is woken first takes; the others look again.
    while delay := allowance.delay(now()):  # noqa: ASYNC110  # the time is known, an event would add nothing
        await asyncio.sleep(delay)
    allowance.take(now())
