"""`tape config`: what is set, where each value came from, and what can be set."""

import json

import click

from operate.cli import Session
from operate.table import json_option, print_rows


@click.group("config")
def command() -> None:
    """Show the configuration, where it came from, or its schema."""


@command.command("show")
@click.option("--origin", "with_origin", is_flag=True, help="Say where each value came from.")
@json_option
@click.pass_obj
def show(session: Session, with_origin: bool, as_json: bool) -> None:
    """Print every value in force, secrets as ***."""
    from connectors.configuration import load

    rows = [
        {"key": key, "value": value} | ({"origin": origin} if with_origin else {})
        for key, value, origin in load(session.config).rows()
    ]
    print_rows(rows, as_json=as_json)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of tape.toml, for editors."""
    from connectors.settings import Settings

    click.echo(json.dumps(Settings.model_json_schema(), indent=2))
