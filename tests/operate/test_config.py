"""`tape config` as a user sees it."""

import json
from pathlib import Path

import pytest

from connectors.settings import Settings
from operate import cli


def test_show_says_every_value_and_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tape.toml"
    path.write_text('data_dir = "elsewhere"\n')
    monkeypatch.setenv("TAPE_LOG__LEVEL", "debug")
    assert cli.run(["--config", str(path), "config", "show", "--origin", "--json"]) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["data_dir"] == {"key": "data_dir", "value": "elsewhere", "origin": f"{path}:1"}
    assert rows["log.level"] == {"key": "log.level", "value": "debug", "origin": "TAPE_LOG__LEVEL"}
    assert rows["mode"]["origin"] == "TAPE_MODE"
    assert rows["capture.idle_seconds"]["origin"] == "default"


def test_show_is_a_table_for_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["key", "value"]
    assert lines[1].split() == ["mode", "simulated"]


def test_the_schema_names_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["config", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert list(schema["properties"]) == list(Settings.model_fields)
    assert schema["additionalProperties"] is False
