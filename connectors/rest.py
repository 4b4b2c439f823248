"""The only HTTP client to venues: asks within the venue's budget, obeys its bans, tries its other URLs."""

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from urllib.request import getproxies

import httpx2

from connectors.errors import TapeError
from connectors.resilience import (
    Allowance,
    Policy,
    Problem,
    endpoints,
    is_loopback,
    network_problem,
    retry_after,
    unusable_proxy,
)
from connectors.venues.protocol import Request, Venue

# The longest answer that we ask for, a list of all markets, is about 20 MiB once inflated.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
# A venue that says "too many" by status without saying until when counts by the minute; one that says it in
# an answer counts by the second.
BAN_SECONDS_DEFAULT = 60.0
# 418 is Binance's word for a ban, which lasts two minutes at least and grows with each question meanwhile.
WAIT_SECONDS = {200: 5.0, 418: 120.0}
# Says who asks, as venues wish it.
USER_AGENT = "tapekeeper"


class Answer(NamedTuple):
    """What a venue answered; the body is inflated."""

    status: int
    headers: dict[str, str]
    body: bytes


class Unanswered(TapeError):
    """No URL of the venue answered, or not within the patience of who asked."""

    def __init__(self, venue: str, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        said = "; ".join(f"{each.kind}: {each.text}" for each in problems) or "all endpoints rest"
        super().__init__(f"{venue} does not answer: {said}")


class Rest:
    """Questions to one venue, shared by all who ask it anything."""

    def __init__(
        self, venue: Venue, policy: Policy, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.venue = venue
        self.policy = policy
        self.monotonic = monotonic
        self.endpoints = endpoints(venue.rest_urls, policy)
        self.allowance = Allowance(venue.limits.rest)
        self.banned_until = 0.0
        # Proxies of the environment are for the world, never for this machine.
        is_local = all(is_loopback(url) for url in venue.rest_urls)
        self.obstacle = None if is_local else unusable_proxy(getproxies())
        self.client = httpx2.AsyncClient(
            verify=ssl.create_default_context(),
            timeout=policy.answer_seconds,
            trust_env=not is_local and self.obstacle is None,
            headers={"User-Agent": USER_AGENT},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.client.aclose()

    async def ask(self, request: Request, *, patience_seconds: float = 60.0) -> Answer:
        """The answer of the first URL that gives one, or Unanswered.

        Waits for the venue's budget and for the end of its bans, but no longer than the patience.
        """
        deadline = self.monotonic() + patience_seconds
        while True:
            await self.wait_for_turn(request.weight, deadline)
            answer = await self.ask_any(request)
            if not self.venue.throttled(answer.status, answer.body):
                return answer
            seconds = retry_after(answer.headers.get("retry-after"))
            if seconds is None:
                seconds = WAIT_SECONDS.get(answer.status, BAN_SECONDS_DEFAULT)
            self.banned_until = self.monotonic() + seconds

    async def wait_for_turn(self, weight: int, deadline: float) -> None:
        """Return when so much may be asked, having taken it, or raise Unanswered when that is too late."""
        while True:
            now = self.monotonic()
            wait = max(self.banned_until - now, self.allowance.delay(now, weight))
            if wait <= 0:
                self.allowance.take(now, weight)
                return
            if now + wait > deadline:
                banned = "asked us to slow down" if self.banned_until > now else "has no budget left"
                raise Unanswered(self.venue.name, [Problem("throttled", f"{banned}, {wait:.0f} s to go")])
            await asyncio.sleep(wait)

    async def ask_any(self, request: Request) -> Answer:
        """Ask each URL once, in order of preference, until one answers."""
        problems = [self.obstacle] if self.obstacle else []
        for endpoint in () if self.obstacle else self.endpoints:
            if endpoint.breaker.rest(self.monotonic()):
                continue
            endpoint.breaker.begin(self.monotonic())
            if problems:
                # The first try was paid for; the venue counts each.
                self.allowance.take(self.monotonic(), request.weight)
            try:
                answer = await self.get(endpoint.url, request)
            except (httpx2.HTTPError, TimeoutError) as error:
                problem: Problem | None = request_problem(error)
            else:
                problem = failed_status(answer)
            if problem is None:
                endpoint.breaker.succeed()
                return answer
            endpoint.breaker.fail(self.monotonic())
            problems.append(problem)
        raise Unanswered(self.venue.name, problems)

    async def get(self, url: str, request: Request) -> Answer:
        """One HTTP exchange."""
        body = bytearray()
        async with (
            asyncio.timeout(self.policy.answer_seconds),
            self.client.stream(
                "GET", url.rstrip("/") + request.path, params=request.query, headers=dict(request.headers)
            ) as response,
        ):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise httpx2.DecodingError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        return Answer(response.status_code, dict(response.headers), bytes(body))


def failed_status(answer: Answer) -> Problem | None:
    """Why another URL should be asked instead; None where the answer is for the asker to read."""
    # 403 and 451 are said by firewalls in front of one host; the others by a host that is not well.
    if answer.status in (403, 451) or answer.status >= 500 or 300 <= answer.status < 400:
        return Problem("http_status", f"HTTP {answer.status}")
    return None


def request_problem(error: Exception) -> Problem:
    """Why no answer came; an error that is not in this list is a bug and raised."""
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return Problem("timeout", "no answer in time")
    if isinstance(error, httpx2.ProxyError):
        return Problem("proxy", str(error)[:200])
    found = network_problem(error)
    if found:
        return found
    if isinstance(error, httpx2.ProtocolError | httpx2.DecodingError):
        return Problem("protocol", str(error)[:200])
    if isinstance(error, httpx2.NetworkError):
        return Problem("network", str(error)[:200])
    raise error
