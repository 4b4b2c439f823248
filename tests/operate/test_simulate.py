"""The simulator as a program: its one line, its faults, and how it ends."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest
from websockets.sync.client import connect

from tests.services.programs import free_ports

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def program(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, dict[str, str]]]]:
    """The running simulator and the addresses that it printed."""
    command = [sys.executable, "-m", "operate", "simulate", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_ends_when_told(ending: signal.Signals) -> None:
    with program("--rate", "100", "--faults", "drop:0.5") as (process, addresses):
        assert set(addresses) == {"binance", "kraken", "coinbase", "control"}
        assert httpx2.get(addresses["binance"]["rest"] + "/api/v3/ping").text == "{}"
        oracle = httpx2.get(f"{addresses['control']}/oracle").json()
        assert set(oracle) == {"binance", "kraken", "coinbase"}
        process.send_signal(ending)
        began = time.monotonic()
        assert process.wait(timeout=10) == 0
        assert time.monotonic() - began < 1


def test_attached_it_ends_with_whoever_started_it() -> None:
    command = [sys.executable, "-m", "operate", "simulate", "--rate", "0", "--attached"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert b"control" in process.stdout.readline()
            process.stdin.close()
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def test_venue_and_ports_may_be_chosen() -> None:
    port, *_ = free_ports(3)
    with program("--venue", "kraken", "--rate", "0", "--port", str(port)) as (_, addresses):
        assert addresses == {
            "kraken": {"websocket": f"ws://127.0.0.1:{port + 1}/v2", "rest": f"http://127.0.0.1:{port + 2}"},
            "control": f"http://127.0.0.1:{port}",
        }


def test_the_same_seed_and_start_give_the_same_bytes() -> None:
    told = []
    for _ in range(2):
        with program("--venue", "kraken", "--rate", "0", "--start", "2026-01-31T00:00:00Z") as (_, addresses):
            url = f"{addresses['kraken']['rest']}/0/public/Trades"
            told.append(httpx2.get(url, params={"pair": "XBTUSD", "since": "0"}).content)
    assert told[0] == told[1]
    assert b'"1769817' in told[0] or b",1769817" in told[0]


def test_the_highest_ids_are_ids_still() -> None:
    with program("--rate", "0", "--ids-from", f"{2**58}") as (_, addresses):
        url = addresses["coinbase"]["websocket"]
        with connect(url) as client:
            client.send('{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}')
            match = json.loads([client.recv(timeout=10) for _ in range(2)][1])
        assert match["trade_id"] == 2**58 + 910_000_100
        assert match["sequence"] < 2**63 - 1_000_000_000_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--start", "tomorrow"], "'tomorrow' is neither microseconds nor a time"),
        (["--faults", "gaps:0.1"], "unknown fault 'gaps'"),
        (["--faults", "dorp:0.1"], "did you mean drop?"),
        (["--port", "99999"], "99999 is not in the range"),
        (["--rate", "-1"], "is not in the range"),
        (["--rate", "nan"], "'nan' is not a finite number"),
        (["--venue", "krakn"], "did you mean kraken?"),
        (["--ids-from", "-1"], "is not in the range"),
        (["--ids-from", f"{2**58 + 1}"], "is not in the range"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "operate", "simulate", *arguments]
    plain = {**os.environ, "NO_COLOR": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=plain, check=False)
    assert ended.returncode == 2
    assert words in ended.stderr
