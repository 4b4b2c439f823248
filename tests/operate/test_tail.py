"""`tape tail` as somebody starts it, on a store that is being filled; Ctrl-C ends it with 130."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from operate import cli
from schemas import Trade
from tests.campaigns.kept import Kept, filled, flow

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60


@pytest.mark.parametrize("form", [["--json"], []])
@pytest.mark.long
def test_records_are_followed_as_they_land(tmp_path: Path, seed: int, form: list[str]) -> None:
    kept = filled(tmp_path / "simulated", seed, killed=True)
    mark = kept.reader.at(Trade).marks()["binance-0"]
    wanted = [
        row["trade_id"]
        for row in kept.rows["Trade"]
        if row["symbol"] == "BTC0-USDT" and row["platform_sequence"] > mark
    ]
    assert wanted
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as output, err.open("w") as talk:
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", "tail", "--symbol", "BTC0-USDT", *form],
            env={**os.environ, "TAPE_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=talk,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "following" not in err.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        flow(kept.directory)
        while len(out.read_text().splitlines()) < len(wanted):
            assert process.poll() is None, err.read_text()
            assert time.monotonic() < deadline + PATIENCE_SECONDS
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_SECONDS)
    assert code == 130, err.read_text()
    assert "SIMULATED" in err.read_text()
    lines = out.read_text().splitlines()
    told = [json.loads(line)["trade_id"] if form else line.split()[-1] for line in lines]
    assert [text.replace(",", "") for text in told] == wanted


def test_a_frame_has_no_symbol(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))
    assert cli.run(["tail", "--stage", "frame", "--symbol", "BTC0-USDT"]) == 2
    assert "until it is decoded" in capsys.readouterr().err


@pytest.mark.parametrize(("symbol", "said"), [
    ("btcusdt", "nobody here captures BTCUSDT; did you mean BTC-USDT?"),
    ("BTC-USDX", "nobody here captures BTC-USDX"),
    ("x", "nobody here captures X"),
    ("BTC-USDT", ""),  # configured
    ("BTC0-USDT", ""),  # stored
])  # fmt: skip
def test_a_symbol_that_nobody_captures_is_doubted(
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    symbol: str,
    said: str,
) -> None:
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))

    def enough(_: float) -> None:
        raise KeyboardInterrupt

    # Its own, not everybody's: threads of the test run sleep too.
    monkeypatch.setattr("operate.tail.time", SimpleNamespace(sleep=enough))
    assert cli.run(["tail", "--symbol", symbol]) == 130
    told = capsys.readouterr().err.splitlines()
    assert told == [*([said] if said else []), "SIMULATED · following trades, Ctrl-C ends"]
