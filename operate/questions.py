"""`tape trades`, `tape bars` and the other questions: each some options and one call of the query package."""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from operate.answers import Form, form_options, reader_of, show
from operate.audit import Since
from operate.cli import Session

if TYPE_CHECKING:
    from query.answer import Answer
    from query.files import Scope
    from query.reader import AsOf, Reader

# A function of the reader, of what is asked about, and of the verb's own options.
Ask = Callable[..., "Answer"]

OUTPUT = ("as_json", "as_csv", "parquet")
SCOPE = ("exchange", "symbol", "since", "until", "last")


def question(about: str, *columns: str, timed: bool = True) -> Callable[[Ask], click.Command]:
    """Make a verb of a function that answers; `columns` are those of the table that people see."""

    def make(ask: Ask) -> click.Command:
        @wraps(ask)
        @click.pass_obj
        def verb(session: Session, /, **options: Any) -> None:
            form = Form(*(options.pop(name) for name in OUTPUT))
            scope = scope_of(**{name: options.pop(name, None) for name in SCOPE})
            if options.get("limit", 1) is None:
                options["limit"] = form.rows
            reader = reader_of(session)
            if "as_of" in options:
                options["as_of"] = past(options["as_of"])
            answer = ask(reader, scope, **options)
            if not answer.rows.num_rows:
                refuse_unknown(reader, scope)
            show(answer, form, columns)

        return click.command(ask.__name__, help=about)(scope_options(form_options(verb), timed=timed))

    return make


def scope_options(verb: Callable[..., Any], *, timed: bool) -> Callable[..., Any]:
    """The options that say what about."""
    if timed:
        verb = click.option("--last", type=Since(), metavar="1h", help="Only the last hour, 5m, 7d.")(verb)
        verb = click.option(
            "--until", type=Since(), metavar="TIME", help="Only before then; ISO, or how long ago: 1h."
        )(verb)
        verb = click.option("--since", type=Since(), metavar="TIME", help="Only from then on.")(verb)
    verb = click.option("--symbol", help="Only this symbol, such as BTC-USDT.")(verb)
    return click.option("--venue", "--exchange", "exchange", help="Only this venue.")(verb)


def scope_of(
    exchange: str | None, symbol: str | None, since: int | None, until: int | None, last: int | None
) -> "Scope":
    """What the options say."""
    from connectors.errors import unknown
    from connectors.venues import VENUES
    from query.files import Scope

    if exchange is not None and exchange not in VENUES:
        raise unknown("venue", exchange, VENUES)
    return Scope(exchange, symbol and symbol.upper(), last if since is None else since, until)


def past(as_of: str | None) -> "AsOf | None":
    """Which past is meant: a moment, a snapshot's number, or a tag."""
    from query.reader import AsOf

    if as_of is None:
        return None
    if as_of.isdecimal():
        return AsOf(snapshot=int(as_of))
    try:
        return AsOf(received=Since().convert(as_of, None, None))
    except click.BadParameter:
        return AsOf(tag=as_of)


def refuse_unknown(reader: "Reader", scope: "Scope") -> None:
    """Nothing was found: say so if it is because there is no such symbol."""
    from connectors.errors import TapeError, unknown
    from connectors.symbols import suggest_symbol
    from query.files import Scope as Anything
    from query.latest import symbols

    if scope.symbol is None:
        return
    known = symbols(reader, Anything(scope.exchange)).rows.column("symbol").to_pylist()
    if known and scope.symbol not in known:
        meant = suggest_symbol(scope.symbol, sorted(set(known)))
        if meant not in known:
            raise unknown("symbol", scope.symbol, sorted(set(known)))
        raise TapeError(f"unknown symbol {scope.symbol!r}", hint=f"did you mean {meant}?")


limit_option = click.option("--limit", type=click.IntRange(1), metavar="ROWS", help="So many at most.")
as_of_option = click.option("--as-of", metavar="PAST", help="As it was: a time, a snapshot's number, a tag.")
MARKET = ("exchange", "symbol")
BAR = ("open", "high", "low", "close", "volume", "vwap", "trade_count", "missing", "is_closed")


