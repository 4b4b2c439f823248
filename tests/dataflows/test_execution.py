"""However the engine ends, a person reads two lines: what went wrong, and what to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bytewax.operators as op
import pytest
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from connectors.callbacks import failures
from connectors.errors import TapeError
from connectors.slots import open_store
from dataflows.execution import FlowError, aside, execute, reason
from dataflows.recovery import Command, adopt, arrange
from tests.campaigns.rounds import free_addresses

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 180
ALONE = Command(None, None, 0, (), 1)
OF_TWO = Command(None, None, 0, ("127.0.0.1:1", "127.0.0.1:2"), 1)
PANIC = RuntimeError('SqliteFailure(Error { code: DiskFull, extended_code: 13 }, Some("database is full"))')


@pytest.fixture(autouse=True)
def nothing_failed_before() -> Iterator[None]:
    failures.clear()
    yield
    failures.clear()


@pytest.fixture
def recovery(tmp_path: Path) -> Path:
    return arrange(tmp_path, open_store(tmp_path, "simulated"), ALONE, shared=False)


def test_what_the_engine_writes_is_kept_and_what_python_writes_comes_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    reading, writing = os.pipe()
    with aside(writing):
        os.write(2, b"thread '<unnamed>' panicked\n")
        sys.stderr.write("ours\n")
        os.write(2, bytes(1_000_000))  # more than is kept, and nobody waits
    os.write(2, b"behind it\n")

    assert capfd.readouterr().err == "ours\nbehind it\n"
    assert os.read(reading, 100).startswith(b"thread '<unnamed>' panicked\n")
    os.close(reading)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flow_that_fails_says_nothing_but_its_reason(
    recovery: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # of a process that has failed it stays silent
    flow = Dataflow("fails")
    op.output(
        "out", op.map("divide", op.input("in", flow, TestingSource([0])), lambda x: 1 / x), StdOutSink()
    )

    with capture_logs() as said, pytest.raises(FlowError, match="the engine has failed: "):
        execute(flow, Command(None, None, 0, (), workers), recovery)

    assert capfd.readouterr() == ("", "")
    assert [(line["event"], line["log_level"]) for line in said] == [("the engine has ended", "debug")]


@pytest.mark.parametrize(
    ("failure", "told", "message", "hint"),
    [
        (TapeError("no", hint="ask again"), ALONE, "no", "ask again"),
        (KeyError("x"), ALONE, "a bug in tape: KeyError: 'x'", "tape --debug"),
        (OperationalError("SELECT", {}, OSError("away")), ALONE, "could not be written: away", "start again"),
        (None, ALONE, "the engine has failed: odd", "log.level = debug"),
        (None, OF_TWO, "ended with another process of its cluster", "the last lines of the others"),
    ],
)
def test_the_first_that_failed_is_the_reason(
    recovery: Path, failure: Exception | None, told: Command, message: str, hint: str
) -> None:
    failures.extend([failure, ValueError("a consequence")] if failure else [])

    found = reason(RuntimeError("odd"), told, recovery)

    assert message in str(found)
    assert hint in found.hint
    assert "\n" not in str(found)
    assert found.exit_code == 1


def test_a_full_disk_is_named_though_it_has_room_again(recovery: Path) -> None:
    found = reason(PANIC, ALONE, recovery)

    assert str(found).startswith(f"cannot write {recovery} (file system /")
    assert str(found).endswith("No space left on device")
    assert (found.hint, found.exit_code) == ("free some space there", 1)


def test_of_a_panic_in_a_cluster_the_files_tell_the_reason(recovery: Path) -> None:
    (recovery / "part-2.sqlite3").write_bytes(b"")

    found = reason(BaseException("Send thread panic"), OF_TWO, recovery)

    assert "part-2.sqlite3 cannot be used" in str(found)
    assert "`tape recover`" in found.hint


def ended(data: Path, processes: int, **variables: str) -> list[list[str]]:
    """What each process of the flow said, all of which must end by themselves, with 1."""
    addresses = ";".join(free_addresses(processes))
    cluster = [["-i", str(number), "-a", addresses] for number in range(processes)]
    flow = [sys.executable, "-m", "bytewax.run", "dataflows.crypto"]
    running = [
        subprocess.Popen(
            [*flow, *(said if processes > 1 else [])],
            cwd=ROOT,
            env={**os.environ, "TAPE_DATA_DIR": str(data), "RUST_BACKTRACE": "1", **variables},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for said in cluster
    ]
    try:
        words = [each.communicate(timeout=PATIENCE_SECONDS)[1] for each in running]
    finally:
        for each in running:
            each.kill()
    assert [each.returncode for each in running] == [1] * processes, words
    for word in ("Traceback", "panicked", "PanicException"):
        assert not [said for said in words if word in said]
    return [said.splitlines() for said in words]


def test_a_damaged_recovery_file_ends_each_process_in_two_lines(tmp_path: Path) -> None:
    directory = tmp_path / "simulated"
    store = open_store(directory, "simulated")
    recovery = arrange(directory, store, ALONE, shared=False)
    adopt(directory, store, recovery)
    path = recovery / "part-5.sqlite3"
    path.write_bytes(path.read_bytes()[:5_000])

    for error, hint in ended(tmp_path, 2):
        assert error.startswith(f"error: the recovery file {path} ")
        assert hint.startswith("hint: ")
        assert "`tape recover`" in hint


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_catalog_that_cannot_be_read_ends_each_process_in_two_lines(tmp_path: Path, processes: int) -> None:
    catalog = tmp_path / "catalog.db"
    catalog.write_text("something else\n" * 100)

    said = ended(tmp_path / "data", processes, TAPE_LAKE__CATALOG=f"sqlite:///{catalog}")

    for lines in said:
        assert lines[-2].startswith("error: ")
        assert lines[-1].startswith("hint: ")
        assert [line for line in lines[:-2] if not line.startswith("{")] == []
    refused = "error: the lake cannot be used: file is not a database"
    assert any(lines[-2:] == [refused, "hint: restore the catalog's file from a copy"] for lines in said)
