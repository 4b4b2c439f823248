"""`tape replay`: what a journal recorded, once more, for any client of that venue."""

import json
from pathlib import Path

import click

from operate.numbers import PORT_MAX, FiniteRange


@click.command("replay")
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR")
@click.option("--serve", "serves", is_flag=True, required=True, help="Serve it in the venue's own protocol.")
@click.option(
    "--speed",
    type=FiniteRange(min=0),
    default=1.0,
    show_default=True,
    help="Times the recorded pace; 0: as fast as can be.",
)
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    default=0,
    show_default=True,
    help="First of two ports; 0: any that are free.",
)
def command(directory: Path, serves: bool, speed: float, port: int) -> None:
    """Serve a recorded journal in its venue's own protocol.

    DIR is the journal of one shard, such as data/live/journal/binance-0.
    Prints one JSON line with the addresses. Each client gets the recorded frames of what it subscribes to,
    from the journal's beginning; what several connections recorded, once. REST answers from all that was
    recorded.
    """
    from simulator.replay import ReplayedVenue
    from simulator.server import serve

    replayed = ReplayedVenue(directory, speed=speed, port=port)
    serve(replayed, lambda addresses: click.echo(json.dumps(addresses)))
