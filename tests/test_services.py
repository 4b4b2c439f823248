"""What cannot be had is named, with how to get it, and never passes for proved."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import jars, programs

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


def test_only_listed_files_are_run(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "a.jar").write_bytes(b"as known")
    wanted = {"kafka/a.jar": hashlib.sha256(b"as known").hexdigest()}
    assert jars.differing(tmp_path, wanted) == ""
    assert jars.differing(tmp_path, wanted | {"b.tar.gz": ""}) == "b.tar.gz is missing"
    (tmp_path / "kafka" / "more.jar").touch()
    assert jars.differing(tmp_path, wanted) == "kafka/more.jar is not on the list"
    (tmp_path / "kafka" / "more.jar").unlink()
    (tmp_path / "kafka" / "a.jar").write_bytes(b"tampered")
    assert jars.differing(tmp_path, wanted) == "kafka/a.jar is not the file that we know"


def test_what_was_not_fetched_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(programs.NotHere, match="make services"):
        jars.kafka_and_registry.__wrapped__()
    there = jars.folder()
    there.mkdir(parents=True)
    (there / "stranger.jar").touch()
    with pytest.raises(programs.NotHere, match=r"stranger\.jar is not on the list: remove"):
        jars.kafka_and_registry.__wrapped__()


def test_what_is_fetched_and_not_as_listed_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Maven that brings something else."""
    other = tmp_path / "mvn"
    other.write_text(
        '#!/bin/sh\nfor word in "$@"; do case $word in -Dfolder=*) mkdir -p "${word#-Dfolder=}/kafka"; '
        'touch "${word#-Dfolder=}/kafka/stranger.jar";; esac; done\n'
    )
    other.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jars, "find_maven", lambda: other)
    assert jars.command() == 0
    assert "kafka/stranger.jar is not on the list" in capsys.readouterr().err
    assert list((tmp_path / "cache" / "tapekeeper").iterdir()) == []
