"""`tape recover`: recovery files that were lost or damaged are made again, from tables and journals."""

import time
from typing import TYPE_CHECKING

import click

from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from operate.cli import Session


@click.command("recover")
@click.option("--yes", is_flag=True, help="Do it; without, only what would be done is shown.")
@json_option
@click.pass_obj
def command(session: "Session", yes: bool, as_json: bool) -> None:
    """Make lost recovery files again from what the tables have.

    The next start then goes on where the tables are.
    All frames that are kept go through the steps once more; the tables get what they lack and nothing twice.
    Recovery files that are there are moved aside. No flow may be running.
    """
    from connectors.mode import remembered
    from connectors.mode import store as store_directory
    from connectors.slots import StoreError, held, read
    from dataflows.rebuilding import kept, rebuild
    from dataflows.recovery import FOLDER

    settings = session.settings()
    session.start_log(settings)
    directory = store_directory(settings.data_dir, remembered(settings.mode, settings.data_dir))
    store = read(directory)
    if store is None:
        raise StoreError(f"{directory} holds no store", hint="set mode or data_dir to where it is")
    now = time.time_ns() // 1_000
    with held(directory, [slot.shard for slot in store.slots], now):
        print_rows([one._asdict() for one in kept(directory, store, settings.lake)], as_json=as_json)
        if not yes:
            click.echo(
                f"would make {directory / FOLDER} again from these frames, and move aside what is there; "
                "`tape recover --yes` does it",
                err=True,
            )
            return
        aside = rebuild(directory, store, settings.lake, now=now, topics=settings.kafka)
    moved = f"; what was there is now {aside}" if aside else ""
    click.echo(f"made {directory / FOLDER} again{moved}", err=True)
