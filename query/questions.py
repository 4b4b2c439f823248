"""The questions as anybody may ask them: one definition for the command line and for HTTP.

Data, and one call of the lake each. What an answer needs is imported when it is asked: help is instant.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from connectors.errors import Unknown, unknown
from schemas.health import Reason

if TYPE_CHECKING:
    from query.answer import Answer
    from query.files import Scope
    from query.lake import Place
    from query.reader import Reader

Ask = Callable[..., "Answer"]  # of a reader, a scope, and the question's own parameters by name


class Parameter(NamedTuple):
    """Something that a question can be told beside its scope."""

    kind: Literal["count", "interval", "past", "text", "time"]
    about: str
    default: Any = None
    choices: tuple[str, ...] = ()
    name: str = ""  # what people call it, where that is a word of the language


class Question(NamedTuple):
    """One question, whoever asks it."""

    name: str
    about: str
    ask: Ask
    parameters: Mapping[str, Parameter]
    columns: tuple[str, ...]  # what people see of its rows
    scope: tuple[str, ...]  # what it can be about
    place: tuple[str, ...]  # by what its rows are in order: a page begins behind the last one's

    def told(self) -> dict[str, Parameter]:
        """Its parameters by the names that people know."""
        return {parameter.name or name: parameter for name, parameter in self.parameters.items()}

    def given(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What people told, as its function takes it."""
        return {name: told[parameter.name or name] for name, parameter in self.parameters.items()}


QUESTIONS: dict[str, Question] = {}


def question(
    about: str,
    *columns: str,
    scope: tuple[str, ...] = ("venue", "symbol", "since", "until"),
    place: tuple[str, ...] = (),
    **parameters: Parameter,
) -> Callable[[Ask], Ask]:
    """Put a function into the list; its name is the question's."""

    def put(ask: Ask) -> Ask:
        name = ask.__name__.replace("_", "-")
        QUESTIONS[name] = Question(name, about, ask, parameters, columns, scope, place)
        return ask

    return put


def scope_of(exchange: str | None, symbol: str | None, since: int | None, until: int | None) -> "Scope":
    """What a question is about, if there is such a venue."""
    from connectors.venues import VENUES
    from query.files import Scope

    if exchange is not None and exchange not in VENUES:
        raise unknown("venue", exchange, VENUES)
    return Scope(exchange, symbol and symbol.upper(), since, until)


def refuse_unknown(reader: "Reader", scope: "Scope") -> None:
    """Nothing was found: say so if it is because there is no such symbol."""
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
        raise Unknown("symbol", scope.symbol, hint=f"did you mean {meant}?")


LIMIT = Parameter("count", "So many rows at most.", name="limit")
AS_OF = Parameter("past", "As it was: a time, a snapshot's number, a tag.")
MARKET = ("exchange", "symbol")
BAR = ("open", "high", "low", "close", "volume", "vwap", "trade_count", "missing", "is_closed")
UNTIMED = ("venue", "symbol")
WINDOW = ("window_start", "exchange", "market", "symbol")


@question(
    "the newest trades, or the first ones of an interval",
    *MARKET, "timestamp", "price", "quantity", "side", "trade_id", "origin",
    place=("timestamp", "message_id"),
    limit=LIMIT, as_of=AS_OF,
    trade_id=Parameter("text", "Only the one that the venue numbered so.", name="id"),
)  # fmt: skip
def trades(reader: "Reader", scope: "Scope", *, after: "Place | None" = None, **told: Any) -> "Answer":
    from query import lake

    return lake.trades(reader, scope, newest=is_newest(scope, after), after=after, **told)


@question(
    "the newest best bids and offers, or the first ones of an interval",
    *MARKET, "timestamp", "bid_price", "bid_quantity", "ask_price", "ask_quantity",
    place=("timestamp", "message_id"),
    limit=LIMIT, as_of=AS_OF,
)  # fmt: skip
def quotes(reader: "Reader", scope: "Scope", *, after: "Place | None" = None, **told: Any) -> "Answer":
    from query import lake

    return lake.quotes(reader, scope, newest=is_newest(scope, after), after=after, **told)


@question(
    "bars of any length, the newest or the first ones of an interval",
    *MARKET, "window_start", *BAR,
    place=WINDOW,
    limit=LIMIT, as_of=AS_OF, interval=Parameter("interval", "Such as 1s, 3m, 2h or 1d.", "1m"),
)  # fmt: skip
def bars(reader: "Reader", scope: "Scope", *, after: "Place | None" = None, **told: Any) -> "Answer":
    from query import bars, lake

    return lake.windows(bars.bars, reader, scope, newest=is_newest(scope, after), after=after, **told)


@question(
    "the last trade of each symbol",
    *MARKET, "price", "quantity", "side", "timestamp",
    scope=UNTIMED, as_of=AS_OF,
)  # fmt: skip
def latest(reader: "Reader", scope: "Scope", **told: Any) -> "Answer":
    from query.latest import latest

    return latest(reader, scope, **told)


