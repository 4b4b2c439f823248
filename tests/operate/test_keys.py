"""`tape keys`: a key is shown once, on stdout alone; a list never shows one."""

import json
import re
from pathlib import Path

import pytest

from operate import cli


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.run(["keys", *words]) == 0
    return capsys.readouterr().out


def test_a_key_is_made_listed_rotated_and_revoked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    secret = told(capsys, "add", "grafana", "--scope", "read", "--scope", "sql", "--days", "30").strip()
    assert re.fullmatch(r"tape_[0-9a-f]{8}_[\w-]{43}", secret)
    (listed,) = json.loads(told(capsys, "list", "--json"))
    assert (listed["name"], listed["scopes"], secret.split("_")[1]) == ("grafana", "read,sql", listed["id"])
    assert listed["until"] > listed["created"]
    assert secret not in (tmp_path / "data" / "keys.json").read_text()
    other = told(capsys, "rotate", listed["id"], "--days", "0").strip()
    assert other != secret
    assert len(json.loads(told(capsys, "list", "--json"))) == 2
    table = told(capsys, "list")
    assert secret not in table
    assert other not in table
    told(capsys, "revoke", listed["id"])
    (left,) = json.loads(told(capsys, "list", "--json"))
    assert left["id"] == other.split("_")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["revoke", "nobody"], "unknown key 'nobody'"),
        (["rotate", "nobody"], "unknown key 'nobody'"),
        (["add", "x", "--scope", "write"], "'write' is not one of"),
        (["add", "x", "--days", "ever"], "'ever' is not a valid integer"),
    ],
)
def test_what_cannot_be_done_is_told(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["keys", *words]) == 2
    assert said in capsys.readouterr().err
