"""How answers are shown: a table for people; JSON, CSV, Parquet for programs; on stderr what they rest on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from operate.cli import Session
from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from query.answer import Answer
    from query.reader import Reader

# A screen.
SHOWN_ROWS = 20
# More than anybody reads, and what fits in memory; whoever wants more names an interval.
ROWS_MAX = 1_000_000


class Form(NamedTuple):
    """How somebody wants an answer."""

    as_json: bool
    as_csv: bool
    parquet: Path | None

    @property
    def rows(self) -> int:
        """How many, if he does not say."""
        return ROWS_MAX if any(self) else SHOWN_ROWS


def form_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how."""
    file = click.Path(path_type=Path, dir_okay=False, writable=True)
    verb = click.option("--parquet", type=file, metavar="FILE", help="Write Parquet to a file.")(verb)
    verb = click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")(verb)
    return json_option(verb)


def reader_of(session: Session) -> "Reader":
    """The store that runs or ran last."""
    from connectors.errors import TapeError
    from connectors.slots import read
    from operate.audit import catalog_of, store_of
    from query.reader import Reader

    settings = session.settings()
    directory = store_of(settings)
    if not settings.lake.catalog and not (directory / "catalog.db").exists():
        raise TapeError(f"{directory} has no tables yet", hint="`make run` makes and fills them")
    store = read(directory)
    assert store is not None
    return Reader(catalog_of(settings, directory), directory, store.kind)


def show(answer: "Answer", form: Form, columns: Sequence[str] = ()) -> None:
    """Show an answer as asked."""
    import msgspec

    from query.surface import as_text, csv_of, facts, with_facts

    if not form.as_json:
        click.echo(said(answer), err=True)
    if form.parquet is not None:
        import pyarrow.parquet as pq

        pq.write_table(with_facts(answer), form.parquet, compression="zstd")
        click.echo(f"{answer.rows.num_rows:,} rows written to {form.parquet}", err=True)
    elif form.as_csv:
        click.echo(csv_of(as_text(answer.rows)), nl=False)
    elif form.as_json:
        click.echo(msgspec.json.encode({**facts(answer), "rows": as_text(answer.rows).to_pylist()}))
    else:
        rows = as_text(answer.rows)
        print_rows(rows.to_pylist(), as_json=False, columns=columns or rows.column_names)


def said(answer: "Answer") -> str:
    """What an answer rests on, in one line."""
    from query.surface import iso

    words = ["SIMULATED"] if answer.simulated else []
    if answer.snapshot_id is not None:
        words.append(f"snapshot {answer.snapshot_id}")
    if answer.provisional_from is not None:
        words.append(f"provisional from {iso(answer.provisional_from)}")
    found = answer.completeness
    if found.missing is not None:
        words.append(f"{found.missing:,} of {found.expected:,} ids missing")
    return " · ".join(words) or "live"