@question(
    "the symbols with the highest notional",
    *MARKET, "currency", "notional", "volume", "trade_count",
    limit=LIMIT._replace(default=10), as_of=AS_OF,
)  # fmt: skip
def top(reader: "Reader", scope: "Scope", **told: Any) -> "Answer":
    from query import lake

    return lake.top(reader, scope, **told)


@question(
    "what each symbol did on a day",
    *MARKET, *BAR,
    scope=UNTIMED, as_of=AS_OF,
    day=Parameter("time", "The day of that moment, in UTC; else the newest."),
    top=Parameter("count", "Only those with the highest notional."),
)  # fmt: skip
def summary(reader: "Reader", scope: "Scope", day: int | None, top: int | None, **told: Any) -> "Answer":
    from msgspec.structs import replace

    from query import lake

    answer = lake.summary(reader, scope, lake.last_day(reader) if day is None else day, **told)
    if top is None:
        return answer
    return replace(answer, rows=answer.rows.sort_by([("notional", "descending")]).slice(0, top))


@question(
    "ids that venues gave out and we did not receive, and what became of them",
    *MARKET, "first_missing", "last_missing", "ids", "status", "reason", "found", "ended",
    place=("found", "gap_id"),
    limit=LIMIT, as_of=AS_OF,
    status=Parameter("text", "Only those that stand so.", choices=("open", "repaired", "lost")),
)  # fmt: skip
def gaps(reader: "Reader", scope: "Scope", **told: Any) -> "Answer":
    from query import lake

    return lake.gaps(reader, scope, **told)


@question(
    "how many ids came and how many are missing, by symbol and interval",
    *MARKET, "window_start", "received", "missing", "expected", "share",
    place=WINDOW,
    limit=LIMIT, as_of=AS_OF, interval=Parameter("interval", "Such as 1m, 1h or 1d.", "1h"),
)  # fmt: skip
def completeness(reader: "Reader", scope: "Scope", *, after: "Place | None" = None, **told: Any) -> "Answer":
    from query import lake

    return lake.windows(lake.complete, reader, scope, newest=is_newest(scope, after), after=after, **told)


@question(
    "messages that were refused, the newest or the first ones of an interval",
    "exchange", "symbol", "received", "stage", "reason", "detail",
    place=("received", "message_id"),
    limit=LIMIT, as_of=AS_OF,
    reason=Parameter("text", "Only those refused for it.", choices=get_args(Reason)),
)  # fmt: skip
def dead_letters(reader: "Reader", scope: "Scope", *, after: "Place | None" = None, **told: Any) -> "Answer":
    from query import lake

    return lake.dead_letters(reader, scope, newest=is_newest(scope, after), after=after, **told)


@question(
    "what was traded within a week, and when last",
    *MARKET, "base_asset", "quote_asset", "last_traded",
    scope=UNTIMED, as_of=AS_OF,
)  # fmt: skip
def symbols(reader: "Reader", scope: "Scope", **told: Any) -> "Answer":
    from query.latest import symbols

    return symbols(reader, scope, **told)


@question(
    "whose rows there are, how many, and from when to when",
    "exchange", "trades", "quotes", "dead_letters", "first_trade", "last_trade",
    scope=("venue",),
)  # fmt: skip
def venues(reader: "Reader", scope: "Scope") -> "Answer":
    from query import lake

    return lake.venues(reader, scope)


@question(
    "how each market is now",
    *MARKET, "price", "last_traded", "age_seconds", "trades_per_second", "gaps", "open_ids", "lost_ids",
    scope=UNTIMED,
)  # fmt: skip
def markets(reader: "Reader", scope: "Scope") -> "Answer":
    from query.markets import markets

    return markets(reader, scope, time.time_ns() // 1_000)


@question(
    "how each venue is now",
    "exchange", "state", "last_received", "age_seconds", "trades_per_second", "gaps", "open_ids", "lost_ids",
    scope=("venue",),
)  # fmt: skip
def health(reader: "Reader", scope: "Scope") -> "Answer":
    from query.health import health

    return health(reader, scope, time.time_ns() // 1_000)


@question(
    "how much each table holds of each venue",
    "table", "exchange", "rows", "files", "bytes", "last",
    scope=("venue", "since", "until"),
)  # fmt: skip
def stats(reader: "Reader", scope: "Scope") -> "Answer":
    from query import lake

    return lake.stats(reader, scope)


@question(
    "the pasts that can be asked about",
    "table", "snapshot_id", "tag", "committed", "added", "rows",
    scope=(),
)  # fmt: skip
def snapshots(reader: "Reader", scope: "Scope") -> "Answer":
    from query import lake

    return lake.snapshots(reader)


def is_newest(scope: "Scope", after: "Place | None") -> bool:
    """Who names no beginning means the end."""
    return scope.since is None and after is None
