"""`tape keys`: who may ask over HTTP. A key is shown once, when it is made."""

from typing import TYPE_CHECKING

import click

from operate.audit import MICROSECONDS, UNITS, now
from operate.choice import Choice
from operate.cli import Session
from operate.serve import keys_of
from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from query.rest.keys import Scope

# As query/rest/keys.py has them, which help need not import.
SCOPES = ("read", "sql", "admin")
DAY = UNITS["d"] * MICROSECONDS


@click.group("keys")
def command() -> None:
    """Make, list, replace and revoke the keys of the API."""


@command.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", type=Choice(SCOPES), multiple=True, default=("read",), show_default=True,
    help="What it is good for; may be said again.",
)  # fmt: skip
@click.option("--days", type=click.IntRange(1, 36_500), help="How long; else until it is revoked.")
@click.pass_obj
def add(session: Session, name: str, scopes: "tuple[Scope, ...]", days: int | None) -> None:
    """Make a key for somebody, and print it: this once."""
    began = now()
    until = None if days is None else began + days * DAY
    shown(keys_of(session.settings()).add(name, scopes, began, until))


@command.command("rotate")
@click.argument("id")
@click.option(
    "--days",
    type=click.IntRange(0, 366),
    default=1,
    show_default=True,
    help="The old one is good for so long.",
)
@click.pass_obj
def rotate(session: Session, id: str, days: int) -> None:  # noqa: A002  # what the person reads
    """Make a new key for the holder of one; both are good for a while."""
    began = now()
    shown(keys_of(session.settings()).rotate(id, began, began + days * DAY))


@command.command("revoke")
@click.argument("id")
@click.pass_obj
def revoke(session: Session, id: str) -> None:  # noqa: A002
    """Forget a key, at once."""
    keys_of(session.settings()).revoke(id)
    click.echo(f"key {id} is good for nothing any more", err=True)


@command.command("list")
@json_option
@click.pass_obj
def listed(session: Session, as_json: bool) -> None:
    """Say who may ask what; never the keys themselves."""
    from query.surface import iso

    rows = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": ",".join(key.scopes),
            "created": iso(key.created),
            "until": None if key.until is None else iso(key.until),
        }
        for key in keys_of(session.settings()).all()
    ]
    print_rows(rows, as_json=as_json, columns=("id", "name", "scopes", "created", "until"))


def shown(secret: str) -> None:
    """Print a key and nothing else."""
    click.echo("this key is shown once; it goes into the header `Authorization: Bearer KEY`", err=True)
    click.echo(secret)
