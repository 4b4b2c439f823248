"""What cannot be had is named, with how to get it, and never passes for proved."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import programs

ROOT = Path(__file__).parent.parent
LACKING = """
import pytest
from tests.services.programs import NotHere

@pytest.fixture
def server():
    raise NotHere("Such is not installed (get it there)")

def test_needs_it(server):
    raise AssertionError

def test_finds_out_late():
    raise NotHere("Such is not installed (get it there)")
"""


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_test_without_its_server_is_named_and_fails_where_all_must_be_there(
    tmp_path: Path, ci: str, code: int
) -> None:
    path = tmp_path / "test_lacking.py"
    path.write_text(LACKING)
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:cov",
        "-c",
        os.devnull,
    ]
    ended = subprocess.run(
        [sys.executable, *words, "--rootdir", str(tmp_path), str(path)],
        cwd=ROOT,
        env={**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    named = [line for line in ended.stdout.splitlines() if line.startswith("NOT PROVED")]
    assert len(named) == 2
    assert all(line.endswith("Such is not installed (get it there)") for line in named)


def test_every_program_is_found_or_explained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Path:
        raise programs.NotHere("get it there")

    monkeypatch.setattr(programs, "PROGRAMS", {"There": lambda: Path("/there"), "Gone": missing})
    assert programs.command() == 1
    assert capsys.readouterr().out.split("\n")[:2] == [
        "There        /there",
        "Gone         MISSING: get it there",
    ]
