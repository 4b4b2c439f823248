"""The only file that opens WebSockets: connects, hands over each message with its time, says why it ended.

What to send, when to give up and when to come back are decided by who holds the socket.
"""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    WebSocketException,
)
from websockets.frames import DATA_OPCODES, CloseCode
from websockets.frames import Frame as Piece
from websockets.protocol import OPEN, Event

from connectors.resilience import Policy, Problem, ProblemKind, checked, is_loopback, network_problem

# Called with the time in microseconds and the bytes of a message.
Deliver = Callable[[int, bytes], None]


class Socket(ClientConnection):
    """A client connection that delivers from the network's own callback: no task, no queue in between."""

    def __init__(self, *args: Any, deliver: Deliver, clock: Callable[[], int], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.deliver = deliver
        self.clock = clock
        self.received = 0
        self.last_byte = self.loop.time()
        self.paused_at: float | None = None
        self.pieces: bytearray | None = None
        self.closing: asyncio.TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        """Every message of a read has the time of the read."""
        self.received = self.clock()
        self.last_byte = self.loop.time()
        super().data_received(data)
        if self.protocol.state is not OPEN and self.response is not None and self.closing is None:
            # The library waits for the other's goodbye without limit unless somebody calls it.
            self.closing = self.loop.call_later(self.close_timeout or 0, self.transport.abort)

    def process_event(self, event: Event) -> None:
        """Join the pieces of a message; the library holds their sum to the size limit."""
        if not isinstance(event, Piece) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
        elif event.fin and self.pieces is None:
            self.deliver(self.received, bytes(event.data))
        else:
            self.pieces = self.pieces or bytearray()
            self.pieces += event.data
            if event.fin:
                whole, self.pieces = bytes(self.pieces), None
                self.deliver(self.received, whole)

    def say(self, message: bytes | None) -> None:
        """Send a message, or a ping, without waiting: what the system cannot take soon shows as silence."""
        if self.protocol.state is OPEN:
            if message is None:
                self.protocol.send_ping(b"")
            else:
                self.protocol.send_text(message)
            self.send_data()

    def pause(self) -> None:
        """Stop reading: the peer is held back by TCP itself."""
        if self.paused_at is None:
            self.paused_at = self.loop.time()
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on; the time in between was no silence of the peer's."""
        if self.paused_at is not None:
            self.last_byte += self.loop.time() - self.paused_at
            self.paused_at = None
            self.transport.resume_reading()

    def silent_seconds(self) -> float:
        """For how long we listened and heard nothing."""
        return (self.loop.time() if self.paused_at is None else self.paused_at) - self.last_byte

    def abort(self) -> None:
        """End it now, without a goodbye."""
        self.transport.abort()


class Attempt(connect):
    """One attempt to connect; where a venue sends us elsewhere is an answer, not an order."""

    def process_redirect(self, exc: Exception) -> Exception:
        """Never follow: only the venue's own URLs are tried."""
        return exc


async def open_socket(url: str, deliver: Deliver, *, policy: Policy, clock: Callable[[], int]) -> Socket:
    """An open connection that delivers at once; raises what `connection_problem` knows."""
    checked(url)
    is_secure = url.startswith("wss://")
    socket = await Attempt(
        url,
        compression=None,  # small messages gain little, and what is never inflated cannot be a bomb
        max_size=policy.frame_bytes_max,
        open_timeout=policy.open_seconds,
        close_timeout=policy.close_seconds,
        ping_interval=None,  # who holds the socket knows when reading is paused; the library does not
        proxy=None if is_loopback(url) else True,
        create_connection=partial(Socket, deliver=deliver, clock=clock),  # type: ignore[arg-type]
        ssl=ssl.create_default_context() if is_secure else None,
    )
    assert isinstance(socket, Socket)
    return socket


async def ended(socket: Socket) -> Problem:
    """Wait for the end of a connection and say why it came."""
    await socket.wait_closed()
    return connection_problem(socket.close_exc)


# What may be wrong with the network, a peer or a URL.
EXPECTED = (OSError, EOFError, UnicodeError, WebSocketException)


def connection_problem(error: Exception) -> Problem:
    """Why a connection ended or never began; an error that is not in this list is a bug and raised."""
    if isinstance(error, ConnectionClosed):
        return closed_problem(error)
    if isinstance(error, InvalidStatus):
        return Problem("http_status", f"HTTP {error.response.status_code} instead of an upgrade")
    if isinstance(error, ProxyError | InvalidProxy):
        return Problem("proxy", str(error)[:200])
    found = network_problem(error)
    if found:
        return found
    if isinstance(error, InvalidHandshake | InvalidMessage | InvalidURI):
        return Problem("protocol", str(error)[:200])
    raise error


def closed_problem(error: ConnectionClosed) -> Problem:
    """Who closed, with which code and words."""
    if error.sent and not error.rcvd_then_sent and error.sent.code in OUR_REFUSALS:
        kind: ProblemKind = "oversize" if error.sent.code == CloseCode.MESSAGE_TOO_BIG else "protocol"
        return Problem(kind, f"{error.sent.code} {error.sent.reason}"[:200])
    if error.rcvd:
        return Problem("closed", f"{error.rcvd.code} {error.rcvd.reason}".strip()[:200])
    cause = error.__cause__ and network_problem(error.__cause__)
    return Problem("cut", cause.text if cause else "no close frame")


OUR_REFUSALS = {CloseCode.MESSAGE_TOO_BIG, CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA}
