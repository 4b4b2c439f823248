"""The page over the real thing: a market with holes, the real server, which is killed and started again."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.services.chromium import seen
from tests.services.programs import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 60
# Holes within seconds, and answers slow enough for each to be seen.
FAULTS = "drop:0.02,rest_slow:1:2"

pytestmark = pytest.mark.timeout(300)


class Process:
    """A verb of ours that runs meanwhile."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.said = directory / f"{words[0]}.{time.monotonic_ns()}"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "operate", *words],
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "TAPE_DATA_DIR": str(directory / "data"),
                    "TAPE_SIMULATOR__FAULTS": FAULTS,
                    "TAPE_METRICS__PORT": "0",
                    "TAPE_API__METRICS_PORT": "0",
                    "TAPE_LAKE__MAINTAIN": "false",
                },
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def until(self, words: str) -> None:
        """Wait until it has said this."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(words, self.said.read_text()):
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.05)

    def end(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE_SECONDS)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Process]]:
    started: list[Process] = []
    yield started
    for each in started[::-1]:
        if each.process.poll() is None:
            each.end(signal.SIGINT)


@pytest.mark.long
def test_a_real_market_moves_loses_ids_finds_them_and_outlives_its_server(
    browser: "Browser", running: list[Process], tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    serve = ("serve", "--port", str(port))
    running += [Process(tmp_path, "run", "--simulated", "--no-table"), Process(tmp_path, *serve)]
    server = running[1]
    server.until("http://")
    with seen(browser, f"http://127.0.0.1:{port}", color_scheme="dark") as page:
        page.says("#simulated", "SIMULATED")
        page.until(lambda: page.text("#price"))
        assert page.text("#symbol").startswith("BTC-USD")

        def newest() -> str:
            return page.text("#trades time")

        page.until(lambda: page.page.locator("#trades li").count() > 10)
        before = newest()
        page.until(lambda: newest() > before)
        # A hole opens, and is found again.
        page.until(lambda: re.match(r"All but [\d,]+ of [\d,]+ trades since ", page.text("#claim")))
        page.until(lambda: page.page.locator(".cells [data-state=repairing]").count())
        page.picture("real-hole")
        page.until(lambda: re.search(r"\d+ repaired", page.text("#claim-details")))
        page.page.locator("#holes").click()
        page.until(lambda: re.search(r"repair\s+[\d.]+ s\s+repaired", page.text("#details-body")))
        page.page.keyboard.press("Escape")
        # The server is killed, and comes back at its place.
        server.end(signal.SIGKILL)
        page.says("#trouble", "does not answer")
        before = newest()
        server = Process(tmp_path, *serve)
        running.append(server)
        server.until(f":{port}\n")
        page.until(lambda: not page.page.locator("#trouble").is_visible())
        page.until(lambda: newest() > before)
        # What has just begun is shown by the second. Asked in another length, and for another market.
        assert page.page.url.endswith("/1s")
        page.picture("real-1s")
        page.page.get_by_role("radio", name="1m").click()
        page.until(lambda: re.search(r"\d\d:\d\d:00 O ", page.text("#legend")))
        page.page.locator(".market .name", has_text="kraken ETH-USD").click()
        page.says("#venue", "kraken")
        page.until(lambda: page.page.locator("#trades li").count() > 2)
