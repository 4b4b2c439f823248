"""`tape top` as somebody starts it: in a terminal, in a pipe, and as JSON, on a store that others fill."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operate import cli
from operate.top import ordered, shown
from tests.campaigns.kept import Kept

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60


@pytest.fixture
def store(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))
    return kept


def test_json_says_how_things_stand(store: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["top", "--json", "--sort", "symbol", "--venue", "binance"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["simulated"]
    symbols = [row["symbol"] for row in said["rows"]]
    assert symbols == sorted({row["symbol"] for row in store.rows["Trade"]})


def test_a_pipe_gets_one_table(store: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["top"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["venue", "symbol", "price"]
    assert len(lines) == len({row["symbol"] for row in store.rows["Trade"]})


def test_a_terminal_is_drawn_again_sorted_by_a_key_and_left_as_it_was(store: Kept) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "operate", "top"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "160", "LINES": "40"},
        stdin=inside,
        stdout=inside,
        stderr=inside,
    )
    screen = ""

    def until(pattern: str) -> None:
        nonlocal screen
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(pattern, screen):
            assert time.monotonic() < deadline, screen
            if select.select([terminal], [], [], 0.1)[0]:
                screen += os.read(terminal, 65536).decode(errors="replace")

    try:
        until("by venue")
        assert "SIMULATED" in screen
        until("BTC0-USDT")  # a terminal gives what was written in pieces
        screen = ""
        until("by venue")  # again, a second later
        os.write(terminal, b"r")
        until("by rate")
        os.write(terminal, b"q")
        until(re.escape("\x1b[?1049l"))  # the screen of before is back
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        for end in (terminal, inside):
            os.close(end)


def row(symbol: str, rate: float, lag: float | None, **other: int) -> dict[str, object]:
    return {
        "exchange": "binance", "symbol": symbol, "price": "1", "side": "BUY", "age_seconds": 12.4,
        "trades_per_second": rate, "lag_seconds": lag, "gaps": 0, "open_ids": 0, "lost_ids": 0,
        "duplicates_of_venue": 0,
    } | other  # fmt: skip


def test_much_comes_first_and_what_is_not_known_last() -> None:
    rows = [row("A", 1.0, None), row("B", 3.0, 0.1), row("C", 2.0, 0.4)]
    assert [one["symbol"] for one in ordered(rows, "rate")] == ["B", "C", "A"]
    assert [one["symbol"] for one in ordered(rows, "lag")] == ["C", "B", "A"]
    assert [one["symbol"] for one in ordered(rows[::-1], "symbol")] == ["A", "B", "C"]


def test_a_line_names_what_is_missing() -> None:
    line = shown(row("A", 1.0, 0.0124, gaps=3, open_ids=12, lost_ids=17))
    assert line["gaps"] == "3 (12 ids open, 17 ids lost)"
    assert (line["lag"], line["age"]) == ("12 ms", "quiet · 12 s")
    assert shown(row("A", 1.0, None))["lag"] is None
