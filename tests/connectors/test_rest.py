"""Questions over real HTTP: budgets, bans, breakers, other URLs, and answers that are no answers."""

import asyncio
import gzip
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from connectors import rest as rest_module
from connectors.resilience import Policy
from connectors.rest import Answer, Rest, Unanswered, request_problem
from connectors.venues import VENUES
from connectors.venues.protocol import Budget, Request, Venue

BINANCE = VENUES["binance"]
TRADES = Request("/api/v3/trades", (("symbol", "BTCUSDT"), ("limit", "1")), weight=25)


def venue(*urls: str, rest: Budget = BINANCE.limits.rest) -> Venue:
    return replace(BINANCE, rest_urls=urls, limits=replace(BINANCE.limits, rest=rest))


def http(status: str, body: bytes = b"", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body


class Host:
    """A peer that answers each request with the next of these, the last one for ever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[float, str]] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            self.asked.append((time.monotonic(), line.decode().split()[1]))
            writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            await writer.drain()


def ask(
    peer: Any,
    policy: Policy,
    *hosts: Any,
    times: int = 1,
    patience: float = 5.0,
    limit: Budget = BINANCE.limits.rest,
    look: Callable[[Rest], Any] = lambda _: None,
) -> tuple[list[Answer | Unanswered], Any]:
    """The answers to the same question, asked so many times, of the hosts in order of preference."""

    async def main() -> tuple[list[Answer | Unanswered], Any]:
        got: list[Answer | Unanswered] = []
        async with asyncio.TaskGroup():
            servers = [peer(host, upgrades=False) for host in hosts]
            ports = [await server.__aenter__() for server in servers]
            urls = [f"http://127.0.0.1:{port}" for port in ports]
            async with Rest(venue(*urls, rest=limit), policy) as rest:
                for _ in range(times):
                    try:
                        got.append(await rest.ask(TRADES, patience_seconds=patience))
                    except Unanswered as error:
                        got.append(error)
                seen = look(rest)
            for server in servers:
                await server.__aexit__(None, None, None)
        return got, seen

    return asyncio.run(main())


def test_an_answer_has_its_status_headers_and_inflated_body(peer: Any, policy: Policy) -> None:
    host = Host(http("200 OK", gzip.compress(b"[1]"), Content_Encoding="gzip", X_Mbx_Used_Weight_1m="25"))
    [[answer], _] = ask(peer, policy, host)
    assert (answer.status, answer.body, answer.headers["x-mbx-used-weight-1m"]) == (200, b"[1]", "25")
    assert [what for _, what in host.asked] == ["/api/v3/trades?symbol=BTCUSDT&limit=1"]


def test_a_refusal_of_the_question_is_an_answer(peer: Any, policy: Policy) -> None:
    [[answer], _] = ask(peer, policy, Host(http("400 Bad Request", b'{"code":-1121}')))
    assert (answer.status, answer.body) == (400, b'{"code":-1121}')


@pytest.mark.parametrize(
    "status", ["500 Oops", "502 Bad Gateway", "403 Forbidden", "451 Unavailable", "302 Found"]
)
def test_where_one_host_is_not_well_the_venues_next_is_asked(status: str, peer: Any, policy: Policy) -> None:
    ill, well = Host(http(status, b"<html>", Location="http://127.0.0.1:1/")), Host(http("200 OK", b"[1]"))
    [[answer], _] = ask(peer, policy, ill, well)
    assert answer.body == b"[1]"
    assert (len(ill.asked), len(well.asked)) == (1, 1)


def test_each_host_that_is_asked_costs_the_venues_budget(peer: Any, policy: Policy) -> None:
    """Three times 25 for the first question; then there is nothing left for a second one."""
    hosts = [Host(http("500 Oops")), Host(http("502 Bad Gateway")), Host(http("200 OK", b"[1]"))]
    [answer, error], used = ask(
        peer, policy, *hosts, times=2, limit=Budget(count=75, seconds=600.0),
        look=lambda rest: rest.allowance.used,
    )  # fmt: skip
    assert isinstance(answer, Answer)
    assert answer.body == b"[1]"
    assert "has no budget left" in str(error)
    assert ([len(host.asked) for host in hosts], used) == ([1, 1, 1], 75)


def test_a_host_that_failed_three_times_rests_and_is_seen_to(peer: Any, policy: Policy) -> None:
    ill, well = Host(http("500 Oops")), Host(http("200 OK", b"[1]"))
    answers, states = ask(
        peer, replace(policy, breaker_seconds=60.0), ill, well, times=5,
        look=lambda rest: [each.breaker.state(rest.monotonic()) for each in rest.endpoints],
    )  # fmt: skip
    assert [answer.body for answer in answers] == [b"[1]"] * 5
    assert (len(ill.asked), len(well.asked)) == (3, 5)
    assert states == ["open", "closed"]


def test_when_no_host_answers_each_reason_is_told(peer: Any, policy: Policy) -> None:
    async def hangs_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readline()

    [[error], _] = ask(peer, policy, Host(http("500 Oops")), hangs_up)
    assert isinstance(error, Unanswered)
    assert [each.kind for each in error.problems] == ["http_status", "protocol"]
    assert str(error).startswith("binance does not answer: http_status: HTTP 500; protocol: ")


def test_nobody_listening_is_a_refusal(policy: Policy) -> None:
    async def main() -> None:
        async with Rest(venue("http://127.0.0.1:9"), policy) as rest:
            await rest.ask(TRADES)

    with pytest.raises(Unanswered, match="refused"):
        asyncio.run(main())


@pytest.mark.parametrize("status", ["429 Too Many Requests", "418 I'm a teapot"])
def test_a_ban_is_obeyed_to_the_second(status: str, peer: Any, policy: Policy) -> None:
    host = Host(http(status, Retry_After="1"), http("200 OK", b"[1]"))
    [[answer], _] = ask(peer, policy, host)
    [(first, _), (second, _)] = host.asked
    assert answer.body == b"[1]"
    assert 1.0 <= second - first < 2.0


@pytest.mark.parametrize(("status", "seconds"), [("429 Too Many Requests", 60), ("418 I'm a teapot", 120)])
def test_a_ban_without_an_end_lasts_as_long_as_the_shortest(
    status: str, seconds: int, peer: Any, policy: Policy
) -> None:
    [error], _ = ask(peer, policy, Host(http(status)))
    assert str(error).endswith(f"asked us to slow down, {seconds} s to go")


def test_a_ban_longer_than_the_patience_is_told_at_once_and_nobody_asks_meanwhile(
    peer: Any, policy: Policy
) -> None:
    host = Host(http("418 I'm a teapot", Retry_After="7200"))
    errors, _ = ask(peer, policy, host, times=3)
    assert [str(error) for error in errors] == [
        "binance does not answer: throttled: asked us to slow down, 7200 s to go"
    ] * 3
    assert len(host.asked) == 1


def test_a_venue_that_says_it_in_the_body_is_understood(peer: Any, policy: Policy) -> None:
    host = Host(http("200 OK", json.dumps({"code": -1003, "msg": "x"}, separators=(",", ":")).encode()))
    [[error], _] = ask(peer, policy, host)
    assert "asked us to slow down, 5 s to go" in str(error)


def test_the_weight_budget_holds_whoever_asks(peer: Any, policy: Policy) -> None:
    host = Host(http("200 OK", b"[1]"))
    ask(peer, policy, host, times=6, limit=Budget(count=50, seconds=0.4))
    times = [when for when, _ in host.asked]
    assert len(times) == 6
    assert max(sum(start <= each < start + 0.3 for each in times) for start in times) == 2


def test_an_answer_that_does_not_come_is_given_up(peer: Any, policy: Policy) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A byte now and then never ends a timeout between bytes.
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(100):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    began = time.monotonic()
    [[error], _] = ask(peer, replace(policy, answer_seconds=0.3), slow)
    assert "timeout" in str(error)
    assert time.monotonic() - began < 1.0


def test_a_bomb_is_not_inflated_to_its_end(
    peer: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest_module, "ANSWER_BYTES_MAX", 1_000_000)
    bomb = http("200 OK", gzip.compress(bytes(50_000_000)), Content_Encoding="gzip")
    [[error], _] = ask(peer, policy, Host(bomb))
    assert "an answer of more than 1000000 bytes" in str(error)


def test_the_simulators_own_limits_and_failures(venues: Any, policy: Policy) -> None:
    with venues(venues=["binance"]) as sim:

        async def main() -> list[int]:
            async with Rest(venue(sim.rest_url("binance")), policy) as rest:
                sim.rest_fail("binance", 429)
                return [(await rest.ask(TRADES)).status for _ in range(3)]

        assert asyncio.run(main()) == [200, 200, 200]
        assert sim.oracle["binance"].fired["rest_fail"] == 1
        assert [status for *_, status in sim.oracle["binance"].requests] == [429, 200, 200, 200]


def test_a_proxy_that_refuses_is_named_as_such(
    peer: Any, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    async def main() -> None:
        async with peer(Host(http("407 Proxy Authentication Required")), upgrades=False) as port:
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            async with Rest(venue("https://api.example.com"), policy) as rest:
                await rest.ask(TRADES)

    with pytest.raises(Unanswered, match="proxy: 407 Proxy Authentication Required"):
        asyncio.run(main())


def test_a_bug_is_not_called_weather() -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        request_problem(httpx2.UnsupportedProtocol("bug"))


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("ALL_PROXY", "socks5://user:canary-7d@127.0.0.1:9"),
        ("HTTPS_PROXY", "ftp://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:99999"),
        ("https_proxy", "127.0.0.1:9"),
    ],
)
def test_a_proxy_that_cannot_be_one_is_a_reason_why_nobody_answers(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, name: str, url: str
) -> None:
    monkeypatch.setenv(name, url)

    async def main() -> None:
        async with Rest(venue("https://api.example.com"), policy) as rest:
            await rest.ask(TRADES)

    with pytest.raises(Unanswered, match=rf"proxy: {name.lower()} of the environment is not") as told:
        asyncio.run(main())
    assert "canary" not in str(told.value)
