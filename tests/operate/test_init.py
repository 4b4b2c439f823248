"""The file that `tape init` writes."""

from pathlib import Path

import pytest

from connectors.configuration import load
from connectors.settings import Settings
from operate import cli


def test_the_file_is_short_commented_live_and_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["init"]) == 0
    assert capsys.readouterr() == ("", "wrote tape.toml\n")
    path = tmp_path / "tape.toml"
    text = path.read_text()
    assert len(text.splitlines()) == 15
    assert text.count("#") >= 4
    assert load(path, {}).settings == Settings(mode="live")


def test_an_existing_file_is_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tape.toml"
    path.write_text("mine")
    assert cli.run(["init", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: {path} exists\nhint: --force replaces it\n"
    assert path.read_text() == "mine"
    assert cli.run(["init", "--force", str(path)]) == 0
    assert path.read_text().startswith("# Tapekeeper")


def test_a_directory_that_does_not_exist_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["init", str(tmp_path / "no" / "tape.toml")]) == 2
    assert capsys.readouterr().err.startswith("error: No such file or directory: ")
