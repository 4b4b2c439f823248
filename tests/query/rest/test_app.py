"""The routes: what they answer is exactly what the lake does, in every form, a page after the other."""

import csv
import io
import json
import re
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from query.questions import QUESTIONS
from query.surface import as_text
from tests.campaigns.kept import Kept
from tests.query.rest.conftest import Served

PAGED = [name for name, question in QUESTIONS.items() if question.place]
FACTS = {"simulated", "snapshot_id", "provisional_from", "completeness", "next", "rows"}


def lake_rows(kept: Kept, name: str, **told: Any) -> list[dict[str, Any]]:
    """What the lake answers itself, as JSON."""
    question = QUESTIONS[name]
    given = {public: parameter.default for public, parameter in question.told().items()} | told
    from query.files import Scope  # noqa: PLC0415  # only here

    rows = as_text(question.ask(kept.reader, Scope(), **question.given(given)).rows).to_pylist()
    found: list[dict[str, Any]] = json.loads(msgspec.json.encode(rows))
    return found


@pytest.mark.parametrize("name", [name for name in QUESTIONS if name not in ("health", "markets")])
def test_every_route_answers_as_the_lake_does(kept: Kept, served: Served, name: str) -> None:
    response = served.get(f"/v1/{name}")
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer.keys() == FACTS
    assert answer["simulated"] is True
    assert response.headers["tape-simulated"] == "true"
    told = {"limit": 1_000} if QUESTIONS[name].place else {}
    assert answer["rows"] == lake_rows(kept, name, **told)
    assert answer["rows"]


