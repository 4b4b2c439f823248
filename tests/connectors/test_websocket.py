"""Sockets against a peer that may send any bytes: what is delivered, and why a connection ended."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import TapeError
from connectors.resilience import Policy, Problem
from connectors.websocket import EXPECTED, Socket, connection_problem, ended, open_socket

CLOCK = 1_753_795_200_123_456

# A throw-away certificate for localhost that nobody signed but itself.
CERTIFICATE = Path(__file__).parent / "localhost.pem"


def message(payload: bytes, head: int = 0x81) -> bytes:
    """One unmasked piece of a message; the default is a whole text message."""
    if len(payload) < 126:
        return bytes((head, len(payload))) + payload
    return bytes((head, 127)) + len(payload).to_bytes(8) + payload


async def open_to(port: int, policy: Policy, got: list[tuple[int, bytes]], *, scheme: str = "ws") -> Socket:
    def deliver(received: int, payload: bytes) -> None:
        got.append((received, payload))

    url = f"{scheme}://localhost:{port}/stream"
    return await open_socket(url, deliver, policy=policy, clock=lambda: CLOCK)


def outcome(
    peer: Any,
    policy: Policy,
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    **how: Any,
) -> tuple[list[bytes], Problem, float]:
    """What was delivered, why it ended, and how long that took."""

    async def main() -> tuple[list[bytes], Problem, float]:
        got: list[tuple[int, bytes]] = []
        async with peer(script, **how) as port:
            began = time.monotonic()
            try:
                opened = await open_to(port, policy, got, scheme="wss" if how.get("tls") else "ws")
            except EXPECTED as error:
                return [], connection_problem(error), time.monotonic() - began
            problem = await ended(opened)
            return [payload for _, payload in got], problem, time.monotonic() - began

    return asyncio.run(main())


def sends(*pieces: bytes, then: float = 0.0) -> Any:
    """A peer that sends this, waits so long, and ends."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(pieces))
        await writer.drain()
        await asyncio.sleep(then)

    return script


ENDED = Problem("cut", "EOFError: unexpected end of stream")
TORN = Problem("cut", "EOFError: stream ends after 2 bytes, expected 7 bytes")
LONG = Problem("oversize", "1009 frame with 1001 bytes exceeds limit of 1000 bytes")
LONG_TOGETHER = Problem(
    "oversize", "1009 frame with 600 bytes after reading 600 bytes exceeds limit of 1000 bytes"
)
LONG_PING = bytes((0x89, 126)) + (300).to_bytes(2) + b"x" * 300


def refusal(text: str) -> Problem:
    return Problem("protocol", f"1002 {text}")


@pytest.mark.parametrize(
    ("pieces", "delivered", "problem"),
    [
        ([message(b'{"a":1}'), message(b"2", 0x82)], [b'{"a":1}', b"2"], ENDED),
        ([message(b"ab", 0x01), message(b"cd", 0x00), message(b"ef", 0x80)], [b"abcdef"], ENDED),
        ([message(b"ab", 0x01), message(b"p", 0x89), message(b"cd", 0x80)], [b"abcd"], ENDED),
        ([message(b"", 0x01), message(b"", 0x00) * 5_000, message(b"x", 0x80)], [b"x"], ENDED),
        ([message(b"\xff\xfe{")], [b"\xff\xfe{"], ENDED),
        ([message(b'{"a":1}')[:4]], [], TORN),
        ([message(b"\x03\xf4restart", 0x88)], [], Problem("closed", "1012 restart")),
        ([message(b"", 0x88)], [], Problem("closed", "1005")),
        ([message(b"1", 0xC1)], [], refusal("reserved bits must be 0")),
        ([bytes((0x81, 0x81)) + b"mask1"], [], refusal("incorrect masking")),
        ([message(b"1", 0x83)], [], refusal("invalid opcode")),
        ([message(b"1", 0x80)], [], refusal("unexpected continuation frame")),
        ([LONG_PING], [], refusal("control frame too long")),
        ([message(b"x" * 1_001)], [], LONG),
        ([message(b"x" * 600, 0x01), message(b"x" * 600, 0x80)], [], LONG_TOGETHER),
    ],
    ids=["text and binary", "pieces", "a ping between pieces", "a flood of empty pieces", "bad UTF-8",
         "cut in a frame", "close code", "close without code", "reserved bits", "masked by a server",
         "unknown opcode", "a piece of nothing", "oversized ping", "oversized", "oversized in pieces"],
)  # fmt: skip
def test_what_comes_is_delivered_whole_or_ends_the_connection(
    pieces: list[bytes], delivered: list[bytes], problem: Problem, peer: Any, policy: Policy
) -> None:
    small = replace(policy, frame_bytes_max=1_000)
    got, why, _ = outcome(peer, small, sends(*pieces, then=0.05))
    assert (got, why) == (delivered, problem)


