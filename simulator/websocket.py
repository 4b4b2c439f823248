"""One client's WebSocket as the simulator holds it: handshake, frames both ways, and every way to break it.

The library's sans-I/O protocol reads what clients send; what we send is framed here, so that a batch of
frames is one write and a fault can put any bytes on the wire.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

CLIENT_MESSAGE_BYTES_MAX = 1024 * 1024
# A client that is this far behind would only make us grow; venues cut such a client too.
BEHIND_BYTES_MAX = 256 * 1024 * 1024
CLOSE_SECONDS = 1.0  # how long we wait for a client to agree to the end


class Wire(bytes):
    """Bytes that go on the wire as they are."""


class Venue(Protocol):
    """Who answers a client."""

    def admit(self, client: "Client", path: str) -> tuple[HTTPStatus, str] | None: ...
    def opened(self, client: "Client") -> None: ...
    def received(self, client: "Client", opcode: Opcode, data: bytes) -> None: ...
    def lost(self, client: "Client", code: int | None) -> None: ...


class Client(asyncio.Protocol):
    """A connection that somebody made to us."""

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.protocol = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory()], max_size=CLIENT_MESSAGE_BYTES_MAX
        )
        self.parts: list[bytes] = []
        self.deaf = False  # neither reads nor writes; the socket stays open
        self.failed = False  # ended without a close frame
        self.started = False
        self.ended_with: int | None = None
        self.writable = asyncio.Event()  # for whoever wants to send no faster than the client reads
        self.writable.set()
        self.ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        if self.ending:
            self.ending.cancel()
        if self.started:
            self.protocol.receive_eof()
            self.venue.lost(self, 1006 if self.failed else self.ended_with or self.protocol.close_code)

    def data_received(self, data: bytes) -> None:
        if self.deaf:
            return
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            if isinstance(event, Request):
                self.greet(event)
            elif isinstance(event, Frame):
                self.frame(event)
        self.flush()

    def eof_received(self) -> bool:
        self.protocol.receive_eof()
        return self.deaf

    def greet(self, request: Request) -> None:
        refusal = self.venue.admit(self, request.path)
        response = self.protocol.reject(*refusal) if refusal else self.protocol.accept(request)
        self.protocol.send_response(response)
        self.flush()
        if self.protocol.state is OPEN:
            self.started = True
            self.venue.opened(self)

    def frame(self, frame: Frame) -> None:
        """Whole messages and protocol pings and pongs are the venue's; the library answers pings itself."""
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            self.parts.append(bytes(frame.data))
            if not frame.fin:
                return
            data, self.parts = b"".join(self.parts), []
            self.venue.received(self, Opcode.TEXT, data)
        elif frame.opcode in {Opcode.PING, Opcode.PONG}:
            self.venue.received(self, frame.opcode, bytes(frame.data))

    def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if self.deaf or self.transport.is_closing():
                continue
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    @property
    def is_open(self) -> bool:
        return self.protocol.state is OPEN and not self.transport.is_closing()

    def send(self, payloads: Sequence[bytes]) -> bool:
        """Send each as one frame; False where nobody can receive it."""
        if self.deaf or not self.is_open:
            return False
        if self.transport.get_write_buffer_size() > BEHIND_BYTES_MAX:
            self.break_off()
            return False
        self.transport.write(b"".join([part for one in payloads for part in (header(one), one)]))
        return True

    def ping(self, data: bytes) -> None:
        if self.is_open:
            self.protocol.send_ping(data)
            self.flush()

    def close(self, code: int, reason: str) -> None:
        """End with a close frame; 1006 is an end without one."""
        if code == 1006:
            self.break_off()
        elif self.is_open:
            self.ended_with = code
            self.protocol.send_close(code, reason)
            self.flush()
            self.ending = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abort)

    def break_off(self, rest: bytes = b"") -> None:
        """End without a close frame, after half of a frame where `rest` is one."""
        self.failed = True
        if rest and not self.deaf:
            framed = header(rest) + rest
            self.transport.write(framed[: len(framed) // 2])
        # Not abort: what was sent before the end has left us, as on a real network.
        self.transport.close()

    def go_deaf(self, seconds: float) -> None:
        """The peer that is gone without a word: no reading, no writing, no pong; the socket stays open."""
        if not self.deaf and not self.transport.is_closing():
            self.deaf = self.failed = True
            self.transport.pause_reading()
            self.ending = asyncio.get_running_loop().call_later(seconds, self.transport.abort)


def header(payload: bytes) -> bytes:
    """The frame header of one unmasked text message."""
    return b"" if isinstance(payload, Wire) else text_header(len(payload))


@lru_cache(maxsize=4_096)
def text_header(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    return b"\x81\x7e" + size.to_bytes(2) if size < 65_536 else b"\x81\x7f" + size.to_bytes(8)


async def serve(venue: Venue, host: str, port: int) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(factory(venue), host, port)


def factory(venue: Venue) -> Callable[[], Client]:
    return lambda: Client(venue)