@pytest.mark.parametrize("name", PAGED)
def test_pages_by_cursor_are_the_whole(kept: Kept, served: Served, name: str) -> None:
    wanted = served.rows(f"/v1/{name}?since=0&limit=10000")
    size = max(1, len(wanted) // 4)
    found: list[dict[str, Any]] = []
    path: str | None = f"/v1/{name}?since=0&limit={size}"
    while path is not None:
        response = served.get(path)
        answer = response.json()
        found += answer["rows"]
        following = response.links.get("next", {}).get("url")
        assert (following is None) == (answer["next"] is None)
        assert following is None or len(answer["rows"]) == size
        path = following
    assert found == wanted
    assert len(found) >= 4 * size


def test_prices_are_text_and_a_page_says_what_it_rests_on(kept: Kept, served: Served) -> None:
    last = max(kept.rows["Trade"], key=lambda row: (row["timestamp"], row["message_id"]))
    answer = served.get("/v1/trades?limit=1").json()
    (row,) = answer["rows"]
    assert row["message_id"] == last["message_id"]
    assert row["price"] == last["price"].rstrip("0").rstrip(".")
    assert answer["completeness"]["expected"] >= 1
    assert re.fullmatch(r"\d+", answer["snapshot_id"])


def test_every_form_carries_the_same_rows_and_facts(served: Served) -> None:
    path = "/v1/trades?limit=50"
    rows = served.rows(path)
    as_csv = served.get(path, headers={"Accept": "text/csv"})
    assert [row["price"] for row in csv.DictReader(io.StringIO(as_csv.text))] == [
        row["price"] for row in rows
    ]
    lines = served.get(f"{path}&format=ndjson").text.splitlines()
    assert [json.loads(line) for line in lines] == rows
    stream = pa.ipc.open_stream(served.get(f"{path}&format=arrow").content).read_all()
    parquet = pq.read_table(io.BytesIO(served.get(f"{path}&format=parquet").content))
    for table in (stream, parquet):
        assert table.column("price").to_pylist() == [Decimal(row["price"]) for row in rows]
        assert json.loads(table.schema.metadata[b"tape"])["simulated"] is True
    facts = served.get(path).json()
    assert as_csv.headers["tape-snapshot-id"] == facts["snapshot_id"]
    assert as_csv.headers["tape-expected"] == str(facts["completeness"]["expected"])
    assert as_csv.headers["link"].endswith('; rel="next"')


def test_times_may_be_said_in_three_ways(kept: Kept, served: Served) -> None:
    times = sorted(row["timestamp"] for row in kept.rows["Trade"])
    since = times[len(times) // 2] // 1_000
    said = ["2023-11-14T00:00:00Z", "2023-11-14T01:00:00%2B01:00", "1699920000000"]
    found = [served.rows(f"/v1/trades?limit=10000&since={each}") for each in said]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == len(times)
    wanted = sum(time >= since * 1_000 for time in times)
    assert len(served.rows(f"/v1/trades?limit=10000&since={since}")) == wanted


def test_the_past_can_be_asked_by_snapshot_tag_and_time(served: Served) -> None:
    past = next(
        row
        for row in reversed(served.rows("/v1/snapshots"))
        if row["table"] == "silver.trades" and row["rows"]
    )
    assert len(served.rows(f"/v1/trades?limit=10000&as_of={past['snapshot_id']}")) == past["rows"]
    assert served.rows("/v1/trades?as_of=2023-01-01T00:00:00Z") == []
    assert served.get("/v1/trades?as_of=main").status_code == 200


REFUSED = [
    ("/v1/trades?limt=1", 400, "unknown_parameter", "did you mean limit?"),
    ("/v1/venues?symbol=BTC0-USDT", 400, "unknown_parameter", "known: venue, format"),
    ("/v1/trades?limit=0", 400, "bad_parameter", ""),
    ("/v1/trades?limit=10001", 400, "bad_parameter", ""),
    ("/v1/trades?limit=1&limit=2", 400, "bad_parameter", ""),
    ("/v1/trades?since=yesterday", 400, "bad_parameter", ""),
    ("/v1/trades?since=2026-02-31T00:00:00Z", 400, "bad_parameter", ""),
    ("/v1/bars?interval=5x", 400, "bad_parameter", ""),
    ("/v1/trades?after=abc", 400, "bad_parameter", ""),
    ("/v1/trades?after=WzEsMl0", 400, "bad_parameter", ""),
    ("/v1/gaps?status=split", 400, "bad_parameter", ""),
    ("/v1/trades?format=xml", 400, "bad_parameter", ""),
    ("/v1/trades?venue=binanse", 404, "unknown_venue", "did you mean binance?"),
    ("/v1/trades?symbol=BTC0USDT", 404, "unknown_symbol", "did you mean BTC0-USDT?"),
    ("/v1/trades?as_of=mian", 404, "unknown_tag", "did you mean main?"),
    ("/v1/trades?as_of=7", 404, "unknown_snapshot", ""),
    ("/v1/trade", 404, "not_found", ""),
    ("/v2/trades", 404, "not_found", ""),
]


@pytest.mark.parametrize(("path", "status", "code", "hint"), REFUSED)
def test_what_cannot_be_meant_is_told_as_a_problem(
    served: Served, path: str, status: int, code: str, hint: str
) -> None:
    response = served.get(path)
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (response.status_code, problem["status"], problem["code"]) == (status, status, code)
    assert hint in problem["hint"]
    assert problem["detail"]


INJECTED = [
    "' OR 1=1 --", "'; DROP TABLE trades; --", "1) OR (1=1", "\" OR \"\"=\"", "*", "%", "_", "\\", "$1", "?",
    "read_csv('/etc/passwd')", "../../../../etc/passwd", "{{7*7}}",
    "<script>alert(1)</script>", "\u202e", "é" * 50,
    "BTC0-USDT' --", "BTC0-USDT\x7f", "null", "None", "-1", "0x10", "1e9", "NaN",
]  # fmt: skip


PLACES = [
    (name, parameter)
    for name, question in QUESTIONS.items()
    for parameter in (*question.scope, *question.told(), "after", "format")
]
# Every text in every place takes two minutes; so each in some, and every place has some.
STEP = 6


@pytest.mark.parametrize(
    ("text", "places"),
    [
        *((text, PLACES[number % STEP :: STEP]) for number, text in enumerate(INJECTED)),
        *(pytest.param(text, PLACES, marks=pytest.mark.long) for text in INJECTED),
    ],
)
def test_no_parameter_breaks_out_of_its_place(
    kept: Kept, served: Served, text: str, places: list[tuple[str, str]]
) -> None:
    for name, parameter in places:
        response = served.get(f"/v1/{name}", params={parameter: text})
        assert response.status_code in (200, 400, 404), (name, parameter, response.text)
        assert "passwd" not in response.text.replace(text, "").replace(msgspec.json.encode(text).decode(), "")
        if response.status_code == 200:
            # Nothing of that name is there, so nothing but all may be answered: a minus one is no text.
            named = parameter in ("symbol", "id", "venue")
            assert not named or not response.json()["rows"], (name, parameter)
    assert len(served.rows("/v1/trades?limit=10000")) == len(kept.rows["Trade"])


TRAVERSED = [
    "/../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2fetc%2fpasswd", "/..%5c..%5cetc",
    "//etc/passwd", "/%2fetc%2fpasswd", "/index.html%00.css", "/../rest/app.py", "/..%2frest%2fapp.py",
    "/./../sql.py", "/%c0%ae%c0%ae/sql.py", "/v1/../../sql.py", "/link", "/.git/config",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAVERSED)
def test_no_path_leads_out_of_the_page(served: Served, path: str) -> None:
    import socket  # noqa: PLC0415  # a client would put the path straight

    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer[:200]
    assert b"import " not in answer


def test_only_what_a_route_knows_is_done(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        response = served.client.request(method, "/v1/trades")
        assert response.status_code == 405
        assert response.json()["code"] == "method_not_allowed"


def test_a_store_that_is_not_there_yet_is_unready_and_then_is_read(
    kept: Kept, serving: Any, tmp_path: Path
) -> None:
    empty = tmp_path / "data"
    empty.mkdir()
    served = serving(data_dir=empty)
    assert served.get("/healthz").text == "alive\n"
    ready = served.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["reasons"] == ["there is nothing to read yet"]
    refused = served.get("/v1/trades")
    assert refused.status_code == 503
    assert refused.json()["code"] == "unavailable"
    assert "retry-after" in refused.headers
    (empty / "simulated").symlink_to(kept.directory)
    assert served.get("/readyz").json() == {"ready": True, "reasons": []}
    assert served.rows("/v1/trades?limit=3")
    # A fresh start makes another store: first there is none, then what it holds.
    (empty / "simulated").unlink()
    assert served.get("/v1/venues").status_code == 503
    other = tmp_path / "other"
    shutil.copytree(kept.directory, other, ignore=shutil.ignore_patterns("*.lock"))
    store = json.loads((other / "store.json").read_text())
    (other / "store.json").write_text(json.dumps(store | {"store_id": "another"}))
    (empty / "simulated").symlink_to(other)
    assert served.rows("/v1/trades?limit=4")
