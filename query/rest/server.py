"""The API as a process: sockets, and patience with whoever is slow.

Where the port is taken another is: somebody who looks is told which.
"""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.errors import TapeError
from connectors.turns import take_short_turns
from query.rest.guard import is_loopback
from query.rest.keys import Keys

# How often a connection is looked at: who has asked or taken nothing since the last time is cut off.
PATIENCE_SECONDS = 10.0
# Between two requests of one client.
IDLE_SECONDS = 5
# Longer than any address of ours, and than what browsers send with it.
HEADER_BYTES_MAX = 16 * 1024
# Connections at a time; a page needs two.
CONNECTIONS_MAX = 512
WAITING_MAX = 256
# Whoever is being answered gets so long.
STOP_SECONDS = 3


class ServeError(TapeError):
    """The API cannot be served as asked."""


class Impatient(H11Protocol):
    """A connection that is cut off when nothing comes of it: headers that trickle, answers nobody takes."""

    _waiting = 0
    _idle_since: Any = False  # the request after which nothing had come when it was looked at last
    _looking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._looking = self.loop.call_later(PATIENCE_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._looking is not None:
            self._looking.cancel()

    def _look(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        is_idle = self.cycle is None or self.cycle.response_complete
        if (0 < self._waiting <= waiting) or (is_idle and not waiting and self._idle_since is self.cycle):
            self.transport.abort()
            return
        self._waiting = waiting
        self._idle_since = self.cycle if is_idle else False
        self._looking = self.loop.call_later(PATIENCE_SECONDS, self._look)


def listen(host: str, port: int, keys: Keys) -> socket.socket:
    """A socket at that port, else at a free one; never for others where nobody is asked for a key."""
    if not is_loopback(host) and not keys.all():
        hint = "`tape keys add NAME` makes one; or listen at 127.0.0.1"
        raise ServeError(f"{host} can be reached by others, and there are no keys", hint=hint)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise ServeError(f"{host} is no address of this machine: {error.strerror}") from error
    for wanted in (port, 0):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address[0], wanted, *address[2:]))
            listener.listen(WAITING_MAX)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES) or not wanted:
                raise ServeError(f"cannot listen at {host}:{wanted}: {error.strerror}") from error
        else:
            return listener
    raise AssertionError("the second time any port would do")


def address_of(listener: socket.socket) -> str:
    """Where it is found."""
    name: tuple[str, int] = listener.getsockname()[:2]
    host, port = name
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """A server that says when it answers, and for which a signal is an ordinary end."""

    def __init__(
        self, config: uvicorn.Config, ready: Callable[[], None], stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._ready, self._stopping = ready, stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(
    app: ASGIApp, listener: socket.socket, *, ready: Callable[[], None], stopping: Callable[[], None]
) -> None:
    """Answer until SIGINT or SIGTERM."""
    take_short_turns()
    server_of(app, ready=ready, stopping=stopping).run([listener])


def server_of(app: ASGIApp, *, ready: Callable[[], None], stopping: Callable[[], None]) -> Server:
    """A server of an app, with all its limits."""
    config = uvicorn.Config(
        app,
        http=Impatient,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # anybody can say that he is somebody else
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    return Server(config, ready, stopping)
