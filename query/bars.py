"""What the market did, in windows of any length: closed bars as stored, the newest built from trades.

The bars are read before the trades, so a window that closes meanwhile is built from its trades. A stored
window counts at its highest revision. Sums are decimal(38,18) throughout.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal
from functools import reduce
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from connectors.catalog import LakeError
from connectors.tokens import tokens_of
from query.answer import Answer
from query.files import Scope, Wanted, only
from query.missing import completeness
from query.reader import AsOf, Reader
from query.view import View
from schemas import Bar, Trade
from schemas.fields import MONEY_PRECISION, MONEY_SCALE
from schemas.shards import exchange_of

SECOND = 1_000_000
UNITS = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": 86_400 * SECOND}
# What is stored, the largest first.
STORED = {"1d": 86_400, "1h": 3_600, "15m": 900, "5m": 300, "1m": 60, "1s": 1}
# What an open window of an hour or a day is made of.
FINER = "1m"
# A symbol that is quiet has its windows closed later than those of its shard where trades close them, but
# within this time.
QUIET = 120 * SECOND

MONEY = pa.decimal128(MONEY_PRECISION, MONEY_SCALE)
TIME = pa.timestamp("us", "UTC")
KEY = "exchange, market, symbol"
COLUMNS = (
    "exchange", "market", "symbol", "interval", "window_start", "window_end", "open", "high", "low", "close",
    "volume", "notional", "vwap", "trade_count", "taker_buy_volume", "taker_buy_count", "first_trade_id",
    "last_trade_id", "missing", "revision", "currency", "is_closed",
)  # fmt: skip
BAR_COLUMNS = (*COLUMNS[:5], *COLUMNS[6:-1], "shard")
TRADE_COLUMNS = (
    "exchange", "market", "symbol", "timestamp", "price", "quantity", "notional", "side", "series",
    "source_sequence", "trade_id", "currency", "shard",
)  # fmt: skip

CLOSED = f"""
    select * exclude (interval, window_start, time), time as start from (
        select *, epoch_us(window_start) as time from ({{rows}}) where interval = $interval
    ) as rows {{unless}} order by start, {KEY}, revision
"""
# As the flow orders trades: by time, series, number, id.
OPEN = f"""
    select {KEY}, any_value(shard) as shard, any_value(currency) as currency, time - time % $size as start,
        arg_min(price, place) as open, max(price) as high, min(price) as low, arg_max(price, place) as close,
        sum(quantity) as volume, sum(notional) as notional, count(*) as trade_count,
        sum(case when side = 'BUY' then quantity else 0 end) as taker_buy_volume,
        count(*) filter (side = 'BUY') as taker_buy_count,
        arg_min(trade_id, place) as first_trade_id, arg_max(trade_id, place) as last_trade_id
    from (
        select *, epoch_us(timestamp) as time,
            (timestamp, coalesce(series, 0), coalesce(source_sequence, 0), trade_id) as place
        from ({{rows}})
    ) as rows {{unless}}
    group by {KEY}, start
"""
WHOLE = f"""
    select {KEY}, start - start % $size as window_start,
        arg_min(open, start) as open, max(high) as high, min(low) as low, arg_max(close, start) as close,
        sum(volume) as volume, sum(notional) as notional,
        case when count(*) = 1 then any_value(vwap) end as vwap,
        sum(trade_count)::bigint as trade_count,
        sum(taker_buy_volume) as taker_buy_volume, sum(taker_buy_count)::bigint as taker_buy_count,
        arg_min(first_trade_id, start) as first_trade_id, arg_max(last_trade_id, start) as last_trade_id,
        case when count(missing) = count(*) then sum(missing)::bigint end as missing,
        max(revision) as revision, any_value(currency) as currency,
        bool_and(is_closed and start - start % $size + $size <= mark) as is_closed
    from pieces left join marks using (shard) group by {KEY}, start - start % $size
    order by window_start, {KEY}