@question(
    "Print the newest trades, or the first ones from --since on.",
    *MARKET, "timestamp", "price", "quantity", "side", "trade_id", "origin",
)  # fmt: skip
@limit_option
@as_of_option
@click.option("--id", "trade_id", help="Only the one that the venue numbered so.")
def trades(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query import lake

    return lake.trades(reader, scope, newest=scope.since is None, **options)


@question(
    "Print the newest best bids and offers, or the first ones from --since on.",
    *MARKET, "timestamp", "bid_price", "bid_quantity", "ask_price", "ask_quantity",
)  # fmt: skip
@limit_option
@as_of_option
def quotes(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query import lake

    return lake.quotes(reader, scope, newest=scope.since is None, **options)


@question("Print bars of any length, the newest last.", *MARKET, "window_start", *BAR)
@limit_option
@as_of_option
@click.option("--interval", default="1m", show_default=True, help="Such as 1s, 3m, 2h or 1d.")
def bars(reader: "Reader", scope: "Scope", limit: int, **options: Any) -> "Answer":
    from msgspec.structs import replace

    from query import lake
    from query.bars import bars, size_of

    if scope.since is None:
        # As many windows as are shown, of however many symbols, before the newest trade.
        scope = replace(scope, since=max(0, lake.last_day(reader) - limit * size_of(options["interval"])))
    answer = bars(reader, scope, **options)
    return replace(answer, rows=answer.rows.slice(max(0, answer.rows.num_rows - limit)))


@question(
    "Print the last trade of each symbol.",
    *MARKET, "price", "quantity", "side", "timestamp",
    timed=False,
)  # fmt: skip
@as_of_option
def latest(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query.latest import latest

    return latest(reader, scope, **options)


@question("Print what each symbol did on a day.", *MARKET, *BAR, timed=False)
@as_of_option
@click.option("--day", type=Since(), metavar="TIME", help="The day of that moment, in UTC; else the newest.")
@click.option("--top", type=click.IntRange(1), metavar="N", help="Only those with the highest notional.")
def summary(reader: "Reader", scope: "Scope", day: int | None, top: int | None, **options: Any) -> "Answer":
    from msgspec.structs import replace

    from query import lake

    answer = lake.summary(reader, scope, lake.last_day(reader) if day is None else day, **options)
    if top is None:
        return answer
    return replace(answer, rows=answer.rows.sort_by([("notional", "descending")]).slice(0, top))


@question(
    "Print ids that venues gave out and we did not receive, and what became of them.",
    *MARKET, "first_missing", "last_missing", "ids", "status", "reason", "found", "ended",
)  # fmt: skip
@limit_option
@as_of_option
@click.option("--status", type=click.Choice(("open", "repaired", "lost")), help="Only those that stand so.")
def gaps(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query import lake

    return lake.gaps(reader, scope, **options)


@question(
    "Print how many ids came and how many are missing, by symbol and interval.",
    *MARKET, "window_start", "received", "missing", "expected", "share",
)  # fmt: skip
@as_of_option
@click.option("--interval", default="1h", show_default=True, help="Such as 1m, 1h or 1d.")
def completeness(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query import lake

    return lake.complete(reader, scope, **options)


@question("Print what was traded within a week, and when last.", timed=False)
@as_of_option
def symbols(reader: "Reader", scope: "Scope", **options: Any) -> "Answer":
    from query.latest import symbols

    return symbols(reader, scope, **options)


@question("Print how much each table holds of each venue.")
@click.option("--snapshots", is_flag=True, help="Instead, the pasts that --as-of can name.")
def stats(reader: "Reader", scope: "Scope", snapshots: bool) -> "Answer":
    from query import lake

    return lake.snapshots(reader) if snapshots else lake.stats(reader, scope)
