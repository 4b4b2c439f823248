"""The sockets: where it listens and for whom, and patience with those who are slow."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from query.rest.keys import Keys
from query.rest.server import PATIENCE_SECONDS, ServeError, address_of, listen
from tests.query.rest.conftest import Served


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


@pytest.fixture
def listeners() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_without_keys_nobody_else_is_listened_to(keys: Keys, host: str) -> None:
    with pytest.raises(ServeError, match="there are no keys") as told:
        listen(host, 0, keys)
    assert "tape keys add" in told.value.hint


def test_with_keys_others_may_come(keys: Keys, listeners: list[socket.socket]) -> None:
    keys.add("one", ("read",), 0)
    listeners.append(listen("0.0.0.0", 0, keys))
    assert address_of(listeners[0]).startswith("http://0.0.0.0:")


def test_a_port_that_somebody_has_is_replaced_by_a_free_one(
    keys: Keys, listeners: list[socket.socket]
) -> None:
    listeners.append(listen("127.0.0.1", 0, keys))
    taken = listeners[0].getsockname()[1]
    listeners.append(listen("127.0.0.1", taken, keys))
    assert listeners[1].getsockname()[1] not in (0, taken)


def test_an_address_of_another_machine_is_told(keys: Keys) -> None:
    keys.add("one", ("read",), 0)
    with pytest.raises(ServeError, match=r"cannot listen at 192\.0\.2\.1:0"):
        listen("192.0.2.1", 0, keys)
    with pytest.raises(ServeError, match="is no address"):
        listen("no.such.name.invalid", 0, keys)


def closed_after(connection: socket.socket, said: Callable[[socket.socket], None]) -> float:
    """How long it takes until a connection is cut off, while something is said on it."""
    began = time.monotonic()
    connection.settimeout(0.5)
    while time.monotonic() - began < 6 * PATIENCE_SECONDS:
        try:
            said(connection)
            if connection.recv(1_000) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"X-A: b\r\n")


def nothing(_: socket.socket) -> None:
    pass


@pytest.mark.timeout(200)
def test_who_never_asks_is_cut_off_and_who_asks_meanwhile_is_answered(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    crowd = [socket.create_connection((host, int(port)), 10) for _ in range(300)]
    slow = crowd.pop()
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    began = time.monotonic()
    assert served.get("/healthz").text == "alive\n"
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert closed_after(slow, trickle) < 5 * PATIENCE_SECONDS
    assert closed_after(crowd[0], nothing) < 5 * PATIENCE_SECONDS
    for one in crowd:
        one.settimeout(10)
        with suppress(ConnectionResetError):
            assert one.recv(1) == b""
        one.close()
    slow.close()


def test_who_takes_nothing_of_a_long_answer_is_cut_off(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        greedy.connect((host, int(port)))
        for _ in range(20):
            greedy.sendall(b"GET /v1/trades?limit=10000 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(2 * PATIENCE_SECONDS + 5)
        got = 0
        with suppress(ConnectionResetError):
            while data := greedy.recv(1_000_000):
                got += len(data)
    assert got < 20_000_000
    assert served.get("/healthz").status_code == 200
