"""`tape demo` as somebody starts it: its first lines, its holes, and that it keeps to its own directory."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors.catalog import open_catalog
from connectors.errors import TapeError
from connectors.faults import parse_faults
from operate import cli
from operate.demo import FAULTS, chosen
from query.files import Scope
from query.lake import gaps
from query.reader import Reader

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 100


def test_every_fault_of_the_demo_is_one_of_the_simulator() -> None:
    assert parse_faults(chosen(",".join(FAULTS))).keys() >= {"drop", "duplicate", "reorder", "cut", "freeze"}
    assert chosen("") == ""
    assert chosen("reorder, reorder") == FAULTS["reorder"]


def test_a_fault_that_is_none_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TapeError):
        chosen("gasp")
    assert cli.run(["demo", "--faults", "gasp"]) == 2
    assert "gaps" in capsys.readouterr().err


@pytest.mark.timeout(300)
@pytest.mark.long
def test_the_demo_opens_holes_and_closes_them_in_a_directory_of_its_own(tmp_path: Path) -> None:
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", "demo", "--faults", "reorder,gaps"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TAPE_DATA_DIR": "kept", "TAPE_MODE": "live"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        directory, ended = tmp_path / "kept" / "demo" / "simulated", set[str]()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "repaired" not in ended:
            assert process.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()
            time.sleep(0.2)
            if (directory / "tail" / "silver.gaps").exists():
                reader = Reader(open_catalog(directory), directory, "simulated")
                ended |= set(gaps(reader, Scope()).rows.column("status").to_pylist())
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_SECONDS)
    assert code == 0, (tmp_path / "said").read_text()
    first, look = (tmp_path / "said").read_text().splitlines()[:2]
    assert first == "a simulated market in which things go wrong: reorder,gaps"
    assert look.startswith("look at the page")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["demo"]
