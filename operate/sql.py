"""`tape sql`: one statement, or a shell, over the tables as views: read only, up to the last second."""

import sys
from collections.abc import Iterator

import click

from operate.answers import Form, form_options, reader_of, show
from operate.cli import Session


@click.command("sql")
@click.argument("statement", required=False)
@form_options
@click.pass_obj
def command(session: Session, /, statement: str | None, **options: object) -> None:
    """Ask the tables in SQL (DuckDB's): trades, quotes, bars, gaps, dead_letters, frames.

    \b
    tape sql "select symbol, count(*) from trades group by symbol"
    tape sql            a shell: statements end with a semicolon, Ctrl-D ends
    """
    from query.answer import Answer
    from query.sql import Sql

    reader = reader_of(session)
    sql, form = Sql(reader), Form(**options)  # type: ignore[arg-type]
    if statement is not None:
        show(Answer(sql.run(statement), reader.simulated), form)
        return
    for each in statements():
        from connectors.errors import TapeError

        try:
            show(Answer(sql.run(each), reader.simulated), form)
        except TapeError as error:
            click.echo(f"{error}{error.hint and f' ({error.hint})'}", err=True)


def statements() -> Iterator[str]:
    """What somebody types, or another program writes, a statement at a time."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  # input() edits lines and remembers them with it
    text = ""
    while True:
        try:
            text += input(PROMPTS[bool(text)] if sys.stdin.isatty() else "") + "\n"
        except EOFError:
            break
        if text.rstrip().endswith(";"):
            yield text
            text = ""
    if text.strip():
        yield text


PROMPTS = {False: "tape> ", True: "   -> "}
