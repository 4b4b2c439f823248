"""A server that says what a test tells it to, in the API's words: for what no market can be made to do.

It serves the real page. That the real server speaks so is tested with the real one.
"""

import json
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

PAGE = Path(__file__).parent.parent.parent / "query" / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
SECONDS = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "1d": 86_400}
QUARTER = 900
# A second in which nothing is sent ends a wait, so that a server that stops is gone.
LOOK_SECONDS = 0.1

Row = dict[str, Any]


def iso(seconds: float) -> str:
    """A time as the API says it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Script:
    """What is said: the rows of every route, to be changed by a test, and a stream to speak into."""

    def __init__(self, now: float, seed: int) -> None:
        # In the middle of a minute and of a quarter of an hour: neither ends while a test looks.
        self.now = now // QUARTER * QUARTER + QUARTER / 2
        self.began = now
        self.random = random.Random(seed)
        self.markets: list[tuple[str, str]] = []
        self.bars: dict[tuple[str, str], list[Row]] = {}
        self.trades: dict[tuple[str, str], list[Row]] = {}
        self.quarters: list[Row] = []
        self.gaps: dict[str, Row] = {}
        self.venues: dict[str, Row] = {}
        self.letters: list[Row] = []
        self.asked: list[str] = []
        self.streams: list[queue.Queue[tuple[str, Row] | None]] = []

    def market(
        self, exchange: str, symbol: str, price: float, *, since: int = 60, provable: bool = True
    ) -> None:
        """A market that was captured for so many quarters of an hour."""
        self.markets.append((exchange, symbol))
        start = int(self.now) // 60 * 60
        bars = []
        for minute in range(240, -1, -1):
            opened, price = price, price * (1 + self.random.gauss(0, 0.0006))
            high, low = max(opened, price) * 1.0003, min(opened, price) * 0.9997
            bars.append(
                self.bar(exchange, symbol, start - 60 * minute, (opened, high, low, price), minute > 0)
            )
        self.bars[exchange, symbol] = bars
        self.trades[exchange, symbol] = []
        for number in range(60):
            self.trade(exchange, symbol, price + self.random.gauss(0, 1), self.now - 20 + number / 3)
        first = int(self.now) // QUARTER * QUARTER
        self.quarters += [
            {
                "exchange": exchange, "market": "spot", "symbol": symbol,
                "window_start": iso(first - QUARTER * back), "received": 18_000 + back,
                "missing": 0 if provable else None,
            }
            for back in range(since)
        ]  # fmt: skip
        self.venues[exchange] = {
            "exchange": exchange, "state": "live", "age_seconds": 0.2, "trades_per_second": 31.4,
            "open_gaps": 0, "open_ids": 0, "lost_ids": 0,
        }  # fmt: skip

    def bar(
        self, exchange: str, symbol: str, start: int, prices: tuple[float, ...], closed: bool, **other: Any
    ) -> Row:
        opened, high, low, close = (f"{price:.2f}" for price in prices)
        return {
            "exchange": exchange, "market": "spot", "symbol": symbol, "interval": "1m",
            "window_start": iso(start), "window_end": iso(start + 60), "open": opened,
            "high": high, "low": low, "close": close, "volume": f"{self.random.expovariate(0.1):.4f}",
            "trade_count": 240, "missing": 0 if closed else None, "revision": 0 if closed else None,
            "is_closed": closed,
        } | other  # fmt: skip

    def trade(self, exchange: str, symbol: str, price: float, when: float, **other: Any) -> Row:
        """One more trade, which its stream may be told."""
        own = self.trades[exchange, symbol]
        row = {
            "message_id": f"{exchange}:{symbol}:{len(own)}", "exchange": exchange, "market": "spot",
            "symbol": symbol, "timestamp": iso(when), "price": f"{price:.2f}",
            "quantity": f"{self.random.random():.5f}", "side": self.random.choice(("BUY", "SELL")),
            "origin": "live",
        } | other  # fmt: skip
        own.append(row)
        return row

    def gap(self, exchange: str, symbol: str, found: float, ids: int, status: str, **other: Any) -> Row:
        """A gap, which replaces the one with its gap_id."""
        row = {
            "gap_id": f"{exchange}:{symbol}:{found}", "exchange": exchange, "market": "spot",
            "symbol": symbol, "series": 0, "first_missing": 5_000_000, "last_missing": 5_000_000 + ids - 1,
            "ids": ids, "status": status, "reason": "sequence",
            "found": iso(found), "ended": None if status == "open" else iso(found + 3.2),
        } | other  # fmt: skip
        self.gaps[row["gap_id"]] = row
        return row

    def letter(self, exchange: str, reason: str, payload: str) -> None:
        """A message that was refused."""
        self.letters.append({
            "message_id": f"letter:{len(self.letters)}", "exchange": exchange, "symbol": None,
            "stage": "decode", "reason": reason, "detail": "it is not what it should be",
            "received": iso(self.now), "payload": payload,
        })  # fmt: skip

    def glance(self, exchange: str, symbol: str) -> Row:
        """A row of /v1/markets."""
        last = self.trades[exchange, symbol][-1]
        return {
            "exchange": exchange, "market": "spot", "symbol": symbol, "price": last["price"],
            "last_traded": last["timestamp"], "age_seconds": self.venues[exchange]["age_seconds"],
            "duplicates_of_venue": 4_118,
        }  # fmt: skip

    def health(self) -> list[Row]:
        """The rows of /v1/health."""
        now = self.now + time.time() - self.began
        return [row | {"last_received": iso(now - row["age_seconds"])} for row in self.venues.values()]

    def tell(self, event: str, *rows: Row) -> None:
        """Say something to everybody who listens."""
        for each in list(self.streams):
            each.put((event, {"rows": list(rows)}))

    def answer(self, route: str, asked: Mapping[str, str]) -> Row:
        """The answer to a question."""
        market = (asked.get("venue", ""), asked.get("symbol", ""))
        answers: dict[str, Callable[[], list[Row]]] = {
            "markets": lambda: [self.glance(*each) for each in self.markets if self.trades[each]],
            "bars": lambda: (
                self.bars.get(market, [])[-int(asked.get("limit", "1000")) :] if "until" not in asked else []
            ),
            "trades": lambda: self.trades.get(market, [])[-int(asked.get("limit", "1000")) :],
            "quotes": lambda: [{"bid_price": "64212.36", "ask_price": "64212.37"}],
            "gaps": lambda: list(self.gaps.values()),
            "completeness": lambda: self.quarters,
            "dead-letters": lambda: self.letters,
            "health": self.health,
            "venues": lambda: [
                {"exchange": name, "first_trade": iso(self.now - 54_000)} for name in self.venues
            ],
            "stats": lambda: [
                {"table": "bronze.frames", "rows": len(self.asked) * 500},
                {"table": "silver.dead_letters", "rows": len(self.letters)},
            ],
        }
        return {
            "simulated": True,
            "provisional_from": iso(self.now - 3.2),
            "next": None,
            "rows": answers[route](),
        }


class Scripted:
    """The server; it can be stopped and started again at its address."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Answer from now on."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler(self.script))
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(LOOK_SECONDS,), daemon=True).start()

    def stop(self) -> None:
        """Be gone, with every stream."""
        if self.server is not None:
            for each in self.script.streams:
                each.put(None)
            self.server.shutdown()
            self.server.server_close()
            self.server = None


