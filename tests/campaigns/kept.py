"""Stores that the flow has filled from recorded journals, to be asked; and what is true of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

from bytewax.recovery import init_db_dir
from msgspec import convert, to_builtins

from connectors.catalog import open_catalog
from dataflows.steps.windows import bars_of
from query.reader import Reader
from schemas import Trade
from tests.campaigns.recorded import record
from tests.campaigns.running import straight
from tests.connectors.test_lake_flow import flow_killed

SHARDS = ("binance-0", "binance-1")
FRAMES = 2_000
KILLS_MAX = 10

Row = dict[str, Any]


@dataclass
class Kept:
    """A store, and every row that the steps make of its journals."""

    directory: Path
    rows: dict[str, list[Row]]  # by type of record, in order of the journals

    @cached_property
    def reader(self) -> Reader:
        """Who asks it."""
        return Reader(open_catalog(self.directory), self.directory, "simulated")

    def until(self, kind: str, marks: dict[str, int]) -> list[Row]:
        """The rows that frames up to these positions have caused."""
        return [row for row in self.rows[kind] if row["platform_sequence"] <= marks.get(row["shard"], 0)]


def filled(directory: Path, seed: int, *, killed: bool = False) -> Kept:
    """A store that the flow has filled to its end, or was killed in the middle of."""
    directory.mkdir(parents=True)
    store = record(directory, SHARDS, FRAMES, seed)
    (directory / "recovery").mkdir()
    init_db_dir(directory / "recovery", 2)
    if killed:
        assert any(
            flow_killed(directory, Random(f"{seed} {number}"))
            and list(directory.glob("lake/silver/trades/data/*/*"))
            for number in range(KILLS_MAX)
        )
    else:
        flow_killed(directory, None)
    rows: dict[str, list[Row]] = {}
    for shard, made in straight(directory, store.slots).items():
        for _, kind, row in made:
            rows.setdefault(kind, []).append(row if "shard" in row else {**row, "shard": shard})
    return Kept(directory, rows)


def folded(trades: list[Row], interval: str) -> dict[tuple[str, int], Row]:
    """The bars of some trades by symbol and window, as the flow's own fold makes them."""
    made = bars_of(map(as_trade, trades), interval)
    return {(bar.symbol, bar.window_start): to_builtins(bar) for bar in made}


def as_trade(row: Row) -> Trade:
    """The record of a row."""
    return convert({**row, "trade_conditions": tuple(row["trade_conditions"])}, Trade)
