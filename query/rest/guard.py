"""What stands in front of every route: who asks, how often, how much; and what goes out with every answer.

Refusing is cheap: nothing is read, parsed or asked before it is decided.
"""

import asyncio
import binascii
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.log import get_logger
from query.rest.keys import Keys, KeysError
from query.rest.keys import Scope as Right
from query.rest.problems import problem

# A statement is at most some pages long, and nothing else has a body.
BODY_BYTES_MAX = 64 * 1024
# A client that does not send its body for so long is not going to.
BODY_SECONDS = 10.0
# Who was quiet may ask for so many seconds' worth at once.
BURST_SECONDS = 2.0
# What a statement costs of what a client may ask, compared with a question.
SQL_COST = 10.0
# Clients that are told apart; who asked longest ago is forgotten first, and has by then all he may have.
CLIENTS_MAX = 10_000

# Nothing comes from elsewhere, nobody frames us, and what we call text is text.
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="tape", Basic realm="tape"'}


class Rates:
    """How much each client may still ask: so much a second, and a little at once."""

    def __init__(self, each_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._each_second, self._now = each_second, now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # what is left, and since when

    def wait(self, client: str, cost: float) -> float:
        """How many seconds too early this is; 0 where it is not."""
        now = self._now()
        most = max(self._each_second * BURST_SECONDS, SQL_COST)
        left, since = self._left.pop(client, (most, now))
        left = min(most, left + (now - since) * self._each_second)
        early = max(0.0, (cost - left) / self._each_second)
        self._left[client] = (left if early else left - cost, now)
        if len(self._left) > CLIENTS_MAX:
            self._left.popitem(last=False)
        return early


class Guard:
    """An app with all that in front of it."""

    def __init__(self, app: ASGIApp, keys: Keys, rates: Rates, registry: CollectorRegistry) -> None:
        self._app, self._keys, self._rates = app, keys, rates
        self._seconds = Histogram(
            "tape_api_request_seconds", "how long answers take", ["route", "status"], registry=registry
        )
        self._refused = Counter(
            "tape_api_refused",
            "requests that were refused before they were read",
            ["reason"],
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal(scope, receive, sent)
            else:
                await self._app(scope, bounded(receive), sent)
        finally:
            seconds, route = time.monotonic() - began, route_of(scope)
            self._seconds.labels(route, status).observe(seconds)
            client = scope.get("asked_by", "")
            get_logger().debug(
                "answered", route=route, status=status, seconds=round(seconds, 4), client=client
            )

    def _refusal(self, scope: Scope) -> Response | None:
        """Why this is not even read."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path, client = scope["path"], (scope.get("client") or ("",))[0]
        if length(headers) > BODY_BYTES_MAX:
            detail = f"no body is longer than {BODY_BYTES_MAX:,} bytes"
            return self._no(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
        if path.startswith("/v1"):
            try:
                answer = self._stranger(path, headers)
            except KeysError as error:
                get_logger().error("the keys cannot be read", problem=str(error), hint=error.hint)
                answer = self._no(HTTPStatus.SERVICE_UNAVAILABLE, "no_keys", "the keys cannot be read")
            if isinstance(answer, Response):
                wait = self._rates.wait(client, 1.0)
                return answer if not wait else self._too_often(wait)
            client = answer or client
        scope["asked_by"] = client
        wait = self._rates.wait(client, SQL_COST if path == "/v1/sql" else 1.0)
        return self._too_often(wait) if wait else None

    def _stranger(self, path: str, headers: Mapping[str, str]) -> Response | str:
        """Who asks, by the id of his key; or why he may not."""
        if not self._keys.all():
            if is_here(headers.get("host", "")):
                return ""
            # A page elsewhere whose name was pointed at this machine must not read what is here.
            detail = "without keys only this machine is answered, by its own name"
            return self._no(HTTPStatus.FORBIDDEN, "foreign_host", detail, hint="tape keys add NAME")
        secret = secret_of(headers.get("authorization", ""))
        if secret is None:
            detail, hint = "a key is needed", "Authorization: Bearer KEY; `tape keys add NAME` makes one"
            return self._no(HTTPStatus.UNAUTHORIZED, "key_needed", detail, hint=hint, headers=CHALLENGE)
        key = self._keys.holder(secret, time.time_ns() // 1_000)
        if key is None:
            detail = "this key is unknown, revoked or too old"
            return self._no(HTTPStatus.UNAUTHORIZED, "bad_key", detail, headers=CHALLENGE)
        right: Right = "sql" if path == "/v1/sql" else "read"
        if not key.allows(right):
            return self._no(HTTPStatus.FORBIDDEN, "not_allowed", f"key {key.id} has no scope {right!r}")
        return key.id

    def _too_often(self, wait: float) -> Response:
        retry = {"Retry-After": str(int(wait) + 1)}
        return self._no(HTTPStatus.TOO_MANY_REQUESTS, "too_often", "too many requests", headers=retry)

    def _no(self, status: HTTPStatus, code: str, detail: str, **more: Any) -> Response:
        self._refused.labels(code).inc()
        return problem(status, code, detail, **more)


def bounded(receive: Receive) -> Receive:
    """The same, of a body that comes in time and is not too long."""
    got, is_whole = 0, False

    async def receiving() -> Message:
        nonlocal got, is_whole
        if is_whole:
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), BODY_SECONDS)
        except TimeoutError:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, "the body did not come") from None
        got += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if got > BODY_BYTES_MAX:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long")
        return message

    return receiving


def length(headers: Mapping[str, str]) -> int:
    """How long a body is said to be; what is no number, the server has refused."""
    said = headers.get("content-length", "")
    return int(said) if said.isascii() and said.isdigit() else 0


def secret_of(authorization: str) -> str | None:
    """The key in a header: as a bearer's, or as the password that a browser asks a person for."""
    kind, _, value = authorization.strip().partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() != "basic":
        return None
    try:
        return b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def is_here(host: str) -> bool:
    """Whether a name, with or without a port, is one of this machine's own."""
    name = host.partition("]")[0].lstrip("[") if host.startswith("[") else host.rpartition(":")[0] or host
    return name.lower() == "localhost" or is_loopback(name)


def is_loopback(name: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def route_of(scope: Scope) -> str:
    """The route that answered, of a closed list: a path is anything."""
    return getattr(scope.get("route"), "path", None) or "other"
