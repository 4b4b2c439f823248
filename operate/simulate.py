"""`tape simulate`: the simulated venues as a program, for tests and for whoever has no network."""

import json

import click

from operate.numbers import PORT_MAX, FiniteRange, Moment
from operate.scope import venues as known_venues

# Of the numbers that a face makes of a trade id the highest, Coinbase's sequence, is 23 times the id.
# It must stay an id too, below 2**63, and there must be room for all that is traded from here on.
IDS_FROM_MAX = 2**58


@click.command("simulate")
@click.option("--seed", default="1", show_default=True, help="Decides everything that is random.")
@click.option(
    "--rate",
    type=FiniteRange(min=0),
    default=20.0,
    show_default=True,
    help="Trades a second of each venue; 0: none.",
)
@click.option("--faults", default="", metavar="NAME:PROBABILITY[:SECONDS],…", help="What goes wrong.")
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    default=0,
    show_default=True,
    help="First of several ports; 0: any that are free.",
)
@click.option(
    "--venue",
    "venues",
    multiple=True,
    help="Serve only this venue; may be repeated.",
    shell_complete=known_venues,
)
@click.option(
    "--ids-from",
    type=click.IntRange(0, IDS_FROM_MAX),
    default=0,
    show_default=True,
    help="Added to the first trade id of every symbol.",
)
@click.option(
    "--start",
    type=Moment(),
    metavar="TIME",
    help="When the market begins, as 2026-11-21T09:30:00Z: same seed, same bytes.",
)
@click.option("--attached", is_flag=True, help="Stop when standard input ends, as it does with a parent.")
def command(
    seed: str,
    rate: float,
    faults: str,
    port: int,
    venues: tuple[str, ...],
    ids_from: int,
    start: int | None,
    attached: bool,
) -> None:
    """Serve simulated venues on loopback until told to stop.

    Prints one JSON line with the addresses, then serves.

    \b
    Faults of a frame of trades: drop, duplicate, reorder, delay, other_price, wrong_id, malformed,
    huge, bomb.
    Of a connection, each second: freeze, freeze_data, half_open, cut, close.
    Of a venue, each second: stall, id_reset, shutdown.
    Of a REST request: rest_slow, rest_error, rest_throttle, rest_html, rest_reset, retention.
    """
    from connectors.errors import unknown
    from simulator.server import SimulatedVenues, serve
    from simulator.venues import FACES

    for venue in venues:
        if venue not in FACES:
            raise unknown("venue", venue, FACES)
    sim = SimulatedVenues(
        seed=seed,
        rate=rate,
        faults=faults,
        port=port,
        venues=venues or tuple(FACES),
        ids_from=ids_from,
        start=start,
    )
    serve(sim, lambda addresses: click.echo(json.dumps(addresses)), attached=attached)