def handler(script: Script) -> type[BaseHTTPRequestHandler]:
    """What answers one connection."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            script.asked.append(self.path)
            if url.path == "/v1/stream":
                self.stream(dict(parse_qsl(url.query)))
            elif url.path.startswith("/v1/"):
                said = script.answer(url.path.removeprefix("/v1/"), dict(parse_qsl(url.query)))
                self.give("application/json", json.dumps(said).encode())
            else:
                path = PAGE / (url.path.lstrip("/") or "index.html")
                if path.is_file():
                    self.give(KINDS[path.suffix], path.read_bytes())
                else:
                    self.send_error(404)

        def give(self, kind: str, data: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Security-Policy", "default-src 'self'")
            self.end_headers()
            self.wfile.write(data)

        def stream(self, asked: dict[str, str]) -> None:
            events = asked["events"].split(",")
            told: queue.Queue[tuple[str, Row] | None] = queue.Queue()
            script.streams.append(told)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                self.event("start", {"simulated": True, "resumed": False})
                self.events(told, events, (asked.get("venue"), asked.get("symbol")))
            except OSError:
                pass  # the browser has gone
            finally:
                script.streams.remove(told)

        def events(
            self,
            told: "queue.Queue[tuple[str, Row] | None]",
            events: list[str],
            market: tuple[str | None, ...],
        ) -> None:
            while True:
                if "health" in events:
                    self.event("health", {"rows": script.health()})
                try:
                    one = told.get(timeout=1)
                except queue.Empty:
                    continue
                if one is None:
                    return
                name, data = one
                rows = [row for row in data["rows"] if market[0] in (None, row["exchange"])]
                rows = [row for row in rows if market[1] in (None, row.get("symbol"))]
                if name in events and rows:
                    self.event(name, {"rows": rows})

        def event(self, name: str, data: Row) -> None:
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """What is asked is in the script."""

    return Handler
