"""What questions cost: bars of a day, trades of an hour, one trade, the latest prices of all symbols.

The lake is as maintenance leaves it: one sorted file a day and table. `query_trades` says how many trades it
has: five million by default, because fifty take many minutes to make; TAPE_BENCH_TRADES asks for others.
"""

import os
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import quantiles

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from connectors.catalog import open_catalog
from connectors.publishing import LakeTable, Pending
from connectors.slots import open_store
from connectors.staging import stage
from query import lake
from query.bars import bars
from query.files import Scope
from query.latest import latest
from query.reader import Reader
from schemas import Bar, DeadLetter, Frame, Gap, Quote, Trade
from schemas.iceberg import arrow_schema

TRADES = int(os.environ.get("TAPE_BENCH_TRADES", "5_000_000"))
DAYS, SYMBOLS, SHARD = 10, 20, "binance-0"
DAY = 86_400_000_000
START = 20_000 * DAY
QUESTIONS = 200
SEED = 1

# Trades of one day, spread over symbols as markets are: the first has a third of all.
TRADES_OF_A_DAY = """
    select 'binance:spot:' || symbol || ':0:' || id as message_id, id::varchar as trade_id, symbol,
        'binance' as exchange, 'crypto' as asset_class, make_timestamptz(time) as timestamp,
        price::decimal(38,18) as price, quantity::decimal(38,18) as quantity, 'USDT' as currency,
        if(id % 2 = 0, 'BUY', 'SELL') as side, []::varchar[] as trade_conditions, id as source_sequence,
        make_timestamptz(time + 40000) as ingestion_timestamp, id - $first + $before as platform_sequence,
        '{"event_type":"trade"}' as vendor_data, 'spot' as market, base as base_asset,
        'USDT' as quote_asset, base || 'USDT' as native_symbol, id as first_sequence, id as last_sequence,
        0::bigint as series, 'live' as origin, 'binance-0' as shard,
        (price * quantity)::decimal(38,18) as notional, true as notional_exact
    from (
        select $first + i as id, ($start + i * $step)::bigint as time,
            'S' || (hash(i) % $symbols * (hash(i + 1) % $symbols) // $symbols) as base,
            base || '-USDT' as symbol,
            (100 + (hash(i + 2) % 10000) / 100)::decimal(18,2) as price,
            (1 + (hash(i + 3) % 10000) / 1000)::decimal(18,3) as quantity
        from range($count) as made(i)
    )
"""
BARS_OF_A_DAY = """
    select 'binance:spot:' || symbol || ':' || $interval || ':' || start || ':0' as message_id, symbol,
        'binance' as exchange, 'crypto' as asset_class, $interval as interval,
        make_timestamptz(start) as window_start, make_timestamptz(start + $size) as window_end,
        arg_min(price, timestamp) as open, max(price) as high, min(price) as low,
        arg_max(price, timestamp) as close, sum(quantity) as volume, sum(notional) as notional,
        arg_max(price, timestamp) as vwap, count(*) as trade_count, sum(quantity) as taker_buy_volume,
        count(*) as taker_buy_count, arg_min(trade_id, timestamp) as first_trade_id,
        arg_max(trade_id, timestamp) as last_trade_id, 0::bigint as missing, 0::bigint as revision,
        'USDT' as currency, 'spot' as market, base_asset, 'USDT' as quote_asset, 'binance-0' as shard,
        max(platform_sequence) as platform_sequence
    from (select *, epoch_us(timestamp) - epoch_us(timestamp) % $size as start from trades)
    group by symbol, base_asset, start
"""
INTERVALS = {"1s": 1, "1m": 60, "5m": 300, "15m": 900, "1h": 3_600, "1d": 86_400}


class Maker:
    """A lake that is filled day by day."""

    def __init__(self, directory: Path) -> None:
        store = open_store(directory, "simulated", (SHARD,))
        catalog = open_catalog(directory)
        self._tables: dict[type[Struct], LakeTable] = {}
        for kind in (Trade, Bar, Quote, Gap, DeadLetter, Frame):
            self._tables[kind] = LakeTable(catalog, kind, store, str(uuid.uuid4()))
            self._tables[kind].take_over([SHARD])
        self.reader = Reader(catalog, directory, "simulated")
        self.ids: list[tuple[str, str]] = []  # a symbol and an id, now and then

    def add(self, day: int, count: int) -> None:
        """All trades and bars of a day."""
        values = {
            "first": 10**9 + day * count, "before": day * count + 1, "start": START + day * DAY,
            "step": DAY / count, "count": count, "symbols": SYMBOLS,
        }  # fmt: skip
        database = duckdb.connect()
        database.execute("set TimeZone = 'UTC'")
        trades = database.sql(TRADES_OF_A_DAY, params=values).to_arrow_table()
        self.ids += zip(
            *(trades.column(name)[::9_973].to_pylist() for name in ("symbol", "trade_id")), strict=True
        )
        database.register("trades", trades)
        made = [
            database.sql(
                BARS_OF_A_DAY, params={"interval": name, "size": seconds * 1_000_000}
            ).to_arrow_table()
            for name, seconds in INTERVALS.items()
        ]
        self._publish(Trade, trades)
        self._publish(Bar, pa.concat_tables(made))

    def _publish(self, kind: type[Struct], rows: pa.Table) -> None:
        table = self._tables[kind]
        assert table.form is not None
        fitted = rows.select(arrow_schema(kind).names).cast(arrow_schema(kind))
        written = stage(table.form, kind, SHARD, fitted)
        last = pc.max(rows.column("platform_sequence")).as_py()
        table.commit({SHARD: [Pending(last, (), tuple(staged for staged, _ in written))]})


def milliseconds(ask: Callable[[], object], count: int) -> list[float]:
    """How long each of some questions took, after one that nobody waited for."""
    ask()
    taken: list[float] = []
    for _ in range(count):
        before = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - before) * 1_000)
    return taken


def measure(trades: int = TRADES, questions: int = QUESTIONS) -> dict[str, float]:
    """All figures, warm."""
    random = Random(SEED)
    with tempfile.TemporaryDirectory() as directory:
        maker = Maker(Path(directory))
        for day in range(DAYS):
            maker.add(day, trades // DAYS)
        reader = maker.reader

        def a_day() -> object:
            start = START + random.randrange(DAYS) * DAY
            symbol = random.choice(maker.ids)[0]
            return bars(reader, Scope("binance", symbol, start, start + DAY), "1m")

        def an_hour() -> object:
            start = START + random.randrange(DAYS * 24) * DAY // 24
            scope = Scope("binance", random.choice(maker.ids)[0], start, start + DAY // 24)
            return lake.trades(reader, scope, limit=1_000_000)

        def one() -> object:
            symbol, trade_id = random.choice(maker.ids)
            return lake.trades(reader, Scope("binance", symbol), trade_id=trade_id)

        days = milliseconds(a_day, questions)
        return {
            "bars_day_p50_ms": quantiles(days, n=100)[49],
            "bars_day_p99_ms": quantiles(days, n=100)[98],
            "trades_hour_p99_ms": quantiles(milliseconds(an_hour, questions), n=100)[98],
            "trade_by_id_p99_ms": quantiles(milliseconds(one, questions), n=100)[98],
            "latest_p99_ms": quantiles(milliseconds(lambda: latest(reader, Scope()), questions), n=100)[98],
            "query_trades": trades,
        }


if __name__ == "__main__":
    for figure, value in measure().items():
        print(f"{figure:40} {value:12,.1f}")
