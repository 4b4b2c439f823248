"""Strangers' SQL: reads the tables and nothing else, for a while, in a process that can do no harm."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from query.database import SqlError
from query.rest.statements import Sandbox, begin, end, pipes
from query.sandbox import READY
from tests.campaigns.kept import Kept
from tests.query.rest.conftest import Served

REFUSED = [
    "copy trades to '{place}/stolen.csv'",
    "copy (select 1) to '{lake}/silver/trades/data/evil.parquet'",
    "attach '{place}/other.db'",
    "create table mine as select 1",
    "drop view trades",
    "insert into trades select * from trades",
    "set enable_external_access = true",
    "set memory_limit = '100GB'",
    "reset lock_configuration",
    "pragma database_list",
    "pragma enable_profiling",
    "install httpfs",
    "load httpfs",
    "call pragma_version()",
    "export database '{place}'",
    "select 1; drop view trades",
    "select 1; select 2",
    "prepare p as select 1",
    "vacuum",
    "checkpoint",
    "begin",
    "create secret (type s3)",
    "select * from read_text('{place}/secret')",
    "select * from read_csv('{place}/secret')",
    "select * from read_blob('/proc/self/environ')",
    "select * from '{place}/secret'",
    "select * from '{lake}/../store.json'",
    "select * from read_text('{lake}/../store.json')",
    "select * from read_parquet('http://127.0.0.1:9/x.parquet')",
    "select * from glob('{place}/*')",
    "select getenv('HOME')",
    "select * from task",
    "select * from sources",
    "from query('copy trades to ''{place}/x''')",
    "explain analyze copy trades to '{place}/stolen.csv'",
    "",
    ";",
    "not sql",
    "select prise from trades",
]


def ask(served: Served, statement: str, **more: str) -> httpx2.Response:
    return served.client.post("/v1/sql", json={"statement": statement}, params=more)


def test_a_statement_is_answered_exactly_and_in_every_form(kept: Kept, served: Served) -> None:
    asked = "select count(*) as n, sum(quantity) as volume from trades"
    answer = ask(served, asked).json()
    volume = sum(Decimal(row["quantity"]) for row in kept.rows["Trade"])
    assert answer["rows"][0]["n"] == len(kept.rows["Trade"])
    assert Decimal(answer["rows"][0]["volume"]) == volume
    assert answer["simulated"] is True
    assert ask(served, "select 1 as a", format="csv").text == "a\n1\n"
    assert ask(served, "explain select 1").status_code == 200
    assert {row["name"] for row in ask(served, "show tables").json()["rows"]} >= {"trades", "bars", "frames"}


@pytest.mark.parametrize("statement", REFUSED)
def test_what_is_not_reading_the_tables_is_refused_without_a_word_about_us(
    kept: Kept, served: Served, statement: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    said = statement.format(place=tmp_path, lake=kept.directory / "lake")
    response = ask(served, said)
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert str(kept.directory) not in response.text
    assert str(tmp_path) not in response.text
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert not list(kept.directory.glob("lake/**/evil*"))


def test_values_that_a_form_cannot_say_are_told(served: Served) -> None:
    for value in (
        "'9999-01-01'::timestamp_ns",
        "'infinity'::timestamp",
        "interval 1 month",
        "{'a': [1.5::decimal]}",
    ):
        assert ask(served, f"select {value} as x").status_code in (200, 400), value
        assert ask(served, f"select {value} as x", format="parquet").status_code in (200, 400), value


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"statement": 1}', b'{"statement": "select 1", "more": 1}']
)
def test_what_is_no_statement_is_a_bad_request(served: Served, body: bytes) -> None:
    response = served.client.post("/v1/sql", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["code"]) in (
        (400, "bad_parameter"),
        (400, "unknown_parameter"),
    )
    other = served.client.post(
        "/v1/sql", content=b'{"statement": "select 1"}', headers={"Content-Type": "text/plain"}
    )
    assert other.status_code == 400


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    one = Sandbox(rows_max=1_000, seconds=2, memory_bytes=128 * 1024 * 1024)
    yield one
    one.close()


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (
            "select count(*) from range(1000000000000) a, range(1000000) b where a.range + b.range = -1",
            "stopped",
        ),
        ("select list(range) from range(10000000000)", "stopped|Memory"),
        ("select * from range(1001)", "more than 1,000 rows"),
        ("select repeat('x', 1000000) as x from range(100)", "longer than|Memory"),
    ],
)
def test_who_wants_too_much_is_stopped_and_the_next_is_served(
    kept: Kept, sandbox: Sandbox, statement: str, why: str
) -> None:
    began = time.monotonic()
    with pytest.raises(SqlError, match=why):
        sandbox.run(kept.reader, statement)
    assert time.monotonic() - began < 60  # and not for ever
    assert sandbox.run(kept.reader, "select 1 as one").rows.to_pylist() == [{"one": 1}]


def test_a_child_has_no_environment_no_files_to_write_and_no_network() -> None:
    child = begin()
    try:
        assert pipes(child)[1].read(1) == READY
        process = Path(f"/proc/{child.pid}")
        assert (process / "limits").read_text().split("Max file size")[1].split()[:2] == ["0", "0"]
        assert "NoNewPrivs:\t1" in (process / "status").read_text()
        probe = [sys.executable, "-c", "import ctypes; exit(ctypes.CDLL(None).unshare(0x50000000) != 0)"]
        if subprocess.run(probe, check=False).returncode == 0:  # not every container allows it
            links = (process / "net" / "dev").read_text().splitlines()[2:]
            assert [line.split(":")[0].strip() for line in links] == ["lo"]
    finally:
        end(child)
    assert child.returncode == -signal.SIGKILL


def test_a_child_ends_when_nobody_needs_it() -> None:
    child = begin()
    try:
        assert pipes(child)[1].read(1) == READY
        pipes(child)[0].close()
        assert child.wait(30) == 0
    finally:
        end(child)
    assert not os.path.exists(f"/proc/{child.pid}")  # noqa: PTH110
