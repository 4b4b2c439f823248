"""The first five minutes with Tapekeeper, as somebody lives through them, in commands that he can type."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO
from urllib.request import urlopen

import pytest

from tests.services.chromium import chromium, seen

ROOT = Path(__file__).parent.parent
PATIENCE_SECONDS = 90.0

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class Shell:
    """A terminal in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.started: list[subprocess.Popen[bytes]] = []
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "TAPE_DATA_DIR": str(directory / "data"),
            "TAPE_MODE": "simulated",
        }

    def types(self, *words: str, expect: int = 0) -> str:
        """What a command prints that ends by itself, or says where it is expected to refuse."""
        done = subprocess.run(
            [sys.executable, "-m", "operate", *words],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stderr if expect else done.stdout

    def starts(self, output: IO[bytes], *words: str) -> "subprocess.Popen[bytes]":
        """A command that goes on."""
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", *words],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.started:
            process.kill()
            process.wait()


def until(path: Path, words: str, process: "subprocess.Popen[bytes]") -> str:
    """What a command has printed, once this is among it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := re.search(words, path.read_text())):
        assert process.poll() is None, path.read_text()
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)
    return found[0]


def test_the_first_five_minutes(tmp_path: Path) -> None:
    shell, said, again, gaps = Shell(tmp_path), tmp_path / "said", tmp_path / "again", tmp_path / "gaps"
    with said.open("wb") as output, again.open("wb") as later, gaps.open("wb") as followed:
        run = shell.starts(output, "demo", "--faults", "gaps,duplicates")
        try:
            origin = until(said, r"http://127\.0\.0\.1:\d+", run)
            # The demo keeps its own directory, and says how to look into it.
            shell.environment["TAPE_DATA_DIR"] = until(said, r"(?<=TAPE_DATA_DIR=)\S+", run)
            with chromium() as browser, seen(browser, origin) as page:
                page.says("#simulated", "SIMULATED")
                page.until(lambda: page.page.locator("#trades li").count() > 10)
                tail = shell.starts(followed, "tail", "--stage", "gap", "--json")
                page.until(lambda: re.search(r"\d+ repaired", page.text("#claim-details")))
            until(gaps, '"status":"repaired"', tail)
            tail.send_signal(signal.SIGINT)
            assert tail.wait(PATIENCE_SECONDS) in (0, 130), gaps.read_text()
            markets = json.loads(shell.types("top", "--json"))["rows"]
            assert {row["exchange"] for row in markets} == {"binance", "kraken", "coinbase"}
            rows = json.loads(shell.types("sql", "from bars limit 5", "--json"))["rows"]
            assert len(rows) == 5
            assert {"symbol", "open", "high", "low", "close"} <= rows[0].keys()
            with urlopen(f"{origin}/v1/trades?symbol=BTC-USDT&format=csv", timeout=PATIENCE_SECONDS) as csv:
                header, *lines = csv.read().decode().splitlines()
            assert "price" in header.split(",")
            assert lines
            shell.types("audit")
            run.kill()
            run.wait()
            run = shell.starts(later, "run", "--simulated")
            until(again, "resumed", run)
            until(again, r"http://127\.0\.0\.1:\d+", run)
            shell.types("audit", "--deep")
            run.send_signal(signal.SIGINT)
            assert run.wait(PATIENCE_SECONDS) == 0, again.read_text()
            shell.types("audit")
            shell.types("init")
            shell.types("config", "show", "--origin")
            assert "BTC-USDT" in shell.types("bars", "--symbol", "BTC-USDDT", expect=2)
        finally:
            shell.close()
