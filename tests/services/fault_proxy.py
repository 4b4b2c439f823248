"""A TCP proxy that does to a connection what networks do: slow it, cut it, refuse it, lose an answer."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CHUNK_BYTES = 65_536
# With it a close is a reset: the peer learns at once, and not that all was well.
RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """What stands between a client and one port of this machine; every fault counts how often it struck."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.latency_seconds = 0.0  # of each piece, either way
        self.refusing = False
        self.silent = False  # everything arrives, nothing comes back
        self.refused = self.lost = self.passed = 0
        self._losing: bytes | None = None
        self._turn = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answer_to(self, request: bytes) -> None:
        """Let the next request with these bytes arrive, and reset the connection instead of its answer."""
        self._losing = request

    def refuse(self) -> None:
        """Cut everything, and let nobody in."""
        self.refusing = True
        self.cut()

    def cut(self) -> None:
        """Reset every connection."""
        with self._turn:
            for each in self._open:
                reset(each)
            self._open.clear()

    def heal(self) -> None:
        """Do no harm any more."""
        self.refusing = self.silent = False
        self.latency_seconds = 0.0

    def close(self) -> None:
        """End for good."""
        self.refusing = True
        # A thread that waits in accept holds the port: whoever knocks now wakes it.
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                self.refused += 1
                reset(client)
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                reset(client)
                continue
            with self._turn:
                self._open |= {client, server}
            Pair(self, client, server).start()

    def _closed(self, *ended: socket.socket) -> None:
        with self._turn:
            for each in ended:
                self._open.discard(each)
                reset(each)


class Pair:
    """One connection, and what is to become of it."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._losing = False

    def start(self) -> None:
        """Pass on what comes, both ways."""
        for pump in (self._requests, self._answers):
            threading.Thread(target=pump, daemon=True).start()

    def _requests(self) -> None:
        proxy = self._proxy
        for data in pieces(self._client):
            wanted = proxy._losing
            if wanted is not None and wanted in data:
                proxy._losing = None
                self._losing = True
            time.sleep(proxy.latency_seconds)
            if not sent(self._server, data):
                break
        proxy._closed(self._client, self._server)

    def _answers(self) -> None:
        proxy = self._proxy
        for data in pieces(self._server):
            if self._losing:
                proxy.lost += 1
                break
            if proxy.silent:
                continue
            time.sleep(proxy.latency_seconds)
            if not sent(self._client, data):
                break
            proxy.passed += len(data)
        proxy._closed(self._client, self._server)


def pieces(source: socket.socket) -> Iterator[bytes]:
    """What comes, until no more does."""
    while True:
        try:
            data = source.recv(CHUNK_BYTES)
        except OSError:
            return
        if not data:
            return
        yield data


def sent(target: socket.socket, data: bytes) -> bool:
    """Whether it could be passed on."""
    try:
        target.sendall(data)
    except OSError:
        return False
    return True


def reset(connection: socket.socket) -> None:
    """Close a connection as a crash would, and wake whoever waits for it."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RD)
    connection.close()


@contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """A proxy before that port."""
    proxy = FaultProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