def test_every_message_of_a_read_has_its_time(peer: Any, policy: Policy) -> None:
    async def main() -> list[tuple[int, bytes]]:
        got: list[tuple[int, bytes]] = []
        async with peer(sends(message(b"1"), message(b"2"))) as port:
            await ended(await open_to(port, policy, got))
        return got

    assert asyncio.run(main()) == [(CLOCK, b"1"), (CLOCK, b"2")]


def test_a_goodbye_that_nobody_answers_is_short(peer: Any, policy: Policy) -> None:
    """After our refusal this peer neither agrees nor ends."""
    small = replace(policy, frame_bytes_max=1_000)
    _, why, took = outcome(peer, small, sends(message(b"x" * 1_001), then=5.0))
    assert why.kind == "oversize"
    assert took < 2 * policy.close_seconds + 0.3


def head(status_line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status_line}", *headers, "", ""]).encode()


def status(code: int) -> Problem:
    return Problem("http_status", f"HTTP {code} instead of an upgrade")


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (head("502 Bad Gateway", "Content-Length: 6") + b"<html>", status(502)),
        (head("302 Found", "Location: ws://localhost:1/", "Content-Length: 0"), status(302)),
        (head("200 OK", "Content-Length: 0"), status(200)),
        (
            head("101 Yes", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Accept: no"),
            Problem("protocol", "invalid Sec-WebSocket-Accept header: no"),
        ),
        (b"220 mail.example.com ESMTP\r\n\r\n", Problem("protocol", "did not receive a valid HTTP response")),
    ],
    ids=["502", "redirect", "no upgrade", "wrong accept", "not HTTP"],
)  # fmt: skip
def test_what_is_no_upgrade_has_its_own_message(
    answer: bytes, problem: Problem, peer: Any, policy: Policy
) -> None:
    assert outcome(peer, policy, sends(answer, then=0.05), upgrades=False)[1] == problem


def test_a_connection_reset_during_the_handshake_is_a_cut(peer: Any, policy: Policy) -> None:
    assert outcome(peer, policy, sends(), upgrades=False)[1].kind == "cut"


def test_a_handshake_that_does_not_end_is_given_up(peer: Any, policy: Policy) -> None:
    quick = replace(policy, open_seconds=0.2)
    _, why, took = outcome(peer, quick, sends(then=5.0), upgrades=False)
    assert why.kind == "timeout"
    assert 0.2 <= took < 1.0


def test_nobody_listening_is_a_refusal(policy: Policy) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(EXPECTED) as failed:
            asyncio.run(open_to(port, policy, []))
    assert connection_problem(failed.value).kind == "refused"


def test_a_name_that_cannot_be_is_unresolved(policy: Policy) -> None:
    url = f"wss://{'a' * 64}.example"
    with pytest.raises(EXPECTED) as failed:
        asyncio.run(open_socket(url, lambda *_: None, policy=policy, clock=lambda: CLOCK))
    assert connection_problem(failed.value).kind == "unresolved"


def test_a_certificate_that_nobody_vouches_for_is_refused(peer: Any, policy: Policy) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    got, why, _ = outcome(peer, policy, sends(message(b"1")), tls=tls)
    assert (got, why.kind) == ([], "tls")
    assert "CERTIFICATE_VERIFY_FAILED" in why.text


