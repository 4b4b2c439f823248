"""`tape top`: every market of a store, again and again, whoever fills it; or once, as JSON."""

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from operate.answers import reader_of
from operate.board import MICROSECONDS, age
from operate.choice import Choice
from operate.cli import Session
from operate.questions import scope_of
from operate.scope import symbol_option, venue_option
from operate.table import json_option, print_rows, table_of

if TYPE_CHECKING:
    from query.answer import Answer

# A person sees a change; a look costs some hundredths of a second.
LOOK_SECONDS = 1.0
# Longer names are cut: what venues call things must not push the numbers off the screen.
CELL_CHARACTERS_MAX = 24

# Keys, and the columns that each sorts by; where much is news, the most comes first.
SORTS = {
    "venue": ("exchange", "symbol"),
    "symbol": ("symbol", "exchange"),
    "rate": ("trades_per_second",),
    "age": ("age_seconds",),
    "gaps": ("open_ids", "lost_ids", "gaps"),
    "duplicates": ("duplicates_of_venue",),
    "lag": ("lag_seconds",),
}
NAMES = ("venue", "symbol")
KEYS = {name[0]: name for name in SORTS}
END = "q"
LEGEND = "sort by " + "  ".join(f"[{name[0]}]{name[1:]}" for name in SORTS) + "  [q]uit"

Row = dict[str, Any]


@click.command("top")
@venue_option
@symbol_option
@click.option("--sort", type=Choice(list(SORTS)), default="venue", show_default=True, help="By what.")
@json_option
@click.pass_obj
def command(session: Session, exchange: str | None, symbol: str | None, sort: str, as_json: bool) -> None:
    """Show every market: last price, rate, age, lag, gaps, duplicates.

    It reads the store, so any process may fill it. Its keys sort, q ends; in a pipe and with --json it says
    how things stand, once. Gaps are those of a day; duplicates are the venue's, of all time.
    """
    import msgspec

    from query.markets import markets
    from query.questions import refuse_unknown
    from query.surface import as_text, facts

    reader, scope = reader_of(session), scope_of(exchange, symbol, None, None, None)

    def look() -> "tuple[Answer, list[Row]]":
        answer = markets(reader, scope, time.time_ns() // 1000)
        return answer, as_text(answer.rows).to_pylist()

    answer, rows = look()
    if not rows:
        refuse_unknown(reader, scope)
    if sys.stdout.isatty() and sys.stdin.isatty() and not as_json:
        watch(look, sort)
        return
    if as_json:
        click.echo(msgspec.json.encode({**facts(answer), "rows": ordered(rows, sort)}))
    else:
        print_rows([*map(shown, ordered(rows, sort))], as_json=False)


def watch(look: "Any", sort: str) -> None:
    """Draw the markets until somebody has seen enough."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    with pressed_keys() as pressed, Live(auto_refresh=False, screen=True) as screen:
        while True:
            answer, rows = look()
            due = time.monotonic() + LOOK_SECONDS
            while True:
                title = f"{'SIMULATED · ' if answer.simulated else ''}{len(rows):,} markets, by {sort}"
                table = table_of([*map(shown, ordered(rows, sort))])
                words = Text(title, style="bold"), table, Text(LEGEND, style="dim")
                screen.update(Group(*words), refresh=True)
                key = pressed(max(0.0, due - time.monotonic()))
                if key == END:
                    return
                sort = KEYS.get(key, sort)
                if not key:
                    break


@contextmanager
def pressed_keys() -> "Iterator[Any]":
    """How to wait so long for a key; afterwards the terminal is as it was."""
    before = termios.tcgetattr(sys.stdin)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([sys.stdin], [], [], seconds)
        # At the end of input there is nobody to watch.
        return (sys.stdin.read(1) or END) if ready else ""

    try:
        tty.setcbreak(sys.stdin)
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def ordered(rows: list[Row], sort: str) -> list[Row]:
    """The rows by some columns; of numbers the highest first, and what is not known last."""
    if sort in NAMES:
        return sorted(rows, key=lambda row: [row[name] for name in SORTS[sort]])
    return sorted(rows, key=lambda row: [-(row[name] or 0) for name in SORTS[sort]])


def shown(row: Row) -> Row:
    """A market as a line for a person."""
    missing = [f"{row[name]:,} {word}" for name, word in MISSING.items() if row[name]]
    return {
        "venue": row["exchange"],
        "symbol": row["symbol"][:CELL_CHARACTERS_MAX],
        "price": row["price"],
        "side": row["side"],
        "trades_per_second": row["trades_per_second"],
        "age": age(1, 1 + int(row["age_seconds"] * MICROSECONDS)),
        "lag": None if row["lag_seconds"] is None else f"{row['lag_seconds'] * 1000:.0f} ms",
        "gaps": f"{row['gaps']:,}" + (f" ({', '.join(missing)})" if missing else ""),
        "duplicates": row["duplicates_of_venue"],
    }


MISSING = {"open_ids": "ids open", "lost_ids": "ids lost"}
