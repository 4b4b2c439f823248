"""How soon what happens on a venue is at somebody who listens over HTTP, and in the pixels of the page.

`tape run` as users start it, over a simulator in a process of its own, which has the same clock. A stream and
a browser listen, one after the other; then a question about bars comes 200 times a second, each when it is
due, whether or not those before it were answered.
"""

import re
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPConnection
from statistics import median
from subprocess import DEVNULL, PIPE, Popen
from threading import Thread, local

import httpx2
import msgspec

from benchmarks.latency import RATE, SEED, percentile, simulator
from connectors.children import ROOT, start_child, stop_child

__all__ = ["SEED"]

SECONDS = 30.0
# Connections open, the first commits make the tables, and the stream has told what there was.
WARM_SECONDS = 10.0
REQUESTS_PER_SECOND, CLIENTS = 200, 32
BARS = "/v1/bars?venue=binance&symbol=BTC-USDT&interval=1m&limit=500"
PATIENCE_SECONDS = 120.0
STOP_SECONDS = 30.0
# Each trade that the page adds, once the frame with it is about to be shown.
WATCH = """
window.ages = [];
new MutationObserver((changes) => {
  for (const change of changes) for (const line of change.addedNodes)
    if (line.tagName === "LI") requestAnimationFrame(() => window.ages.push(Date.now() - line.time));
}).observe(document, {childList: true, subtree: true});
"""


def measure(rate: float = RATE, seconds: float = SECONDS) -> dict[str, float]:
    """Ages of trades at a listener and on the page, and the time of answers; flow and API on one machine."""
    with tempfile.TemporaryDirectory() as folder, simulator(rate) as variables:
        variables |= {"TAPE_DATA_DIR": folder, "TAPE_API__PORT": "0", "TAPE_API__METRICS_PORT": "0"}
        variables |= {"TAPE_API__REQUESTS_PER_SECOND": "1000"}
        words = ["operate", "run", "--simulated"]
        run = start_child(words, stdout=DEVNULL, stderr=PIPE, cwd=ROOT, **variables)
        try:
            origin = address(run)
            wait_for_rows(origin)
            return {
                "api_rate_asked_for": rate,
                "event_to_api_p99_s": percentile(heard(origin, seconds), 99),
                **pixels(origin, seconds),
                **answers(origin, seconds),
            }
        finally:
            stop_child(run, STOP_SECONDS)


def address(run: "Popen[str]") -> str:
    """Where it says that page and API are; what it says later is read by nobody."""
    assert run.stderr is not None
    for line in run.stderr:
        if found := re.search(r"page and API: (http://127\.0\.0\.1:\d+)", line):
            Thread(target=run.stderr.read, daemon=True).start()
            return found[1]
    raise RuntimeError("it ended by itself")


def wait_for_rows(origin: str) -> None:
    """Until there is something to ask for."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while httpx2.get(f"{origin}{BARS}").status_code != HTTPStatus.OK:
        if time.monotonic() > ends:
            raise RuntimeError("there is nothing to ask for")
        time.sleep(0.2)


def heard(origin: str, seconds: float) -> list[float]:
    """Seconds from the venue's time of each trade until the stream has it here."""
    ages: list[float] = []
    begins, name = time.monotonic() + WARM_SECONDS, ""
    with httpx2.stream("GET", f"{origin}/v1/stream?venue=binance&events=trades", timeout=60) as response:
        for line in response.iter_lines():
            now = time.time()
            kind, _, text = line.partition(": ")
            if kind == "event":
                name = text
            elif kind == "data" and name == "trades" and time.monotonic() > begins:
                rows = msgspec.json.decode(text)["rows"]
                ages += [
                    now - datetime.fromisoformat(row["timestamp"]).timestamp()
                    for row in rows
                    if row["origin"] == "live"
                ]
            if time.monotonic() > begins + seconds:
                break
    return ages


def pixels(origin: str, seconds: float) -> dict[str, float]:
    """The same until a browser shows it, where there is one."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  # for tests, not always there
    except ImportError:
        return {}
    if program is None:
        return {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.add_init_script(WATCH)
        page.goto(f"{origin}/#binance/BTC-USDT/1m")
        page.wait_for_timeout(WARM_SECONDS * 1_000)
        page.evaluate("window.ages.length = 0")
        page.wait_for_timeout(seconds * 1_000)
        ages: list[float] = page.evaluate("window.ages")
        browser.close()
    return {"event_to_pixel_p99_s": percentile(ages, 99) / 1_000, "pixel_trades": len(ages)}


def answers(origin: str, seconds: float) -> dict[str, float]:
    """Milliseconds from when a request was due until its answer is read."""
    begin, mine = time.monotonic() + 1.0, local()

    def ask(number: int) -> float:
        due = begin + number / REQUESTS_PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        if not hasattr(mine, "connection"):  # one for each thread: a client must cost less than an answer
            mine.connection = HTTPConnection(origin.removeprefix("http://"), timeout=60)
        mine.connection.request("GET", BARS)
        answer = mine.connection.getresponse()
        if answer.status != HTTPStatus.OK or not answer.read():
            raise RuntimeError(f"it answers {answer.status}")
        return (time.monotonic() - due) * 1_000

    with ThreadPoolExecutor(CLIENTS) as clients:
        took = list(clients.map(ask, range(int(seconds * REQUESTS_PER_SECOND))))
    return {"api_bars_p50_ms": median(took), "api_bars_p99_ms": percentile(took, 99)}
