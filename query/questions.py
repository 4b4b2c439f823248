"""The questions as anybody may ask them: one definition for the command line and for HTTP.

Data, and the name of the function that answers, which is imported when it is asked: help is instant.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from connectors.errors import Unknown, unknown
from schemas.health import Reason

if TYPE_CHECKING:
    from query.answer import Answer
    from query.files import Scope
    from query.reader import Reader


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
    answers: str  # module:function, of a reader, a scope and the parameters
    parameters: Mapping[str, Parameter]
    columns: tuple[str, ...]  # what people see of its rows
    scope: tuple[str, ...]  # what it can be about
    place: tuple[str, ...] = ()  # by what its rows are in order: a page begins behind the last one's
    has_newest: bool = False  # who names no beginning means the end

    def told(self) -> dict[str, Parameter]:
        """Its parameters by the names that people know."""
        return {parameter.name or name: parameter for name, parameter in self.parameters.items()}

    def given(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What people told, as its function takes it."""
        return {name: told[parameter.name or name] for name, parameter in self.parameters.items()}

    def ask(self, reader: "Reader", scope: "Scope", **told: Any) -> "Answer":
        """The answer; a page after the first is told `after`."""
        module, name = self.answers.split(":")
        if self.has_newest:
            told["after"] = told.get("after")
            told["newest"] = scope.since is None and told["after"] is None
        answer: Answer = getattr(import_module(module), name)(reader, scope, **told)
        return answer


def scope_of(exchange: str | None, symbol: str | None, since: int | None, until: int | None) -> "Scope":
    """What a question is about, if there is such a venue."""
    from connectors.venues import VENUES
    from query.files import Scope

    if exchange is not None and exchange not in VENUES:
        raise unknown("venue", exchange, VENUES)
    return Scope(exchange, symbol and symbol.upper(), since, until)


def refuse_unknown(reader: "Reader", scope: "Scope") -> None:
    """Nothing was found: say so if it is because there is no such symbol."""
    from connectors.symbols import meant_symbol
    from query.files import Scope as Anything
    from query.latest import symbols

    if scope.symbol is None:
        return
    known = symbols(reader, Anything(scope.exchange)).rows.column("symbol").to_pylist()
    if known and scope.symbol not in known:
        meant = meant_symbol(scope.symbol, sorted(set(known)))
        if meant not in known:
            raise unknown("symbol", scope.symbol, sorted(set(known)))
        raise Unknown("symbol", scope.symbol, hint=f"did you mean {meant}?")


LIMIT = Parameter("count", "So many rows at most.", name="limit")
AS_OF = Parameter("past", "As it was: a time, a snapshot's number, a tag.")
MARKET = ("exchange", "symbol")
BAR = ("open", "high", "low", "close", "volume", "vwap", "trade_count", "missing", "is_closed")
HOLES = ("gaps", "open_ids", "lost_ids")
ABOUT = ("venue", "symbol")
TIMED = (*ABOUT, "since", "until")
WINDOW = ("window_start", "exchange", "market", "symbol")
STATUSES = ("open", "repaired", "lost")
PAGED = {"limit": LIMIT, "as_of": AS_OF}
# Each: name, words, function, parameters, columns, scope; of pages the place, and whether they have an end.
QUESTIONS = {question.name: question for question in (
    Question(
        "trades", "the newest trades, or the first ones of an interval", "query.lake:trades",
        {**PAGED, "trade_id": Parameter("text", "Only the one that the venue numbered so.", name="id")},
        (*MARKET, "timestamp", "price", "quantity", "side", "trade_id", "origin"),
        TIMED, ("timestamp", "message_id"), has_newest=True,
    ),
    Question(
        "quotes", "the newest best bids and offers, or the first ones of an interval", "query.lake:quotes",
        PAGED,
        (*MARKET, "timestamp", "bid_price", "bid_quantity", "ask_price", "ask_quantity"),
        TIMED, ("timestamp", "message_id"), has_newest=True,
    ),
    Question(
        "bars", "bars of any length, the newest or the first ones of an interval", "query.lake:some_bars",
        {**PAGED, "interval": Parameter("interval", "Such as 1s, 3m, 2h or 1d.", "1m")},
        (*MARKET, "window_start", *BAR),
        TIMED, WINDOW, has_newest=True,
    ),
    Question(
        "latest", "the last trade of each symbol", "query.latest:latest",
        {"as_of": AS_OF},
        (*MARKET, "price", "quantity", "side", "timestamp"),
        ABOUT,
    ),
    Question(
        "top", "the symbols with the highest notional", "query.lake:top",
        {**PAGED, "limit": LIMIT._replace(default=10)},
        (*MARKET, "currency", "notional", "volume", "trade_count"),
        TIMED,
    ),
    Question(
        "summary", "what each symbol did on a day", "query.lake:summary_of",
        {
            "as_of": AS_OF,
            "day": Parameter("time", "The day of that moment, in UTC; else the newest."),
            "top": Parameter("count", "Only those with the highest notional."),
        },
        (*MARKET, *BAR),
        ABOUT,
    ),
    Question(
        "gaps", "ids that venues gave out and we did not receive, and what became of them", "query.lake:gaps",
        {**PAGED, "status": Parameter("text", "Only those that stand so.", choices=STATUSES)},
        (*MARKET, "first_missing", "last_missing", "ids", "status", "reason", "found", "ended"),
        TIMED, ("found", "gap_id"),
    ),
    Question(
        "completeness", "how many ids came and how many are missing, by symbol and interval",
        "query.lake:some_completeness",
        {**PAGED, "interval": Parameter("interval", "Such as 1m, 1h or 1d.", "1h")},
        (*MARKET, "window_start", "received", "missing", "expected", "share"),
        TIMED, WINDOW, has_newest=True,
    ),
    Question(
        "dead-letters", "messages that were refused, the newest or the first ones of an interval",
        "query.lake:dead_letters",
        {**PAGED, "reason": Parameter("text", "Only those refused for it.", choices=get_args(Reason))},
        ("exchange", "symbol", "received", "stage", "reason", "detail"),
        TIMED, ("received", "message_id"), has_newest=True,
    ),
    Question(
        "symbols", "what was traded within a week, and when last", "query.latest:symbols",
        {"as_of": AS_OF},
        (*MARKET, "base_asset", "quote_asset", "last_traded"),
        ABOUT,
    ),
    Question(
        "venues", "whose rows there are, how many, and from when to when", "query.lake:venues",
        {},
        ("exchange", "trades", "quotes", "dead_letters", "first_trade", "last_trade"),
        ("venue",),
    ),
    Question(
        "markets", "how each market is now", "query.health:markets_now",
        {},
        (*MARKET, "price", "last_traded", "age_seconds", "trades_per_second", *HOLES),
        ABOUT,
    ),
    Question(
        "health", "how each venue is now", "query.health:health_now",
        {},
        ("exchange", "state", "last_received", "age_seconds", "trades_per_second", *HOLES),
        ("venue",),
    ),
    Question(
        "stats", "how much each table holds of each venue", "query.lake:stats",
        {},
        ("table", "exchange", "rows", "files", "bytes", "last"),
        ("venue", "since", "until"),
    ),
    Question(
        "snapshots", "the pasts that can be asked about", "query.lake:snapshots",
        {},
        ("table", "snapshot_id", "tag", "committed", "added", "rows"),
        (),
    ),
)}  # fmt: skip
