"""The last trade of each symbol. What was seen once is remembered: later only newer rows are looked at."""

from collections.abc import Mapping
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import pyarrow as pa
from msgspec.structs import replace

from query.answer import Answer
from query.bars import QUIET, UNITS, exchanges
from query.files import Between, Scope, Wanted, only
from query.reader import AsOf, Reader
from query.view import View, moment
from schemas import Bar, Trade
from schemas.iceberg import arrow_schema
from schemas.shards import exchange_of

# A symbol that was not traded for so long before the newest trade has no latest price.
LATEST = 7 * UNITS["d"]
# Windows that closed before have trades that are older; of others the trades are looked at.
RECENT = UNITS["m"] + QUIET

MARKET = ("exchange", "market", "symbol")
PLACE = ("timestamp", "series", "source_sequence", "trade_id")
COLUMNS = (*MARKET, "base_asset", "quote_asset", "price", "quantity", "side", "currency", *PLACE)
ROWS = pa.schema([arrow_schema(Trade).field(name) for name in COLUMNS])

Row = dict[str, Any]


class Known:
    """The last trade of each market, of all that frames up to some positions have caused."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], Row] = {}
        self.marks: Mapping[str, int] = {}
        self.turn = Lock()


_known: WeakKeyDictionary[Reader, Known] = WeakKeyDictionary()


def latest(reader: Reader, scope: Scope, *, as_of: AsOf | None = None) -> Answer:
    """The last trade of each symbol that was traded within a week before the newest trade."""
    known = Known() if as_of else _known.setdefault(reader, Known())
    with known.turn:
        view = reader.at(Trade, as_of)
        marks = view.marks()
        if not known.marks:
            found = first_look(reader, view, as_of)
        else:
            found = last_trades(reader, view, *news(view, known.marks))
        for row in found:
            market = tuple(row[name] for name in MARKET)
            if market not in known.rows or place(row) > place(known.rows[market]):
                known.rows[market] = row
        known.marks = marks
        rows = [row for _, row in sorted(known.rows.items())]
    chosen = [
        row for row in rows
        if scope.exchange in (None, row["exchange"]) and scope.symbol in (None, row["symbol"])
    ]  # fmt: skip
    return Answer(
        pa.Table.from_pylist(chosen, ROWS).drop_columns(["series", "source_sequence"]),
        reader.simulated,
        view.snapshot_id,
        view.provisional_from(scope.wanted(view.time)),
    )


def symbols(reader: Reader, scope: Scope, *, as_of: AsOf | None = None) -> Answer:
    """What was traded within a week, what it is made of, and when it was traded last."""
    answer = latest(reader, scope, as_of=as_of)
    rows = answer.rows.select([*MARKET, "base_asset", "quote_asset", "timestamp"])
    return replace(answer, rows=rows.rename_columns([*rows.column_names[:-1], "last_traded"]))


def place(row: Row) -> tuple[Any, ...]:
    """Which of two trades came later at the venue."""
    return row["timestamp"], row["series"] or 0, row["source_sequence"] or 0, row["trade_id"]


def news(view: View, marks: Mapping[str, int]) -> list[Wanted]:
    """Rows of later frames than were seen, and some that were."""
    lowest: dict[str, int] = {}
    for shard, mark in view.marks().items():
        seen = marks.get(shard, 0)
        if mark > seen:
            exchange = exchange_of(shard)
            lowest[exchange] = min(seen, lowest.get(exchange, seen))
    return [
        {"exchange": only(exchange), "platform_sequence": Between(mark + 1)}
        for exchange, mark in lowest.items()
    ]


def first_look(reader: Reader, view: View, as_of: AsOf | None) -> list[Row]:
    """The newest trades of each venue; and of who was quiet, those of the last bar that it has."""
    newest = {exchange: view.newest({"exchange": only(exchange)}) for exchange in exchanges(view, Scope())}
    traded = {exchange: time for exchange, time in newest.items() if time is not None}
    recent = [Scope(exchange, since=time - RECENT) for exchange, time in traded.items()]
    rows = last_trades(reader, view, *(each.wanted(view.time) for each in recent))
    present = {tuple(row[name] for name in MARKET) for row in rows}
    quiet: list[Wanted] = []
    for exchange, time in traded.items():
        for row in last_bars(reader, Scope(exchange, since=time - LATEST, until=time), as_of):
            if tuple(row[name] for name in MARKET) not in present:
                start: int = row["start"]
                hour = Scope(exchange, row["symbol"], start, start + UNITS["h"])
                quiet.append({**hour.wanted(view.time)})
    return rows + last_trades(reader, view, *quiet)


def last_trades(reader: Reader, view: View, *wanted: Wanted) -> list[Row]:
    """The last of the trades that are as wanted, by market."""
    if not wanted:
        return []
    part = view.part(*wanted, columns=COLUMNS)
    rows: list[Row] = reader.ask(
        f"from ({part.sql}) qualify row_number() over (partition by exchange, market, symbol order by "
        "timestamp desc, coalesce(series, 0) desc, coalesce(source_sequence, 0) desc, trade_id desc) = 1",
        part,
    ).to_pylist()
    return rows


def last_bars(reader: Reader, scope: Scope, as_of: AsOf | None) -> list[Row]:
    """Where the last closed window of each symbol begins: of an hour, in the last two hours of a minute."""
    view = reader.at(Bar, as_of)
    part = view.part(scope.wanted(view.time), columns=(*MARKET, "interval", "window_start"))
    rows: list[Row] = reader.ask(
        f"select exchange, market, symbol, epoch_us(max(window_start)) as start from ({part.sql}) "
        "where interval = '1h' or (interval = '1m' and window_start >= $recent) group by all",
        part,
        recent=moment((scope.until or 0) - 2 * UNITS["h"]),
    ).to_pylist()
    return rows
