"""One venue in service: its market, its connections, its REST answers, and what goes wrong with them."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise

from websockets.frames import Opcode

from connectors.faults import CONNECTION_FAULTS, Fault
from simulator.faults import CLOSE_CODES, RETENTION_TRADES, Chances, FrameFaults
from simulator.http import Asked
from simulator.market import Market, Moment
from simulator.oracle import ConnectionRecord, Sent, VenueOracle
from simulator.venues.protocol import (
    SECOND,
    Allowance,
    Face,
    Outgoing,
    Reply,
    Request,
    Response,
    Rules,
    Session,
    Stream,
)
from simulator.websocket import Client

# After a pause of ours the market catches up in steps, so that connections are served between them.
TRADES_PER_STEP_MAX = 20_000
HTML = {"Content-Type": "text/html"}


@dataclass(eq=False)
class Visitor:
    """A connection with all that the venue keeps about it."""

    client: Client
    session: Session
    record: ConnectionRecord
    chances: Chances
    faults: FrameFaults
    silent_until: int = 0  # no market data
    frozen_until: int = 0  # nothing at all
    messages: deque[int] = field(default_factory=deque)  # when the client sent something
    pinged: int = 0
    ponged: int = 0


class VenueServer:
    """Serves one face over one market."""

    def __init__(
        self,
        face: Face,
        market: Market,
        rules: Rules,
        faults: Mapping[str, Fault],
        seed: str,
        clock: Callable[[], int],
    ) -> None:
        self.face, self.market, self.rules, self.clock = face, market, rules, clock
        self.given, self.seed = faults, seed
        self.oracle = VenueOracle(market)
        self.allowance = Allowance(rules)
        self.visitors: dict[Client, Visitor] = {}
        self.chances = Chances(faults, f"{seed}:venue", self.oracle.fired)
        self.refuses = False
        self.drops = 0  # trades that no connection is to get
        self.stalled: dict[str, int] = {}  # until when each symbol is silent
        self.failures: deque[int] = deque()  # statuses of the next REST answers
        self.cuts: list[tuple[int, Visitor]] = []  # connections that end after a notice, and when
        self.numbers = 0

    # Connections

    def admit(self, client: Client, path: str) -> tuple[HTTPStatus, str] | None:
        now = self.clock()
        refusal = None
        if self.refuses:
            refusal = HTTPStatus.SERVICE_UNAVAILABLE, "closed for now\n"
        elif self.rules.connects is not None:
            count, seconds = self.rules.connects
            recent = sum(1 for time, _ in self.oracle.connects if now - time < seconds * SECOND)
            if recent >= count:
                refusal = HTTPStatus.TOO_MANY_REQUESTS, "too many connections\n"
        self.oracle.connects.append((now, refusal is None))
        if refusal is None:
            self.numbers += 1
            number, chances = (
                self.numbers,
                Chances(self.given, f"{self.seed}:{self.numbers}", self.oracle.fired),
            )
            chances.asked = self.chances.asked  # what somebody asks for, any connection may do
            record = ConnectionRecord(number, path, now)
            session = Session(number, now, path, sent=now, last_heartbeat=now)
            faults = FrameFaults(self.face.name, chances)
            self.visitors[client] = Visitor(client, session, record, chances, faults, pinged=now, ponged=now)
            self.oracle.connections.append(record)
        return refusal

    def opened(self, client: Client) -> None:
        visitor = self.visitors[client]
        self.obey(visitor, self.face.open(visitor.session, self.market, self.clock()))

    def received(self, client: Client, opcode: Opcode, data: bytes) -> None:
        visitor, now = self.visitors.get(client), self.clock()
        if visitor is None or not client.is_open:
            return
        if opcode is Opcode.PONG:
            visitor.ponged = now
        if self.rules.messages is not None:
            count, seconds = self.rules.messages
            visitor.messages.append(now)
            while now - visitor.messages[0] >= seconds * SECOND:
                visitor.messages.popleft()
            if len(visitor.messages) > count:
                client.close(1008, "Too many requests")
                return
        if opcode is Opcode.TEXT:
            visitor.record.messages.append(data.decode(errors="replace"))
            self.obey(visitor, self.face.receive(visitor.session, self.market, data, now))

    def lost(self, client: Client, code: int | None) -> None:
        visitor = self.visitors.pop(client)
        visitor.record.closed, visitor.record.close_code = self.clock(), code

    def obey(self, visitor: Visitor, reply: Reply) -> None:
        """Do what the face says; a frozen connection says nothing."""
        if reply.frames and visitor.frozen_until <= self.clock():
            frames = list(reply.frames)
            if visitor.client.send([one.payload if isinstance(one, Outgoing) else one for one in frames]):
                visitor.session.sent = self.clock()
                visitor.record.frames += len(frames)
                note(visitor.record, [one for one in frames if isinstance(one, Outgoing)])
        if reply.close is not None:
            visitor.client.close(*reply.close)

    # The market moves

    def step(self) -> bool:
        """Let the market move up to now and send what moved; True when it is not yet there."""
        moments = self.market.advance(now := self.clock(), TRADES_PER_STEP_MAX)
        self.deliver(moments, now)
        return self.market.now < now and bool(moments)

    def deliver(self, moments: Sequence[Moment], now: int) -> None:
        """Render once for each way of writing, then send each connection what it asked for."""
        forms: dict[tuple[bool, ...], list[Visitor]] = {}
        for visitor in self.visitors.values():
            forms.setdefault(visitor.session.form, []).append(visitor)
        audible = self.audible(moments, now)
        for form, visitors in forms.items():
            wanted: set[Stream] = set().union(*(one.session.streams for one in visitors))
            frames = self.face.render(form, wanted, audible) if wanted else []
            for visitor in visitors:
                streams = visitor.session.streams
                mine = (
                    frames
                    if len(streams) == len(wanted)
                    else [one for one in frames if one.stream in streams]
                )
                self.send(visitor, mine, now)

    def send(self, visitor: Visitor, frames: list[Outgoing], now: int) -> None:
        if max(visitor.silent_until, visitor.frozen_until) > now:
            return
        frames = visitor.faults.spoil(frames, now)
        if frames and visitor.client.send([one.payload for one in frames]):
            visitor.session.sent = now
            visitor.record.frames += len(frames)
            note(visitor.record, frames)

    def audible(self, moments: Iterable[Moment], now: int) -> Iterable[Moment]:
        """What the stream tells of what happened."""
        self.stalled = {native: until for native, until in self.stalled.items() if until > now}
        if self.stalled:
            moments = [one for one in moments if one.market.listing.native not in self.stalled]
        return [self.less(one) for one in moments] if self.drops else moments

    def less(self, moment: Moment) -> Moment:
        """The moment without the trades that somebody wanted dropped, where anybody would have got them."""
        stream = self.face.streams(moment.market.listing.native)[0]
        if not self.drops or not any(stream in one.session.streams for one in self.visitors.values()):
            return moment
        count = min(self.drops, len(moment.trades))
        self.drops -= count
        self.oracle.fired["drop"] += count
        passed = sum(before.price != after.price for before, after in pairwise(moment.trades[: count + 1]))
        return Moment(moment.market, moment.trades[count:], moment.first_aggregate + passed, moment.quote)

    # Time passes

    def tend(self) -> None:
        """Ten times a second: heartbeats, pings, deadlines."""
        now, rules = self.clock(), self.rules
        for due, visitor in [one for one in self.cuts if one[0] <= now]:
            visitor.client.close(1012, "service restart")
            self.cuts.remove((due, visitor))
        for visitor in list(self.visitors.values()):
            self.obey(visitor, self.face.tend(visitor.session, self.market, rules, now))
            if rules.lifetime is not None and now - visitor.session.opened >= rules.lifetime * SECOND:
                visitor.client.close(1001, "the connection has lived its time")
            elif rules.ping is not None and now - visitor.ponged >= (rules.ping + rules.pong) * SECOND:
                visitor.client.close(1011, "pong timeout")
            elif rules.ping is not None and now - visitor.pinged >= rules.ping * SECOND:
                visitor.pinged = now
                visitor.client.ping(str(now // 1_000).encode())

    def misbehave(self) -> None:
        """Once a second: the faults of connections and of the venue as a whole."""
        for visitor in list(self.visitors.values()):
            for name in CONNECTION_FAULTS:
                if visitor.chances.fires(name):
                    self.afflict(visitor, name, visitor.chances.seconds(name))
        natives = list(self.market.symbols)
        if self.chances.fires("stall"):
            until = self.clock() + int(self.chances.seconds("stall") * SECOND)
            self.stalled[self.chances.random.choice(natives)] = until
        if self.chances.fires("id_reset"):
            self.market.symbols[self.chances.random.choice(natives)].reset()
        if self.chances.fires("shutdown"):
            self.announce()

    def afflict(self, visitor: Visitor, name: str, seconds: float, code: int = 0) -> None:
        """Let one fault happen to one connection."""
        until = self.clock() + int(seconds * SECOND)
        if name == "freeze":
            visitor.frozen_until = until
        elif name == "freeze_data":
            visitor.silent_until = until
        elif name == "half_open":
            visitor.client.go_deaf(seconds)
        elif name == "cut":
            visitor.client.break_off(self.repeated(visitor))
        else:
            visitor.client.close(code or visitor.chances.random.choice(CLOSE_CODES), "")

    def repeated(self, visitor: Visitor) -> bytes:
        """A symbol's newest trade as this connection would get it; nothing before there is one."""
        native = next((native for _, native in visitor.session.streams), "")
        symbol = self.market.symbols.get(native) or self.market.order[0]
        moment = Moment(symbol, symbol.newest(1), symbol.next_aggregate, symbol.quote)
        wanted = self.face.streams(symbol.listing.native)[:1]
        frames = self.face.render(visitor.session.form, wanted, [moment]) if visitor.client.is_open else []
        return frames[0].payload if frames else b""

    def announce(self) -> bool:
        """Tell every connection that it will end, where this venue tells; then end those connections."""
        now = self.clock()
        for visitor in list(self.visitors.values()):
            words = self.face.notice(visitor.session, now)
            self.obey(visitor, Reply([words] if words else []))
            self.cuts.append((now + int(self.rules.notice * SECOND), visitor))
        return bool(self.visitors)

    # REST

    def answer(self, asked: Asked) -> tuple[float, Response | None]:
        """How many seconds to wait and what to answer; None stands for a reset."""
        delay = self.chances.seconds("rest_slow") if self.chances.fires("rest_slow") else 0.0
        response = self.failure() if not self.chances.fires("rest_reset") else None
        if response is not None and not response.status:
            response = self.truth(asked.request)
        self.oracle.requests.append((self.clock(), asked.target, response.status if response else 0))
        return delay, response

    def failure(self) -> Response:
        """The failure that is due; status 0 where none is."""
        if self.failures:
            self.oracle.fired["rest_fail"] += 1
            status = self.failures.popleft()
            headers = {"Retry-After": "1"} if status in {418, 429, 503} else {}
            return Response(status, b'{"code":-1000,"msg":"simulated failure"}', headers)
        if self.chances.fires("rest_error"):
            return Response(500, b'{"code":-1000,"msg":"internal error"}')
        if self.chances.fires("rest_throttle"):
            return Response(429, b'{"code":-1003,"msg":"too many requests"}', {"Retry-After": "1"})
        if self.chances.fires("rest_html"):
            return Response(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", HTML)
        return Response(0, b"")

    def truth(self, request: Request) -> Response:
        """What the venue answers when nothing is wrong, or when it has forgotten most of its history."""
        forgets = self.chances.fires("retention")
        kept = [one.shown_max for one in self.market]
        if forgets:
            for one in self.market:
                one.shown_max = RETENTION_TRADES
        response = self.face.answer(self.market, self.allowance, self.rules, request, self.clock())
        for one, before in zip(self.market, kept, strict=True):
            one.shown_max = before
        return response


def note(record: ConnectionRecord, frames: Iterable[Outgoing]) -> None:
    """Remember which trades went to this connection."""
    for frame in frames:
        if not frame.trades:
            continue
        sent = record.sent.setdefault(frame.market.listing.native, Sent())
        first, last = frame.trades[0].id, frame.trades[-1].id
        if last - first + 1 == len(frame.trades):
            sent.add(first, last)
        else:
            for trade in frame.trades:
                sent.add(trade.id, trade.id)
