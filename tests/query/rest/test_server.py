"""The sockets: where it listens and for whom, and patience with those who are slow."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from query.rest import server
from query.rest.keys import Keys
from query.rest.server import ServeError, Server, address_of, listen, server_of


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


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with as many bytes as the path says."""
    body = b"x" * int(scope["path"][1:])
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]}
    )
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that has little patience."""
    monkeypatch.setattr(server, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(Server, "capture_signals", lambda _: nullcontext())  # signals are of the main thread
    is_ready = threading.Event()
    listener = listen("127.0.0.1", 0, keys)
    one = server_of(app, ready=is_ready.set, stopping=lambda: None)
    thread = threading.Thread(target=one.run, args=([listener],))
    thread.start()
    assert is_ready.wait(30)
    yield listener.getsockname()[1]
    one.should_exit = True
    thread.join(30)
    assert not thread.is_alive()
    listener.close()


def get(port: int, size: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/{size}", timeout=30) as response:
        data: bytes = response.read()
        return data


def test_who_never_asks_is_cut_off_and_who_asks_meanwhile_is_answered(port: int) -> None:
    crowd = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(300)]
    slow = crowd.pop()
    slow.sendall(b"GET /1 HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert get(port, 3) == b"xxx"
    slow.settimeout(0.05)
    deadline = time.monotonic() + 30
    with suppress(OSError):  # cut off while something is still said
        while True:
            assert time.monotonic() < deadline
            slow.sendall(b"X-A: b\r\n")
            with suppress(TimeoutError):
                if slow.recv(1_000) == b"":
                    break
    for one in crowd:
        one.settimeout(30)
        with suppress(ConnectionResetError):
            assert one.recv(1) == b""
        one.close()
    slow.close()
    assert get(port, 2) == b"xx"


def test_who_takes_nothing_of_a_long_answer_is_cut_off_and_who_takes_it_slowly_is_not(port: int) -> None:
    size = 20_000_000
    greedy, slow = socket.socket(), socket.socket()
    for one in (greedy, slow):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        one.connect(("127.0.0.1", port))
        one.sendall(b"GET /%d HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % size)
    got = 0
    began = time.monotonic()
    while data := slow.recv(1_000_000):
        got += len(data)
        if time.monotonic() - began < 2:
            time.sleep(0.02)
    assert got > size
    slow.close()
    got = 0
    with suppress(ConnectionResetError):
        while data := greedy.recv(1_000_000):
            got += len(data)
    assert got < size
    greedy.close()
