"""Who is let in: with which key, from where, how often, with how much; and what goes with every answer."""

import json
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from query.rest.guard import BODY_BYTES_MAX, CLIENTS_MAX, HEADERS, Rates, is_here, secret_of
from query.rest.keys import Keys
from tests.query.rest.conftest import Served


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


def with_key(served: Served, secret: str, path: str = "/v1/symbols", **more: Any) -> httpx2.Response:
    return served.get(path, headers={"Authorization": f"Bearer {secret}"}, **more)


def test_only_who_has_a_key_that_is_good_for_it_is_answered(
    keys: Keys, serving: Callable[..., Served]
) -> None:
    reading, asking = keys.add("reader", ("read",), 0), keys.add("analyst", ("sql",), 0)
    ruling, ended = keys.add("ruler", ("admin",), 0), keys.add("late", ("read",), 0, until=1)
    served = serving(TAPE_API__KEYS_FILE=str(keys.path), TAPE_LOG__LEVEL="debug")
    assert with_key(served, reading).status_code == 200
    basic = b64encode(f"anybody:{reading}".encode()).decode()
    assert served.get("/v1/symbols", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    refused = [
        served.get("/v1/symbols"),
        served.get(f"/v1/symbols?key={reading}"),
        served.get("/v1/stream"),
        with_key(served, ended),
        with_key(served, reading[:-1]),
        with_key(served, "x"),
        served.get("/v1/symbols", headers={"Authorization": reading}),
        served.get("/v1/symbols", headers={"Authorization": "Basic !"}),
        served.get("/v1/no-such-route"),
    ]
    for response in refused:
        assert response.status_code == 401, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["code"] in ("key_needed", "bad_key")
        assert "Bearer" in response.headers["www-authenticate"]
        assert reading not in response.text
    statement = {"json": {"statement": "select 1 as one"}}

    def sql(secret: str) -> int:
        headers = {"Authorization": f"Bearer {secret}"}
        return served.client.post("/v1/sql", headers=headers, **statement).status_code  # type: ignore[arg-type]

    assert sql(reading) == 403
    assert sql(asking) == 200
    assert with_key(served, asking).status_code == 403
    assert sql(ruling) == with_key(served, ruling).status_code == 200
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert served.get(path).status_code == 200, path
    keys.path.chmod(0o644)
    unreadable = with_key(served, ruling)
    assert (unreadable.status_code, unreadable.json()["code"]) == (503, "no_keys")
    assert str(keys.path.parent) not in unreadable.text
    keys.path.chmod(0o600)
    keys.revoke(keys.all()[0].id)
    assert with_key(served, reading).status_code == 401
    # Who asked what is logged, by the key's number.
    answered = [json.loads(line) for line in served.said.read_text().splitlines() if "answered" in line]
    number = asking.split("_")[1]
    assert {"route": "/v1/sql", "status": 200}.items() <= next(
        one.items() for one in answered if one["client"] == number
    )
    assert not re.search(f"{reading}|{asking}|{ruling}", served.said.read_text())


def test_without_keys_only_this_machine_is_answered_by_its_own_name(served: Served) -> None:
    for host in ("evil.example", "evil.example:8400", "127.0.0.1.evil.example", "", "localhost.evil.example"):
        response = served.get("/v1/symbols", headers={"Host": host})
        assert response.status_code in (400, 403), host
    for host in ("localhost", "127.0.0.1:1", "[::1]:9", "LOCALHOST:80"):
        assert served.get("/v1/symbols", headers={"Host": host}).status_code == 200, host
    assert is_here("127.9.9.9")
    assert not is_here("10.0.0.1:8400")


@pytest.mark.long
def test_who_asks_too_often_is_told_when_to_come_again(serving: Callable[..., Served]) -> None:
    served = serving(TAPE_API__REQUESTS_PER_SECOND="10")
    answers = [served.get("/healthz") for _ in range(60)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(answers) - len(refused) >= 20
    assert refused
    assert refused[0].json()["code"] == "too_often"
    assert int(refused[0].headers["retry-after"]) >= 1
    deadline = time.monotonic() + 30
    while served.get("/healthz").status_code == 429:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_what_is_left_grows_with_time_and_clients_are_forgotten() -> None:
    now = [0.0]
    rates = Rates(10.0, lambda: now[0])
    assert [rates.wait("one", 1.0) for _ in range(20)] == [0.0] * 20
    assert rates.wait("one", 1.0) == pytest.approx(0.1)
    assert rates.wait("two", 1.0) == 0.0
    now[0] = 0.1
    assert rates.wait("one", 1.0) == 0.0
    assert rates.wait("one", 10.0) == pytest.approx(1.0)
    for number in range(CLIENTS_MAX + 5):
        rates.wait(str(number), 1.0)
    assert len(rates._left) == CLIENTS_MAX


def test_a_body_that_is_too_long_is_refused_whatever_it_says(served: Served) -> None:
    long = b'{"statement": "' + b"x" * BODY_BYTES_MAX + b'"}'
    headers = {"Content-Type": "application/json"}
    assert served.client.post("/v1/sql", content=long, headers=headers).status_code == 413
    chunks = (long[start : start + 8_192] for start in range(0, len(long), 8_192))
    response = served.client.post("/v1/sql", content=chunks, headers=headers)
    assert response.status_code == 413
    assert response.headers["content-type"] == "application/problem+json"
    assert served.get("/healthz").status_code == 200


def test_headers_that_are_too_long_are_refused(served: Served) -> None:
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        try:
            connection.sendall(
                b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"
            )
            answer = connection.recv(1_000)
        except ConnectionError:
            answer = b""
    assert b" 200 " not in answer
    assert served.get("/healthz").status_code == 200


def test_every_answer_forbids_what_the_page_does_not_need(served: Served) -> None:
    for path in ("/", "/docs", "/v1/symbols", "/v1/nothing", "/healthz"):
        response = served.get(path)
        for name, value in HEADERS:
            assert response.headers[name.decode()] == value.decode(), (path, name)
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy


def test_what_is_counted_has_a_closed_list_of_labels(served: Served) -> None:
    for path in ("/v1/symbols", "/no/such", "/v1/trades?symbol=NOBODYS-ID"):
        served.get(path)
    # Where the metrics are is said by nobody but the log; the process knows its sockets.
    ports = {
        int(line.split()[1].rpartition(":")[2], 16)
        for line in Path(f"/proc/{served.process.pid}/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    own = int(served.address.rpartition(":")[2])
    for port in ports - {own}:
        try:
            text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
        except httpx2.HTTPError:
            continue
        if "tape_api_request_seconds" in text:
            routes = set(re.findall(r'tape_api_request_seconds_count\{route="([^"]+)"', text))
            if "/v1/symbols" in routes:
                assert "other" in routes
                assert not [route for route in routes if "such" in route or "NOBODYS" in route]
                return
    raise AssertionError("no metrics were found")


@pytest.mark.parametrize(
    ("header", "secret"),
    [
        ("", None),
        ("Bearer  a ", "a"),
        ("bearer a", "a"),
        ("Digest a", None),
        ("Basic YTpi", "b"),
        ("Basic %", ""),
    ],
)
def test_a_key_is_read_from_its_header_alone(header: str, secret: str | None) -> None:
    assert secret_of(header) == secret
