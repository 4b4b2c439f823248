"""The child: one statement about what it was sent; a mistake is told in JSON, and too much is cut."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from query.sandbox import LENGTH, READY, Mistake, Task

ROOT = Path(__file__).parent.parent.parent


def piece(data: bytes) -> bytes:
    return LENGTH.pack(len(data)) + data


def ask(statement: str, **more: Any) -> tuple[int, bytes, bytes]:
    """The code of a child, its answer, and its complaint."""
    rows = pa.table({"a": [1, 2, 3]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    given = {"rows_max": 10, "seconds": 5, "memory_bytes": 128 * 1024 * 1024, "places": []} | more
    task = Task(statement=statement, views={"numbers": "select a from given"}, sources=["given"], **given)
    done = subprocess.run(
        [sys.executable, "-m", "query.sandbox"],
        input=piece(msgspec.json.encode(task)) + piece(sink.getvalue()),
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stdout[:1] == READY
    return done.returncode, done.stdout[1:], done.stderr


def test_it_answers_about_what_it_was_sent() -> None:
    code, out, error = ask("select sum(a)::bigint as sum from numbers")
    assert (code, error) == (0, b"")
    assert pa.ipc.open_stream(out).read_all().to_pylist() == [{"sum": 6}]


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("select b from numbers", 'Referenced column "b"'),
        ("select * from range(11)", "more than 10 rows"),
        ("drop view numbers", "DROP is refused"),
        ("select 1; select 2", "2 statements"),
        ("select list(range) from range(100000000)", "Memory"),
    ],
)
def test_a_mistake_is_told(statement: str, message: str) -> None:
    code, _, error = ask(statement)
    assert code == 1
    assert message in msgspec.json.decode(error.rpartition(b"\n")[2], type=Mistake).message


def test_it_does_not_run_for_ever() -> None:
    code, _, _ = ask(
        "select count(*) from range(100000000000) a, range(1000000) b where a.range + b.range = -1", seconds=1
    )
    assert code < 0


def test_it_ends_when_there_is_nothing_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "query.sandbox"], input=b"", capture_output=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (0, READY)
