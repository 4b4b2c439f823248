"""How rows are shown: a table for people, JSON for programs. What venues wrote is shown, never obeyed."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from connectors.text import visible

if TYPE_CHECKING:
    from rich.table import Table

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def print_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print rows as a table, or as a JSON list of objects; `columns` names them when there are no rows."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=2, default=str))
        return
    from rich.console import Console

    # A pipe has no width: let no line break there.
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    console = Console(width=width, highlight=False)
    with console.capture() as text:
        console.print(table_of(rows, columns))
    # Not printed by rich, which ends the program with 1 when the reader has gone.
    click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))


def table_of(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> "Table":
    """The rows as a table of rich."""
    from rich.table import Table
    from rich.text import Text

    shown = list(columns or (rows[0] if rows else ()))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in shown:
        numeric = bool(rows) and all(isinstance(row.get(name), int | float) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(row.get(name))) for name in shown))
    return table


# Wider than any row of ours, so that `grep` and `awk` see one row a line.
PIPE_WIDTH = 1_000


def cell(value: object) -> str:
    """One value as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value)
    return visible(str(value))
