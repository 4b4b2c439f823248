"""The questions about rows, one function each: what may be asked, and what comes back in which order.

Each is asked of a reader, about a scope, now or as of a past; rows are exact, and each is there once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from msgspec.structs import replace

from query.answer import Answer
from query.bars import TIME, UNITS, bars, size_of
from query.files import Scope, Wanted, only
from query.missing import PROVABLE, completeness, gaps_of
from query.reader import AsOf, Reader
from query.view import View, moment
from schemas import Bar, DeadLetter, Gap, Quote, Trade
from schemas.iceberg import TABLES, arrow_schema

# A page; whoever wants more asks for it, or for the next.
LIMIT = 1_000
# How far back the newest rows are looked for, until there are enough.
BACK = (UNITS["m"], UNITS["h"], UNITS["d"])
# Events of so long are in memory at once while they are replayed.
REPLAY = 10 * UNITS["m"]

Place = tuple[int, str]  # a row's time, and what its time's rows are in order of: the next page is behind it


def trades(
    reader: Reader,
    scope: Scope,
    *,
    trade_id: str | None = None,
    after: Place | None = None,
    newest: bool = False,
    limit: int = LIMIT,
    as_of: AsOf | None = None,
) -> Answer:
    """Trades in order of time: the first ones of the scope, or the newest."""
    more = {} if trade_id is None else {"trade_id": only(trade_id)}
    answer = page(reader, Trade, scope, more, after=after, newest=newest, limit=limit, as_of=as_of)
    first, last = answer.rows.column("first_sequence"), answer.rows.column("last_sequence")
    ids = pc.sum(pc.add(pc.subtract(last, first), 1)).as_py() or 0
    if trade_id is not None:
        return answer
    # A page speaks of the interval where its rows are.
    if answer.rows.num_rows == limit:
        times = pc.min_max(answer.rows.column("timestamp").cast(pa.int64())).as_py()
        scope = replace(scope, since=times["min"], until=times["max"] + 1)
    return replace(answer, completeness=completeness(reader, scope, as_of, ids))


def quotes(
    reader: Reader,
    scope: Scope,
    *,
    after: Place | None = None,
    newest: bool = False,
    limit: int = LIMIT,
    as_of: AsOf | None = None,
) -> Answer:
    """Best bids and offers in order of time; their ids prove nothing about what is missing."""
    return page(reader, Quote, scope, {}, after=after, newest=newest, limit=limit, as_of=as_of)


def dead_letters(
    reader: Reader,
    scope: Scope,
    *,
    reason: str | None = None,
    after: Place | None = None,
    newest: bool = False,
    limit: int = LIMIT,
    as_of: AsOf | None = None,
) -> Answer:
    """What was refused, in the order in which it was received."""
    more = {} if reason is None else {"reason": only(reason)}
    return page(reader, DeadLetter, scope, more, after=after, newest=newest, limit=limit, as_of=as_of)


def page(
    reader: Reader,
    record_type: type[Struct],
    scope: Scope,
    more: Wanted,
    *,
    after: Place | None,
    newest: bool,
    limit: int,
    as_of: AsOf | None,
) -> Answer:
    """Some rows of a table in order of time and id."""
    view = reader.at(record_type, as_of)
    if after is not None:
        scope = replace(scope, since=max(after[0], scope.since or 0))
    time, way = view.time, "desc" if newest else "asc"
    behind = f"where ({time}, message_id) > ($time, $id)" if after else ""
    place: dict[str, Any] = {"time": moment(after[0]), "id": after[1]} if after else {}
    rows = arrow_schema(record_type).empty_table()
    for start in starts(view, scope, newest=newest):
        part = view.part({**replace(scope, since=start).wanted(time), **more})
        rows = reader.ask(
            f"from (from ({part.sql}) {behind} order by {time} {way}, message_id {way} limit $limit) "
            f"order by {time}, message_id",
            part,
            limit=limit,
            **place,
        )
        if rows.num_rows >= limit:
            break
    return Answer(rows, reader.simulated, view.snapshot_id, view.provisional_from(scope.wanted(time)))


def starts(view: View, scope: Scope, *, newest: bool) -> list[int | None]:
    """From when on to look for rows, until there are enough."""
    last = view.newest(scope.wanted(view.time)) if newest and scope.since is None else None
    return [scope.since] if last is None else [*(last - back for back in BACK), None]


def top(reader: Reader, scope: Scope, *, limit: int = 10, as_of: AsOf | None = None) -> Answer:
    """The symbols with the highest notional in whole minutes of the scope."""
    hours = all(time is not None and time % UNITS["h"] == 0 for time in (scope.since, scope.until))
    answer = bars(reader, scope, "1h" if hours else "1m", as_of=as_of)
    rows = reader.ask(
        "select exchange, market, symbol, currency, sum(notional) as notional, sum(volume) as volume, "
        "sum(trade_count)::bigint as trade_count from bars group by all "
        "order by notional desc, exchange, market, symbol limit $limit",
        sources={"bars": answer.rows},
        limit=limit,
    )
    return replace(answer, rows=rows)


def summary(reader: Reader, scope: Scope, day: int, *, as_of: AsOf | None = None) -> Answer:
    """Open, high, low, close, volume, count and vwap of each symbol on the day of a moment, in UTC."""
    start = day - day % UNITS["d"]
    return bars(reader, replace(scope, since=start, until=start + UNITS["d"]), "1d", as_of=as_of)


def summary_of(
    reader: Reader, scope: Scope, *, day: int | None, top: int | None, as_of: AsOf | None
) -> Answer:
    """The same of the newest day where none is named; only of the top symbols where that is asked."""
    answer = summary(reader, scope, last_day(reader) if day is None else day, as_of=as_of)
    if top is None:
        return answer
    return replace(answer, rows=answer.rows.sort_by([("notional", "descending")]).slice(0, top))


def last_day(reader: Reader) -> int:
    """A moment of the day of the newest trade."""
    return reader.at(Trade).newest({}) or 0


def gaps(
    reader: Reader,
    scope: Scope,
    *,
    status: str | None = None,
    after: Place | None = None,
    limit: int = LIMIT,
    as_of: AsOf | None = None,
) -> Answer:
    """Gaps that were found in the scope, as they stand, in the order in which they were found."""
    view = reader.at(Gap, as_of)
    sql, part = gaps_of(view, scope)
    found, gap_id = after or (0, "")
    rows = reader.ask(
        f"from ({sql}) where ($status is null or status = $status) and (found, gap_id) > ($found, $gap_id) "
        "order by found, gap_id limit $limit",
        part,
        status=status,
        found=moment(found),
        gap_id=gap_id,
        limit=limit,
    )
    return Answer(rows, reader.simulated, view.snapshot_id, view.provisional_from(scope.wanted("found")))


def complete(reader: Reader, scope: Scope, interval: str = "1h", *, as_of: AsOf | None = None) -> Answer:
    """Of each symbol and window: how many ids came and how many are missing, where ids prove it."""
    answer = bars(reader, scope, interval, as_of=as_of)
    sql, part = gaps_of(reader.at(Gap, as_of), scope)
    rows = reader.ask(
        f"""
        with lost as (
            select exchange, market, symbol, make_timestamptz(epoch_us(found) - epoch_us(found) % $size)
                as window_start, sum(ids)::bigint as ids
            from ({sql}) where status in ('open', 'lost') group by all
        ), whole as (
            select exchange, market, symbol, window_start, coalesce(trade_count, 0) as received,
                case when list_contains($provable, exchange) then coalesce(ids, 0) end as missing
            from (select * exclude (missing) from bars)
            full join lost using (exchange, market, symbol, window_start)
        )
        select *, received + missing as expected, received / (received + missing) as share
        from whole order by window_start, exchange, market, symbol
        """,
        part,
        sources={"bars": answer.rows},
        size=size_of(interval),
        provable=sorted(PROVABLE),
    )
    return replace(answer, rows=rows)


def windows(
    ask: Callable[..., Answer],
    reader: Reader,
    scope: Scope,
    interval: str,
    *,
    after: Place | None,
    newest: bool,
    limit: int,
    as_of: AsOf | None,
) -> Answer:
    """Some rows of a question about windows: the first ones of the scope, or the newest."""
    size = size_of(interval)
    views = [reader.at(record_type, as_of) for record_type in (Trade, Bar)]
    wanted = [(view, replace(scope, since=None).wanted(view.time)) for view in views]
    last = max((view.newest(each) or 0 for view, each in wanted), default=0)
    if newest:
        # As many windows as are asked for, of however many symbols.
        start = max(0, min(last, scope.until or last) - limit * size)
        answer = ask(reader, replace(scope, since=start), interval, as_of=as_of)
        return replace(answer, rows=answer.rows.slice(max(0, answer.rows.num_rows - limit)))
    first = min((old for view, each in wanted if (old := view.oldest(each)) is not None), default=0)
    start = max(first - first % size, scope.since or 0, after[0] if after else 0)
    end = last + 1 if scope.until is None else min(last + 1, scope.until)
    span = limit * size
    while True:
        part = replace(scope, since=start, until=scope.until if start + span >= end else start + span)
        answer = ask(reader, part, interval, as_of=as_of)
        rows = behind(answer.rows, after)
        if start + span >= end or rows.num_rows >= limit:
            break
        span *= 4  # few windows had trades
    if rows.num_rows > limit:
        rows = rows.slice(0, limit)
        until = rows.column("window_start").cast(pa.int64())[-1].as_py() + size
        answer = ask(reader, replace(part, until=until), interval, as_of=as_of)
    return replace(answer, rows=rows)


def some_bars(reader: Reader, scope: Scope, **told: Any) -> Answer:
    """Bars, a page of them."""
    return windows(bars, reader, scope, **told)


def some_completeness(reader: Reader, scope: Scope, **told: Any) -> Answer:
    """Completeness, a page of it."""
    return windows(complete, reader, scope, **told)


def behind(rows: pa.Table, after: Place | None) -> pa.Table:
    """Of rows of windows, in their order, those behind a place."""
    if after is None:
        return rows
    starts = rows.column("window_start").cast(pa.int64()).to_pylist()
    names = zip(*(rows.column(name).to_pylist() for name in ("exchange", "market", "symbol")), strict=True)
    places = zip(starts, map("\0".join, names), strict=True)
    return rows.slice(sum(place <= after for place in places))


def replay(reader: Reader, scope: Scope, *, as_of: AsOf | None = None) -> Iterator[pa.Table]:
    """All trades and quotes of the scope in order of their times, a part of the interval after the other."""
    views = [reader.at(Trade, as_of), reader.at(Quote, as_of)]
    lasts = [last for view in views if (last := view.newest(scope.wanted(view.time))) is not None]
    firsts = [first for view in views if (first := view.oldest(scope.wanted(view.time))) is not None]
    if not firsts:
        return
    end = min(max(lasts) + 1, scope.until or max(lasts) + 1)
    for start in range(max(min(firsts), scope.since or 0), end, REPLAY):
        slice_ = replace(scope, since=start, until=min(start + REPLAY, end))
        trade, quote = (view.part(slice_.wanted(view.time)) for view in views)
        yield reader.ask(
            f"select 'trade' as kind, * from ({trade.sql}) union all by name "
            f"select 'quote' as kind, * from ({quote.sql}) "
            "order by timestamp, exchange, shard, platform_sequence, kind, message_id",
            trade,
            quote,
        )


def stats(reader: Reader, scope: Scope) -> Answer:
    """How many rows each table has of each venue, in how many files and bytes, and from when to when."""
    found: list[dict[str, Any]] = []
    for record_type, listed in TABLES.items():
        view = reader.at(record_type)
        wanted = replace(scope, symbol=None).wanted(view.time)
        names = {file.bounds["exchange"].low for file in view.files.holding(wanted)}
        names |= set(view.tail.column("exchange").to_pylist())
        for exchange in sorted(names if scope.exchange is None else names & {scope.exchange}):
            own = {**wanted, "exchange": only(exchange)}
            files = view.files.holding(own)
            waiting = pc.sum(pc.equal(view.tail.column("exchange"), exchange)).as_py() or 0
            found.append(
                {
                    "table": listed.name,
                    "exchange": exchange,
                    "rows": sum(file.rows for file in files) + waiting,
                    "unpublished": waiting,
                    "files": len(files),
                    "bytes": sum(file.size for file in files),
                    "first": view.oldest(own),
                    "last": view.newest(own),
                    "snapshot_id": None if view.snapshot_id is None else str(view.snapshot_id),
                }
            )
    return Answer(pa.Table.from_pylist(found, STATS), reader.simulated)


STATS = pa.schema([
    ("table", pa.string()), ("exchange", pa.string()), ("rows", pa.int64()), ("unpublished", pa.int64()),
    ("files", pa.int64()), ("bytes", pa.int64()), ("first", TIME), ("last", TIME),
    ("snapshot_id", pa.string()),
])  # fmt: skip


def venues(reader: Reader, scope: Scope) -> Answer:
    """Whose rows there are, how many of each kind, and from when to when."""
    answer = stats(reader, Scope(scope.exchange))
    rows = reader.ask(
        """
        select exchange,
            sum(rows) filter ("table" = 'silver.trades')::bigint as trades,
            sum(rows) filter ("table" = 'silver.quotes')::bigint as quotes,
            sum(rows) filter ("table" = 'silver.dead_letters')::bigint as dead_letters,
            min(first) filter ("table" = 'silver.trades') as first_trade,
            max(last) filter ("table" = 'silver.trades') as last_trade
        from stats group by exchange order by exchange
        """,
        sources={"stats": answer.rows},
    )
    return replace(answer, rows=rows)


def snapshots(reader: Reader, _: Scope | None = None) -> Answer:
    """The pasts that can be asked about by snapshot or tag, the newest of each table first."""
    found: list[dict[str, Any]] = []
    for listed in TABLES.values():
        table = reader.load(listed.name)
        references = table.metadata.refs.items()
        tags = {one.snapshot_id: name for name, one in references if one.snapshot_ref_type == "tag"}
        for one in sorted(table.metadata.snapshots, key=lambda one: one.timestamp_ms, reverse=True):
            summary = one.summary.additional_properties if one.summary else {}
            found.append(
                {
                    "table": listed.name,
                    "snapshot_id": str(one.snapshot_id),
                    "tag": tags.get(one.snapshot_id),
                    "committed": one.timestamp_ms * 1_000,
                    "operation": one.summary.operation.value if one.summary else None,
                    "added": int(summary.get("added-records", 0)),
                    "rows": int(summary.get("total-records", 0)),
                }
            )
    return Answer(pa.Table.from_pylist(found, SNAPSHOTS), reader.simulated)


SNAPSHOTS = pa.schema([
    ("table", pa.string()), ("snapshot_id", pa.string()), ("tag", pa.string()), ("committed", TIME),
    ("operation", pa.string()), ("added", pa.int64()), ("rows", pa.int64()),
])  # fmt: skip
