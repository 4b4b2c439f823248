"""How fast frames become trades, beside what cryptofeed and tardis-dev do with frames of the same trades.

All figures are CPU time of one core, medians of interleaved rounds, so that a busy machine slows all alike.
Who is not installed, or cannot be, is left out. Peers get frames as their own code path takes them:
cryptofeed those that it subscribes to (aggTrade, Kraken's first protocol, Coinbase's Advanced feed).
Ours is measured as the flow decodes: a run, every field checked and normalised, column by column. Beside it,
as `..._records_...`, what it takes to make of that a record for each trade with all texts of a Trade.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments
from schemas import Frame
from schemas.run import records_of

TRADES = 20_000
BATCH_FRAMES = 100  # as the flow takes them
ROUNDS = 15
# Trades in a message of Kraken, which sends those of one moment together, and first the last 50.
BATCHED = {"kraken_batched": 10, "kraken_snapshot": 50}
NATIVE = {"binance": "BTCUSDT", "kraken": "BTC/USD", "coinbase": "BTC-USD"}

Round = Callable[[], float]  # nanoseconds of CPU time a trade


def measure() -> dict[str, float]:
    with ExitStack() as stack:
        rounds: dict[str, Round] = {name: ours(name) for name in NATIVE}
        rounds |= {f"{name} records": ours(name, records_of) for name in NATIVE}
        rounds |= {name: ours("kraken", together=count) for name, count in BATCHED.items()}
        rounds |= cryptofeed()
        tardis = stack.enter_context(tardis_dev())
        spent: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, one in rounds.items():
                spent.setdefault(name, []).append(one())
            if tardis:
                for name, value in zip(("tardis", "tardis_mapper"), tardis(), strict=True):
                    spent.setdefault(name, []).append(value)
    cost = {name: median(values) for name, values in spent.items()}
    figures = {}
    for name in (*NATIVE, *BATCHED):
        peer = cost.get(f"cryptofeed {name}")
        for what, own in (("decode", name), ("decode_records", f"{name} records")):
            if own in cost:
                figures[figure_name(name, f"{what}_trades_per_second")] = 1e9 / cost[own]
                if peer is not None:
                    figures[figure_name(name, f"{what}_vs_cryptofeed")] = peer / cost[own]
    for peer in ("tardis", "tardis_mapper"):
        if peer in cost:
            figures[f"decode_vs_{peer}"] = cost[peer] / cost["binance"]
    return figures


def figure_name(venue: str, name: str) -> str:
    return name if venue == "binance" else f"{venue}_{name}"


def trades() -> Iterator[dict[str, Any]]:
    """The trades that all frames tell of."""
    for number in range(TRADES):
        at = 1_760_000_000_000_000 + number * 1_371
        yield {
            "id": 1_000_000_000 + number,
            "price": f"{67_000 + number % 997}.{number % 100:02d}000000",
            "size": f"0.{number * 7_919 % 100_000:05d}000",
            "time": at,
            "clock": f"2025-10-09T08:53:{20 + at // 1_000_000 % 30:02d}.{at % 1_000_000:06d}Z",
            "sold": number % 2 == 0,
        }


def binance(one: dict[str, Any], kind: str = "trade", number: str = "t") -> str:
    return (
        f'{{"stream":"btcusdt@{kind}","data":{{"e":"{kind}","E":{one["time"] + 900},"s":"BTCUSDT",'
        f'"{number}":{one["id"]},"p":"{one["price"]}","q":"{one["size"]}","T":{one["time"]},'
        f'"m":{"true" if one["sold"] else "false"},"M":true}}}}'
    )


def kraken(*some: dict[str, Any]) -> str:
    rows = (
        f'{{"symbol":"BTC/USD",'
        f'"side":"{"sell" if one["sold"] else "buy"}","price":{one["price"]},"qty":{one["size"]},'
        f'"ord_type":"limit","trade_id":{one["id"]},"timestamp":"{one["clock"]}"}}'
        for one in some
    )
    return f'{{"channel":"trade","type":"update","data":[{",".join(rows)}]}}'


def groups(size: int) -> Iterator[tuple[dict[str, Any], ...]]:
    """The trades, so many in a message."""
    rest = trades()
    return iter(lambda: tuple(islice(rest, size)), ())


def coinbase(one: dict[str, Any]) -> str:
    return (
        f'{{"type":"match","trade_id":{one["id"]},"maker_order_id":"cac01d6d-8009-4c33-8e0d-f7f853d7c1bc",'
        f'"taker_order_id":"3dec64e4-f6ad-4ca8-ad3f-e5b1a0eb0d06",'
        f'"side":"{"buy" if one["sold"] else "sell"}","size":"{one["size"]}","price":"{one["price"]}",'
        f'"product_id":"BTC-USD","sequence":{one["id"] * 3},"time":"{one["clock"]}"}}'
    )


def ours(name: str, finish: Callable[[Any], Any] = lambda found: found, together: int = 1) -> Round:
    write: Callable[..., str] = {"binance": binance, "kraken": kraken, "coinbase": coinbase}[name]
    frames = [
        Frame(name, f"{name}-0", number, 1, number, some[-1]["time"] + 2_000, "data", write(*some).encode())
        for number, some in enumerate(groups(together), 1)
    ]
    batches = [frames[start : start + BATCH_FRAMES] for start in range(0, len(frames), BATCH_FRAMES)]
    decode_many = VENUES[name].decode_many
    # As the flow holds them: a plain dict.
    instruments = {NATIVE[name]: shipped_instruments(name)[NATIVE[name]]}

    def one_round() -> float:
        started = time.process_time()
        for batch in batches:
            found = finish(decode_many(batch, instruments))
        spent = time.process_time() - started
        assert len(records_of(found)) == BATCH_FRAMES * together
        return spent / TRADES * 1e9

    return one_round


def cryptofeed() -> dict[str, Round]:
    """Rounds of cryptofeed's own message handlers with a callback that does nothing; none without it."""
    try:
        from cryptofeed import exchanges  # noqa: PLC0415
        from cryptofeed.defines import TRADES as CHANNEL  # noqa: PLC0415
        from cryptofeed.symbols import Symbols  # noqa: PLC0415
    except ImportError:
        return {}

    def first_kraken(*some: dict[str, Any]) -> str:
        rows = (
            f'["{one["price"]}","{one["size"]}","{one["time"] // 1_000_000}.{one["time"] % 1_000_000:06d}",'
            f'"{"s" if one["sold"] else "b"}","l",""]'
            for one in some
        )
        return f'[992,[{",".join(rows)}],"trade","XBT/USD"]'

    def advanced_coinbase(one: dict[str, Any]) -> str:
        return (
            f'{{"channel":"market_trades","client_id":"","timestamp":"{one["clock"]}","sequence_num":2,'
            f'"events":[{{"type":"update","trades":[{{"product_id":"BTC-USD","trade_id":"{one["id"]}",'
            f'"price":"{one["price"]}","size":"{one["size"]}","time":"{one["clock"]}","side":"BUY"}}]}}]}}'
        )

    peers: dict[str, tuple[Any, str, Callable[[dict[str, Any]], str]]] = {
        "binance": (exchanges.Binance, "BTCUSDT", lambda one: binance(one, "aggTrade", "a")),
        "kraken": (exchanges.Kraken, "XBT/USD", first_kraken),
        "coinbase": (exchanges.Coinbase, "BTC-USD", advanced_coinbase),
    }
    rounds = {}
    for name, (exchange, native, write) in peers.items():
        # Known beforehand, or it would ask the venue.
        Symbols.set(exchange.id, {"BTC-USD": native}, {"instrument_type": {"BTC-USD": "spot"}})
        rounds[f"cryptofeed {name}"] = handled(exchange, CHANNEL, [write(one) for one in trades()])
    for name, count in BATCHED.items():
        messages = [first_kraken(*some) for some in groups(count)]
        rounds[f"cryptofeed {name}"] = handled(exchanges.Kraken, CHANNEL, messages)
    return rounds


