"""`tape tail`: records as they land, each once; Ctrl-C ends."""

import time
from typing import TYPE_CHECKING

import click

from operate.answers import reader_of
from operate.choice import Choice
from operate.cli import Session
from operate.questions import scope_of
from operate.scope import symbol_option, venue_option
from operate.table import cell, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from query.files import Scope

# Rows land with every batch, some ten times a second; sooner nobody sees.
LOOK_SECONDS = 0.2

# What a line shows, in this order; the time comes first.
STAGES = {
    "frame": ("Frame", ("exchange", "shard", "position", "kind", "payload")),
    "trade": ("Trade", ("exchange", "symbol", "side", "price", "quantity", "trade_id")),
    "quote": ("Quote", ("exchange", "symbol", "bid_price", "bid_quantity", "ask_price", "ask_quantity")),
    "bar": ("Bar", ("exchange", "symbol", "interval", "open", "high", "low", "close", "volume", "revision")),
    "gap": ("Gap", ("exchange", "symbol", "first_missing", "last_missing", "status", "reason")),
    "dead-letter": ("DeadLetter", ("exchange", "symbol", "stage", "reason", "detail")),
}
# Longer fields are cut for people, never in JSON.
CELL_CHARACTERS_MAX = 100


@click.command("tail")
@click.option("--stage", type=Choice(list(STAGES)), default="trade", show_default=True, help="Which.")
@venue_option
@symbol_option
@click.option("--tables", is_flag=True, help="Follow the tables, although Kafka is configured.")
@json_option
@click.pass_obj
def command(
    session: Session, stage: str, exchange: str | None, symbol: str | None, tables: bool, as_json: bool
) -> None:
    """Follow records as they land, each once. Ctrl-C ends.

    With --json each is an object on a line of its own, with all its fields. Where Kafka is configured its
    topics are followed, from any host.
    """
    import msgspec

    import schemas
    from connectors.errors import TapeError
    from query.surface import as_text
    from schemas.iceberg import TABLES

    if stage == "frame" and symbol is not None:
        raise TapeError("a frame has no symbol until it is decoded", hint="use --venue, or another stage")
    name, columns = STAGES[stage]
    record_type = getattr(schemas, name)
    scope = scope_of(exchange, symbol, None, None, None)
    kafka = not tables and bool(session.settings().kafka.bootstrap_servers)
    following = of_topics if kafka else of_tables
    for rows in following(session, stage, record_type, scope):
        for row in as_text(rows).to_pylist():
            if as_json:
                click.echo(msgspec.json.encode(row))
            else:
                shown = [cell(row[column])[:CELL_CHARACTERS_MAX] for column in columns]
                click.echo("  ".join([row[TABLES[record_type].time], *shown]))


def of_tables(session: Session, stage: str, record_type: type, scope: "Scope") -> "Iterator[pa.Table]":
    """What lands in the tables and beside them."""
    from query.files import Scope
    from query.follow import follow
    from query.latest import symbols

    reader = reader_of(session)
    if scope.symbol is not None:
        doubt(session, scope.symbol, symbols(reader, Scope()).rows.column("symbol").to_pylist())
    click.echo(f"{'SIMULATED · ' if reader.simulated else ''}following {stage}s, Ctrl-C ends", err=True)
    return follow(reader, record_type, scope, lambda: time.sleep(LOOK_SECONDS))


def of_topics(session: Session, stage: str, record_type: type, scope: "Scope") -> "Iterator[pa.Table]":
    """What lands in Kafka."""
    import pyarrow as pa

    from operate.following import follow_topics
    from schemas.iceberg import to_arrow

    settings = session.settings()
    place = ",".join(settings.kafka.bootstrap_servers)
    exchanges = [scope.exchange] if scope.exchange else list(settings.enabled())
    if scope.symbol is not None:
        doubt(session, scope.symbol, ())
    landing = follow_topics(settings.kafka, record_type, exchanges, scope.symbol)
    click.echo(f"following {stage}s of Kafka at {place}, Ctrl-C ends", err=True)
    return (pa.Table.from_batches([to_arrow(record_type, records)]) for records in landing if records)


def doubt(session: Session, symbol: str, stored: "Iterable[str]") -> None:
    """Say that a symbol may never come; who captures it may have another configuration."""
    from connectors.symbols import meant_symbol

    known = {one for venue in session.settings().enabled().values() for one in venue.symbols} | set(stored)
    if symbol not in known:
        meant = meant_symbol(symbol, sorted(known))
        suggestion = "" if meant in (symbol, None) else f"; did you mean {meant}?"
        click.echo(f"nobody here captures {symbol}{suggestion}", err=True)