"""


class Level(NamedTuple):
    """Closed windows of one stored length; or what the newest trades make of the shortest of them."""

    size: int
    rows: pa.Table


def bars(reader: Reader, scope: Scope, interval: str = "1m", *, as_of: AsOf | None = None) -> Answer:
    """The bars of all windows that begin in the interval, in order of time."""
    size = size_of(interval)
    whole = replace(scope, since=up(scope.since, size), until=up(scope.until, size))
    view = reader.at(Bar, as_of)
    rows = windows(reader, whole, size, view, as_of)
    starts = rows.column("window_start").filter(pc.invert(rows.column("is_closed")))
    settled = (pc.min(starts).as_py(), view.provisional_from(whole.wanted(view.time)))
    return Answer(
        finished(rows, interval, size),
        reader.simulated,
        view.snapshot_id,
        min((one for one in settled if one is not None), default=None),
        completeness(reader, whole, as_of, pc.sum(rows.column("trade_count")).as_py() or 0),
    )


def size_of(interval: str) -> int:
    """How long the windows are, in microseconds."""
    said = re.fullmatch(r"([1-9][0-9]{0,4})([smhd])", interval)
    if said is None:
        raise LakeError(f"{interval!r} is no interval", hint="they are like 1s, 3m, 15m, 2h or 1d")
    return int(said[1]) * UNITS[said[2]]


def up(time: int | None, size: int) -> int | None:
    """The first window that begins then or later."""
    return None if time is None else -(-time // size) * size


def windows(reader: Reader, scope: Scope, size: int, view: View, as_of: AsOf | None) -> pa.Table:
    """The windows of a scope: of the longest bars that fit, then shorter ones, then trades."""
    base = next(name for name, seconds in STORED.items() if size % (seconds * SECOND) == 0)
    names = (base, FINER) if STORED[base] > STORED[FINER] else (base,)
    since = dict.fromkeys(exchanges(view, scope), scope.since or 0)
    levels: list[Level] = []
    marks: dict[str, int] = {}
    for name in names:
        part = view.part(*ways(scope, since, view.time), columns=BAR_COLUMNS)
        sql = CLOSED.format(rows=part.sql, unless=unless(levels))
        rows = reader.ask(sql, part, sources=known(levels), interval=name)
        levels.append(Level(STORED[name] * SECOND, newest_revisions(rows)))
        seen = ends(levels[-1])
        marks = marks or seen
        since = open_since(view, scope, since, seen, levels)
    if since:
        trades = reader.at(Trade, as_of)
        part = trades.part(*ways(scope, since, trades.time), columns=TRADE_COLUMNS)
        sql = OPEN.format(rows=part.sql, unless=unless(levels))
        rows = reader.ask(sql, part, sources=known(levels), size=levels[-1].size)
        levels.append(Level(levels[-1].size, rows))
    return folded(reader, size, levels, marks)


def exchanges(view: View, scope: Scope) -> list[str]:
    """Whose rows can be meant."""
    present = {exchange_of(shard) for shard in tokens_of(view.table)}
    return sorted(present if scope.exchange is None else present & {scope.exchange})


def ways(scope: Scope, since: Mapping[str, int], time: str) -> list[Wanted]:
    """The scope, for each venue from a moment of its own; as one condition where they are the same."""
    moments = set(since.values())
    if len(moments) == 1:
        return [replace(scope, since=moments.pop()).wanted(time)]
    return [replace(scope, exchange=name, since=start).wanted(time) for name, start in since.items()]


def newest_revisions(rows: pa.Table) -> pa.Table:
    """Of each window the last row; they come in order of windows and revisions."""
    if rows.num_rows < 2:
        return rows
    columns = [rows.column(name).combine_chunks() for name in ("start", "exchange", "market", "symbol")]
    again = [pc.equal(column.slice(1), column.slice(0, len(column) - 1)) for column in columns]
    return rows.filter(pa.concat_arrays([pc.invert(reduce(pc.and_, again)), pa.array([True])]))


def ends(level: Level) -> dict[str, int]:
    """By shard: the end of its last closed window."""
    last = level.rows.group_by("shard").aggregate([("start", "max")]).to_pylist()
    return {row["shard"]: row["start_max"] + level.size for row in last}


def open_since(
    view: View, scope: Scope, since: Mapping[str, int], seen: Mapping[str, int], levels: Sequence[Level]
) -> dict[str, int]:
    """By venue: from when on windows of the last level may be open. Without those where none can be."""
    size, rows = levels[-1]
    shards = list(tokens_of(view.table))
    found: dict[str, int] = {}
    for exchange, first in since.items():
        own = [shard for shard in shards if exchange_of(shard) == exchange]
        closed = {shard: seen[shard] for shard in own if shard in seen}
        if len(own) == 1 and view.cut is None:
            # Whatever the symbol, its shard has come as far as its newest bar.
            newest = view.newest({"exchange": only(exchange)})
            closed[own[0]] = max(closed.get(own[0], 0), newest or 0)
        missing = len(own) > len(closed) and not (scope.symbol and closed)
        start = first if missing else max(first, min(closed.values()) - size - QUIET)
        start -= start % size
        if scope.until is not None:
            count = -(-(scope.until - start) // size)
            there = pc.sum(pc.greater_equal(rows.column("start"), start)).as_py() or 0
            if count <= 0 or (scope.symbol and len(since) == 1 and len(levels) == 1 and there == count):
                continue
        found[exchange] = start
    return found


def known(levels: Sequence[Level]) -> dict[str, pa.Table]:
    """The levels by the names that queries know them by."""
    return {f"level_{number}": level.rows for number, level in enumerate(levels)}


def unless(levels: Sequence[Level]) -> str:
    """That a row is in no window of these levels."""
    return " ".join(
        f"anti join level_{number} as closed_{number} on rows.exchange = closed_{number}.exchange "
        f"and rows.market = closed_{number}.market and rows.symbol = closed_{number}.symbol "
        f"and rows.time - rows.time % {level.size} = closed_{number}.start"
        for number, level in enumerate(levels)
    )


def folded(reader: Reader, size: int, levels: Sequence[Level], marks: Mapping[str, int]) -> pa.Table:
    """Windows of one size, of those of all levels; closed where all that can be in them is."""
    if size == levels[0].size and not any(level.rows.num_rows for level in levels[1:]):
        closed = levels[0].rows.rename_columns({"start": "window_start"})
        return closed.append_column("is_closed", pa.array([True] * closed.num_rows, pa.bool_()))
    pieces = pa.concat_tables(
        [
            level.rows.append_column("is_closed", pa.array([not number] * level.rows.num_rows, pa.bool_()))
            for number, level in enumerate(levels)
        ],
        promote_options="permissive",
    )
    by_shard = pa.table(
        {"shard": pa.array(marks.keys(), pa.string()), "mark": pa.array(marks.values(), pa.int64())}
    )
    return reader.ask(WHOLE, sources={"pieces": pieces, "marks": by_shard}, size=size)


def finished(rows: pa.Table, interval: str, size: int) -> pa.Table:
    """In the columns of the answer."""
    start = rows.column("window_start")
    columns = {name: rows.column(name) for name in rows.column_names}
    columns["interval"] = pa.repeat(interval, rows.num_rows)
    columns["window_start"], columns["window_end"] = start.cast(TIME), pc.add(start, size).cast(TIME)
    columns["vwap"] = vwaps(rows)
    return pa.table({name: columns[name] for name in COLUMNS})


def vwaps(rows: pa.Table) -> pa.Array:
    """As stored; of windows that were put together, notional by volume."""
    given = rows.column("vwap")
    if not given.null_count:
        return given
    values = zip(*(rows.column(name).to_pylist() for name in ("vwap", "notional", "volume")), strict=True)
    return pa.array([vwap or quotient(notional, volume) for vwap, notional, volume in values], MONEY)


# Neither a sum of decimal(38,18) nor that many places more is ever rounded by it.
EXACT = Context(prec=3 * MONEY_PRECISION)


def quotient(dividend: Decimal | None, divisor: Decimal) -> Decimal | None:
    """One amount divided by another, half-even at 18 places."""
    if dividend is None:
        return None
    units = int(EXACT.scaleb(divisor, MONEY_SCALE))
    whole, rest = divmod(int(EXACT.scaleb(dividend, 2 * MONEY_SCALE)), units)
    whole += 2 * rest > units or (2 * rest == units and whole & 1)
    return EXACT.scaleb(Decimal(whole), -MONEY_SCALE)
