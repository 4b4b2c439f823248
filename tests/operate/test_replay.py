"""A recording served as a program."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from connectors.journal import Journal
from operate import cli
from simulator.frames import frames

ROOT = Path(__file__).parent.parent.parent
START = 1_767_225_600_000_000


def test_it_serves_until_told_to_stop(tmp_path: Path) -> None:
    payloads = [one for one in frames("binance", 1, 100) if b"btcusdt" in one]
    journal = Journal.open(tmp_path / "binance-0", exchange="binance", shard="binance-0", now=START)
    journal.append([(START, START, index + 1, "data", one) for index, one in enumerate(payloads)])
    journal.close()
    command = [
        sys.executable,
        "-m",
        "operate",
        "replay",
        str(tmp_path / "binance-0"),
        "--serve",
        "--speed",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            addresses = json.loads(process.stdout.readline())
            url = addresses["binance"]["websocket"] + "/stream?streams=btcusdt@trade&timeUnit=MICROSECOND"
            with connect(url) as client:
                assert [client.recv(timeout=10, decode=False) for _ in payloads] == payloads
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the directory of a shard"),
        (["--speed", "nan"], "'nan' is not a finite number"),
        (["--speed", "-1"], "is not in the range"),
        (["--port", "99999"], "99999 is not in the range"),
    ],
)
def test_what_cannot_be_replayed_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "journal" / "binance-0").mkdir(parents=True)
    assert cli.run(["replay", str(tmp_path / "journal"), "--serve", *arguments]) == 2
    assert words in capsys.readouterr().err
