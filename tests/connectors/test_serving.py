"""The server as scrapers and orchestrators meet it: over real sockets, many at once, and rude ones."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.registry import Collector
from structlog.testing import capture_logs

from connectors import serving
from connectors.serving import Serving

SCRAPES = 100


class Counted(Collector):
    """How often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> Iterator[object]:  # type: ignore[override]
        self.asked += 1
        return iter(())


class Told:
    """A server with what it serves."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Counter("tape_frames", "Frames.", ["venue"], registry=self.registry)
        self.counted = Counted()
        self.registry.register(self.counted)
        self.reasons: list[str] = []
        self.server = Serving(host="127.0.0.1", port=0, registry=self.registry, unready=lambda: self.reasons)
        self.server.start()

    def get(self, path: str, accept: str = "", method: str = "GET") -> tuple[int, str, bytes]:
        connection = HTTPConnection(urlsplit(self.server.address).netloc, timeout=30)
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, answer.headers["Content-Type"], body


@pytest.fixture
def told() -> Iterator[Told]:
    one = Told()
    yield one
    one.server.stop()


def test_metrics_are_text_and_openmetrics_when_asked(told: Told) -> None:
    told.frames.labels("kraken").inc(3)
    status, kind, body = told.get("/metrics")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert b'tape_frames_total{venue="kraken"} 3.0' in body.splitlines()
    status, kind, body = told.get("/metrics", "application/openmetrics-text; version=1.0.0")
    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    families = list(open_metrics(body.decode()))  # type: ignore[no-untyped-call]
    assert [one.name for one in families] == ["tape_frames"]
    assert families[0].samples[0].labels == {"venue": "kraken"}


def test_ready_says_why_not(told: Told) -> None:
    assert told.get("/readyz") == (
        200,
        "application/json",
        b'{"ready": true, "reasons": []}\n',
    )
    told.reasons = ["kraken-0: catching up"]
    status, _, body = told.get("/readyz?verbose")
    assert (status, json.loads(body)) == (503, {"ready": False, "reasons": ["kraken-0: catching up"]})
    assert told.get("/healthz") == (200, "text/plain; charset=utf-8", b"alive\n")


def test_only_what_is_there_is_answered_and_nothing_can_be_changed(told: Told) -> None:
    assert told.get("/")[0] == 404
    assert told.get("/../etc/passwd")[0] == 404
    assert told.get("/metrics", method="POST")[0] == 501
    assert told.get("/healthz", method="HEAD") == (200, "text/plain; charset=utf-8", b"")


def test_a_hundred_scrapes_at_once_cost_what_few_cost(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "FRESH_SECONDS", 60.0)
    begin = threading.Barrier(SCRAPES)

    def scrape() -> int:
        begin.wait(timeout=30)
        return told.get("/metrics")[0]

    with ThreadPoolExecutor(SCRAPES) as pool:
        answers = [pool.submit(scrape) for _ in range(SCRAPES)]
    assert [one.result() for one in answers] == [200] * SCRAPES
    assert told.counted.asked == 1


def test_what_is_told_is_soon_told_again(told: Told) -> None:
    told.frames.labels("kraken").inc()
    deadline = time.monotonic() + 10
    told.get("/metrics")
    told.frames.labels("kraken").inc()
    while b"2.0" not in told.get("/metrics")[2]:
        assert time.monotonic() < deadline


def test_who_says_nothing_keeps_nobody_waiting(told: Told) -> None:
    address = urlsplit(told.server.address)
    assert address.port is not None
    silent = [socket.create_connection(("127.0.0.1", address.port)) for _ in range(20)]
    began = time.monotonic()
    assert told.get("/healthz")[0] == 200
    assert time.monotonic() - began < serving.PATIENCE_SECONDS / 2
    for one in silent:
        one.close()


def test_a_bug_in_an_answer_is_said_and_ends_nothing(told: Told) -> None:
    told.reasons = [b"not text"]  # type: ignore[list-item]
    deadline = time.monotonic() + 10
    with capture_logs() as logged:
        with pytest.raises(ConnectionError):
            told.get("/readyz")
        while not logged:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert [line["event"] for line in logged] == ["an answer failed"]
    assert told.get("/healthz")[0] == 200


def test_a_port_that_is_taken_is_replaced_by_a_free_one(told: Told) -> None:
    taken = urlsplit(told.server.address).port
    assert taken is not None
    other = Serving(host="127.0.0.1", port=taken, registry=told.registry, unready=list)
    other.start()
    assert urlsplit(other.address).port not in (taken, 0)
    other.stop()


def test_an_address_that_is_not_ours_is_an_error(told: Told) -> None:
    with pytest.raises(OSError, match="assign"):
        Serving(host="192.0.2.1", port=0, registry=told.registry, unready=list)
