"""`tape audit` of a store that a real flow fills, from venues that do wrong: as it runs, killed, at rest."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from operate.audit import RESULT, note
from operate.cli import run

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120
FAULTS = "drop:0.03,duplicate:0.03,reorder:0.03,malformed:0.01,other_price:0.01,close:0.05,id_reset:0.02"

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and ours."""
    (tmp_path / "tape.toml").write_text(
        f'data_dir = "{tmp_path}/data"\n[simulator]\nrate = 60\nfaults = "{FAULTS}"\n[metrics]\nport = 0\n'
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Flow:
    """The flow as a process, as often as it is started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.directory / "said").open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "operate", "run", "--simulated"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def end(self, number: int) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.directory / "said").read_text()[-3_000:]
        self.process.send_signal(number)
        self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def flow(here: Path) -> Iterator[Flow]:
    flow = Flow(here)
    yield flow
    if flow.process is not None and flow.process.poll() is None:
        flow.process.kill()
        flow.process.wait()


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the checks of one audit."""
    capsys.readouterr()
    code = run(["audit", "--json", *arguments])
    text = capsys.readouterr().out
    return code, {each["check"]: each for each in json.loads(text)["checks"]} if text else {}


def grown(capsys: pytest.CaptureFixture[str], frames: int) -> int:
    """Audit until there are more frames; every one of them must find all well."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        assert time.monotonic() < deadline
        code, found = told(capsys)
        if not found:
            assert code == 2  # the tables are being made
            time.sleep(0.5)
            continue
        assert code == 0, [each for each in found.values() if each["violations"]]
        if found["A1"]["counted"] > frames:
            return int(found["A1"]["counted"])


@pytest.mark.long
def test_no_false_alarm_of_a_flow_that_runs_is_killed_and_ends(
    flow: Flow, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.start()
    frames = 0
    for _ in range(4):
        frames = grown(capsys, frames)
    flow.end(signal.SIGKILL)
    assert told(capsys, "--deep")[0] == 0
    flow.start()
    for _ in range(3):
        frames = grown(capsys, frames)
    flow.end(signal.SIGINT)
    code, found = told(capsys, "--deep")
    assert code == 0, [each for each in found.values() if each["violations"]]
    # What the faults were for was there to be looked at.
    assert all(found[check]["counted"] for check in ("A4", "A6", "A7", "A12", "A14", "A15"))
    assert found["A1"]["note"] == ""  # after a clean stop nothing waits
    assert {check for check, each in found.items() if each["verdict"] == "not checked"} == {"A11"}
    assert "tape_audit_violations 0" in (here / "data" / "simulated" / RESULT).read_text()

    next((here / "data" / "simulated" / "lake" / "silver" / "trades").rglob("*.parquet")).unlink()
    assert run(["audit"]) == 1
    table = capsys.readouterr().out
    assert "is not there" in next(line for line in table.splitlines() if line.startswith("A10 "))
    assert " violated " in table
    assert "tape_audit_violations 0" not in (here / "data" / "simulated" / RESULT).read_text()


def test_a_catalog_that_is_away_is_no_verdict(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["audit"]) == 2
    assert "no store" in capsys.readouterr().err
    directory = here / "data" / "simulated"
    directory.mkdir(parents=True)
    store = {"version": 1, "store_id": "one", "kind": "simulated", "slots": [], "recovered": False}
    (directory / "store.json").write_text(json.dumps(store))
    assert run(["audit"]) == 2
    assert "no table to audit" in capsys.readouterr().err
    monkeypatch.setenv("TAPE_LAKE__CATALOG", "http://127.0.0.1:9/catalog")
    assert run(["audit"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_the_last_success_is_remembered(tmp_path: Path) -> None:
    path = tmp_path / RESULT
    note(path, 3, 100)
    assert "tape_audit_last_success_timestamp_seconds 0\n" in path.read_text()
    note(path, 0, 200)
    note(path, 1, 300)
    assert "tape_audit_last_success_timestamp_seconds 200\n" in path.read_text()
    assert path.read_text().endswith("tape_audit_violations 1\n")
