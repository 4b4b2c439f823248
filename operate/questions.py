"""`tape trades`, `tape bars` and the other questions: each a verb with the options that the question has."""

from typing import TYPE_CHECKING, Any

import click

from operate.answers import Form, form_options, reader_of, show
from operate.audit import Since
from operate.choice import Choice
from operate.cli import Session
from operate.scope import symbol_option, venue_option
from query.questions import QUESTIONS, Parameter, refuse_unknown
from query.questions import scope_of as scope_from

if TYPE_CHECKING:
    from query.files import Scope
    from query.reader import AsOf

OUTPUT = ("as_json", "as_csv", "parquet")
SCOPE = ("exchange", "symbol", "since", "until", "last")


def verb(name: str, *, instead: str = "", about: str = "") -> click.Command:
    """The verb of a question; a flag `instead` asks another one."""
    question = QUESTIONS[name]

    @click.pass_obj
    def ask(session: Session, /, **options: Any) -> None:
        form = Form(*(options.pop(option) for option in OUTPUT))
        scope = scope_of(**{option: options.pop(option, None) for option in SCOPE})
        asked = QUESTIONS[instead] if instead and options.pop(instead) else question
        told = asked.given(options)
        if told.get("limit", 1) is None:
            told["limit"] = form.rows
        reader = reader_of(session)
        if "as_of" in told:
            told["as_of"] = past(told["as_of"])
        answer = asked.ask(reader, scope, **told)
        if not answer.rows.num_rows:
            refuse_unknown(reader, scope)
        show(answer, form, asked.columns)

    options = [form_options, *(SCOPE_OPTIONS[each] for each in reversed(question.scope))]
    options += [option(each, parameter) for each, parameter in question.told().items()]
    if instead:
        options.append(click.option(f"--{instead}", is_flag=True, help=about))
    command = click.command(name, help=f"Print {question.about}.")
    made: Any = ask
    for each in options:
        made = each(made)
    return command(made)


def since_option(name: str, about: str, metavar: str = "TIME") -> Any:
    """An option that is a time, or how long ago one was."""
    return click.option(name, type=Since(), metavar=metavar, help=about)


def since_options(made: Any) -> Any:
    """From when on, in two ways."""
    made = since_option("--last", "Only the last hour, 5m, 7d.", "1h")(made)
    return since_option("--since", "Only from then on.")(made)


SCOPE_OPTIONS = {
    "venue": venue_option,
    "symbol": symbol_option,
    "since": since_options,
    "until": since_option("--until", "Only before then; ISO, or how long ago: 1h."),
}


def option(name: str, parameter: Parameter) -> Any:
    """A parameter as an option."""
    kinds: dict[str, tuple[Any, str | None]] = {
        "count": (click.IntRange(1), "ROWS"),
        "time": (Since(), "TIME"),
        "past": (None, "PAST"),
    }
    kind, metavar = kinds.get(parameter.kind, (None, None))
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        type=Choice(parameter.choices) if parameter.choices else kind,
        metavar=metavar,
        default=parameter.default,
        show_default=parameter.default is not None,
        help=parameter.about,
    )


def scope_of(
    exchange: str | None, symbol: str | None, since: int | None, until: int | None, last: int | None
) -> "Scope":
    """What the options say."""
    return scope_from(exchange, symbol, last if since is None else since, until)


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


trades, quotes, bars, latest = verb("trades"), verb("quotes"), verb("bars"), verb("latest")
summary, gaps, completeness, symbols = verb("summary"), verb("gaps"), verb("completeness"), verb("symbols")
stats = verb("stats", instead="snapshots", about="Instead, the pasts that --as-of can name.")
