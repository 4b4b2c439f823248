"""What a process says of itself over HTTP: /metrics, /healthz, /readyz. Reads, never changes anything.

One answer serves everybody who asks within a moment, and few are answered at a time: however many ask, what
they cost the rest of the process is bounded.
"""

import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Lock, Thread
from time import monotonic
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

# An answer takes some milliseconds of the one interpreter; ten a second are not felt.
FRESH_SECONDS = 0.1
# A scraper that does not send or take a line for so long is not going to.
PATIENCE_SECONDS = 5.0
# How long `stop` may wait for the thread to look up.
STOP_SECONDS = 0.1
# Threads that answer, so that some slow ones do not keep others out; who comes later waits in the queue.
ANSWERING_MAX = 64
WAITING_MAX = 256
TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

Answer = tuple[HTTPStatus, str, bytes]


class Serving:
    """The server of one process, in threads of its own."""

    def __init__(
        self, *, host: str, port: int, registry: CollectorRegistry, unready: Callable[[], list[str]]
    ) -> None:
        self._registry = registry
        self._unready = unready
        self._turn = Lock()
        self._made: dict[str, tuple[float, bytes]] = {}
        self._server = open_server(host, port, self.answer)
        self._thread = Thread(
            target=self._server.serve_forever, args=(STOP_SECONDS,), name="serving", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it is found."""
        host, port = self._server.server_address[:2]
        name = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"http://{name}:{port}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, accepted: str) -> Answer:
        """What is said to a question."""
        match path.partition("?")[0]:
            case "/metrics":
                encode, kind = choose_encoder(accepted)
                return HTTPStatus.OK, kind, self._metrics(kind, lambda: encode(self._registry))
            case "/healthz":
                return HTTPStatus.OK, TEXT, b"alive\n"
            case "/readyz":
                reasons = self._unready()
                status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
                body = json.dumps({"ready": not reasons, "reasons": reasons}).encode() + b"\n"
                return status, JSON, body
        return HTTPStatus.NOT_FOUND, TEXT, b"there are /metrics, /healthz and /readyz\n"

    def _metrics(self, kind: str, make: Callable[[], bytes]) -> bytes:
        """The metrics, at most FRESH_SECONDS old."""
        with self._turn:
            made, text = self._made.get(kind, (0.0, b""))
            if not text or monotonic() - made > FRESH_SECONDS:
                text = make()
                self._made = {kind: (monotonic(), text)}
            return text


def open_server(host: str, port: int, answer: Callable[[str, str], Answer]) -> "Server":
    """A server at that port, else, where somebody has it already, at any: capture must not fail of it."""

    class Handler(Conversation):
        answered = staticmethod(answer)

    try:
        return Server((host, port), Handler)
    except OSError:
        if not port:
            raise
        return Server((host, 0), Handler)


class Server(ThreadingHTTPServer):
    """A thread for each of the few who are answered at a time."""

    daemon_threads = True
    request_queue_size = WAITING_MAX

    def __init__(self, *given: Any) -> None:
        self._places = BoundedSemaphore(ANSWERING_MAX)
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Wait for a place; a conversation ends within its patience."""
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Have the conversation, and leave the place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that went away is nobody's failing; anything else is ours."""
        if not isinstance(sys.exception(), OSError):
            structlog.get_logger().exception("an answer failed")


class Conversation(BaseHTTPRequestHandler):
    """One question and its answer."""

    timeout = PATIENCE_SECONDS
    server_version, sys_version = "tape", ""
    answered: Callable[[str, str], Answer]

    def do_GET(self) -> None:
        status, kind, body = self.answered(self.path, self.headers.get("Accept") or "")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815  # the library's word

    def log_message(self, *_: Any) -> None:
        """Who asks how we are is not worth a line."""