def handled(exchange: Any, channel: str, messages: list[str]) -> Round:
    """A round of one exchange's handler."""
    seen = 0

    async def count(trade: Any, received: float) -> None:
        nonlocal seen
        seen += 1

    feed = exchange(symbols=["BTC-USD"], channels=[channel], callbacks={channel: count})
    handler: Callable[[str, None, float], Awaitable[None]] = feed.message_handler

    async def run() -> float:
        started = time.process_time()
        for message in messages:
            await handler(message, None, 1_760_000_000.0)
        return time.process_time() - started

    def one_round() -> float:
        nonlocal seen
        seen = 0
        spent = asyncio.run(run())
        assert seen == TRADES
        return spent / TRADES * 1e9

    return one_round


@contextmanager
def tardis_dev() -> Iterator[Callable[[], list[float]] | None]:
    """A round of tardis-dev in a node of its own: with its normalising generator, and its mapper alone."""
    modules = install_tardis()
    if modules is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        frames = Path(folder) / "frames"
        frames.write_text("\n".join(binance(one) for one in trades()))
        command = ["node", str(Path(__file__).with_name("tardis.js")), str(modules), str(frames)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdin
            assert node.stdout
            stdin, stdout = node.stdin, node.stdout

            def one_round() -> list[float]:
                stdin.write("go\n")
                stdin.flush()
                answer: list[float] = json.loads(stdout.readline())
                return answer

            for _ in range(3):
                one_round()  # the compiler needs to see the code a few times
            yield one_round
            stdin.close()


def install_tardis() -> Path | None:
    """Where npm put tardis-dev; None where there is no npm, or it cannot."""
    prefix = Path("build/node").resolve()
    modules = prefix / "node_modules"
    if (modules / "tardis-dev").is_dir():
        return modules
    if not (shutil.which("npm") and shutil.which("node")):
        return None
    prefix.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--prefix", str(prefix), "--no-audit", "--no-fund", "tardis-dev"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    except (subprocess.SubprocessError, OSError):
        return None
    return modules if (modules / "tardis-dev").is_dir() else None


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:44}{figure:>14,.2f}")
