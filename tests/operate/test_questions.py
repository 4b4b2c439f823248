"""The questions at the command line: each verb, each form, and what is said when nothing is there."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from operate import cli
from tests.campaigns.kept import Kept

VERBS = ["trades", "quotes", "bars", "latest", "summary", "gaps", "completeness", "symbols", "stats"]


@pytest.fixture(autouse=True)
def store(kept: Kept, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))


def told(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert cli.run([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", VERBS)
def test_every_question_is_answered_in_every_form(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    answer = told(capsys, verb)
    assert answer["simulated"] is True
    assert answer["rows"]
    assert cli.run([verb, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == len(answer["rows"])
    for row, other in zip(rows, answer["rows"], strict=True):
        assert row.keys() == other.keys()
        if "symbol" in row:
            assert row["symbol"] == (other["symbol"] or "")
    assert cli.run([verb, "--parquet", str(tmp_path / "x.parquet")]) == 0
    assert pq.read_table(tmp_path / "x.parquet").num_rows == len(rows)
    assert cli.run([verb]) == 0
    shown = capsys.readouterr()
    assert "SIMULATED" in shown.err
    assert shown.out


def test_prices_are_text_and_times_are_iso(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    last = max(kept.rows["Trade"], key=lambda row: (row["timestamp"], row["message_id"]))
    (row,) = told(capsys, "trades", "--limit", "1")["rows"]
    assert row["message_id"] == last["message_id"]
    assert row["price"] == last["price"].rstrip("0").rstrip(".")
    assert row["timestamp"].startswith("2023-11-14T22:") and row["timestamp"].endswith("Z")  # noqa: PT018
    assert isinstance(row["quantity"], str)


def test_a_scope_is_said_in_words(kept: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--venue", "binance", "--symbol", "btc0-usdt"]
    wanted = [row for row in kept.rows["Trade"] if row["symbol"] == "BTC0-USDT"]
    assert len(told(capsys, "trades", *words)["rows"]) == len(wanted)
    assert len(told(capsys, "trades", *words, "--until", "2023-11-14T00:00:00Z")["rows"]) == 0
    assert len(told(capsys, "trades", *words, "--since", "2023-11-14T00:00:00Z")["rows"]) == len(wanted)
    assert told(capsys, "trades", *words, "--last", "1h")["rows"] == []
    assert len(told(capsys, "trades", *words, "--id", wanted[5]["trade_id"])["rows"]) == 1
    assert {row["status"] for row in told(capsys, "gaps", "--status", "open")["rows"]} == {"open"}
    assert [row["symbol"] for row in told(capsys, "summary", "--top", "2")["rows"]]
    pasts = told(capsys, "stats", "--snapshots")["rows"]
    first = next(row for row in reversed(pasts) if row["table"] == "silver.trades" and row["rows"])
    assert len(told(capsys, "trades", "--as-of", first["snapshot_id"])["rows"]) == first["rows"]
    assert told(capsys, "trades", "--as-of", "2023-01-01T00:00:00Z")["rows"] == []


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["trades", "--venue", "binanse"], "unknown venue 'binanse'", "did you mean binance?"),
        (["trades", "--symbol", "BTC0USDT"], "unknown symbol 'BTC0USDT'", "did you mean BTC0-USDT?"),
        (["latest", "--symbol", "SOL0-USTD"], "unknown symbol 'SOL0-USTD'", "did you mean SOL0-USDT?"),
        (["bars", "--interval", "5x"], "'5x' is no interval", "1s, 3m"),
        (["gaps", "--symbol", "x"], "unknown symbol 'X'", "known: BTC0-USDT"),
        (["trades", "--as-of", "mian"], "unknown tag 'mian'", "did you mean main?"),
    ],
)
def test_what_was_mistyped_is_told_with_what_was_meant(
    words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert hint in said.err
    assert not said.out


def test_a_store_that_is_not_there_is_told_and_not_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAPE_DATA_DIR", str(tmp_path / "nothing"))
    assert cli.run(["trades"]) == 2
    assert "`tape run` begins one" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()