def test_a_certificate_that_the_system_trusts_is_accepted(
    peer: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same certificate: so it was the checking that refused it above."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERTIFICATE)
    got, _, _ = outcome(peer, policy, sends(message(b"1"), then=0.05), tls=tls)
    assert got == [b"1"]


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment without any word about proxies."""
    for name in ("all_proxy", "http_proxy", "https_proxy", "no_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_a_proxy_that_refuses_is_named_as_such(
    peer: Any, policy: Policy, no_proxy: pytest.MonkeyPatch
) -> None:
    async def main() -> Problem:
        refuses = sends(head("407 Proxy Authentication Required", "Content-Length: 0"), then=0.05)
        async with peer(refuses, upgrades=False) as port:
            no_proxy.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            with pytest.raises(EXPECTED) as failed:
                await open_socket(
                    "wss://stream.example.com", lambda *_: None, policy=policy, clock=lambda: CLOCK
                )
        return connection_problem(failed.value)

    assert asyncio.run(main()) == Problem("proxy", "proxy rejected connection: HTTP 407")


def test_what_stays_on_this_machine_never_takes_a_proxy(
    peer: Any, policy: Policy, no_proxy: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        no_proxy.setenv(name, "http://127.0.0.1:9")
    got, _, _ = outcome(peer, policy, sends(message(b"1"), then=0.05))
    assert got == [b"1"]


def test_what_leaves_this_machine_is_encrypted(policy: Policy) -> None:
    with pytest.raises(TapeError, match=r"refused to talk to stream\.example\.com without encryption"):
        asyncio.run(
            open_socket("ws://stream.example.com", lambda *_: None, policy=policy, clock=lambda: CLOCK)
        )


def test_a_bug_is_not_called_weather() -> None:
    with pytest.raises(KeyError):
        connection_problem(KeyError("bug"))


def test_a_paused_socket_holds_the_peer_back_and_is_not_silent(peer: Any, policy: Policy) -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(message(b"x" * 60_000))
            sent += 1
            await writer.drain()
            await asyncio.sleep(0)

    async def main() -> tuple[int, int, float]:
        got: list[tuple[int, bytes]] = []
        async with peer(flood) as port:
            opened = await open_to(port, policy, got)
            opened.pause()
            await asyncio.sleep(0.2)
            before = sent
            await asyncio.sleep(0.3)
            stuck, silent = sent - before, opened.silent_seconds()
            opened.resume()
            async with asyncio.timeout(10):
                while len(got) <= before:  # noqa: ASYNC110  # nothing tells us
                    await asyncio.sleep(0.01)
            opened.abort()
            await ended(opened)
        return before, stuck, silent

    before, stuck, silent = asyncio.run(main())
    assert before > 0
    assert stuck == 0
    assert silent < 0.1


def test_silence_is_counted_without_the_time_in_which_we_did_not_listen(peer: Any, policy: Policy) -> None:
    """The loop's clock is moved by hand, by far more than this takes."""

    async def main() -> list[float]:
        ahead = 0.0
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + ahead  # type: ignore[method-assign]
        silent = []
        async with peer(sends(then=100_000.0)) as port:
            opened = await open_to(port, policy, [])
            ahead += 1_000
            opened.pause()
            ahead += 10_000
            silent.append(opened.silent_seconds())
            opened.resume()
            silent.append(opened.silent_seconds())
            ahead += 1_000
            silent.append(opened.silent_seconds())
            opened.abort()
            await ended(opened)
        return silent

    assert [round(seconds, -3) for seconds in asyncio.run(main())] == [1_000, 1_000, 2_000]


def test_what_we_say_reaches_the_peer_masked_and_a_ping_is_answered(peer: Any, policy: Policy) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            head, size = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            body = await reader.readexactly(size & 0x7F)
            heard.append(bytes((head,)) + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)))
        writer.write(message(b"", 0x8A))

    async def main() -> None:
        async with peer(listen) as port:
            opened = await open_to(port, policy, [])
            opened.say(b'{"method":"SUBSCRIBE"}')
            opened.say(None)
            await ended(opened)
            opened.say(b"too late")

    asyncio.run(main())
    assert heard == [b'\x81{"method":"SUBSCRIBE"}', b"\x89"]
