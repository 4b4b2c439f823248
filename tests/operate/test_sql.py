"""`tape sql`: one statement, or what is piped in or typed."""

import io
import json
from pathlib import Path

import pytest

from operate import cli
from tests.campaigns.kept import Kept


@pytest.fixture(autouse=True)
def store(kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))


def test_one_statement(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["sql", "select count(*) as n, max(price) as p from trades", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    highest = max((row["price"] for row in kept.rows["Trade"]), key=float)
    assert told["rows"] == [{"n": len(kept.rows["Trade"]), "p": highest.rstrip("0").rstrip(".")}]
    assert told["simulated"] is True
    assert cli.run(["sql", "drop view trades"]) == 2
    assert "DROP is refused" in capsys.readouterr().err


def test_what_is_piped_in_is_run_statement_by_statement(
    kept: Kept, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "select count(*) as n\nfrom trades;\nselect nothing from trades;\nselect 7 as m"
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert cli.run(["sql", "--csv"]) == 0
    said = capsys.readouterr()
    assert said.out == f"n\n{len(kept.rows['Trade'])}\nm\n7\n"
    assert "nothing" in said.err
