"""The REST server speaks HTTP/1.1 to whoever does, and survives whoever does not."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from simulator.server import SimulatedVenues, running

SECONDS_MAX = 10.0


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedVenues]:
    # A day, so that no new minute begins to count anew in the middle of a test.
    rules = {"binance": {"rest": (6_000, 86_400.0)}}
    with running(seed=1, rate=0, venues=("binance",), rules=rules) as served:
        yield served


def exchange(sim: SimulatedVenues, request: bytes) -> bytes:
    """Everything that comes back until the server closes."""
    host, port = sim.rest_url("binance").removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS_MAX) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65_536), b""))


PING = b"GET /api/v3/ping HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n"
    b"Connection: keep-alive\r\nX-MBX-USED-WEIGHT: %d\r\nX-MBX-USED-WEIGHT-1M: %d\r\n\r\n{}"
)


def test_many_requests_on_one_connection_are_answered_in_order(sim: SimulatedVenues) -> None:
    used = int(sim.servers["binance"].allowance.used)
    answers = exchange(sim, PING * 3)
    assert answers == b"".join(ANSWER % (used + one, used + one) for one in (1, 2, 3))


def test_the_connection_ends_when_the_client_wants_it(sim: SimulatedVenues) -> None:
    request = b"GET /api/v3/ping HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert b"\r\nConnection: close\r\n" in (answer := exchange(sim, request + PING))
    assert answer.count(b"HTTP/1.1 200") == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\x00",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
    ],
)
def test_what_is_no_http_is_closed_and_harms_nobody(sim: SimulatedVenues, request_bytes: bytes) -> None:
    with suppress(ConnectionError):  # closed before it had read everything
        assert exchange(sim, request_bytes) == b""
    assert b"200 OK" in exchange(sim, PING)
