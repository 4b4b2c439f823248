"""The options that say of which venue and which symbol, and what a shell offers for them.

What is offered is what is configured: to look into the tables would keep whoever presses Tab waiting.
"""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from connectors.settings import Settings


def venues(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The venues that begin so."""
    from connectors.symbols import SYMBOLS

    return [name for name in SYMBOLS if name.startswith(incomplete)]


def symbols(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The symbols that begin so, in capitals or not."""
    known = {symbol for venue in configured().enabled().values() for symbol in venue.symbols}
    return [symbol for symbol in sorted(known) if symbol.startswith(incomplete.upper())]


def chosen_symbols(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """What may end a list of symbols, each perhaps behind its venue."""
    before, comma, last = incomplete.rpartition(",")
    venue, colon, begun = last.rpartition(":")
    names = [] if colon else [f"{name}:" for name in venues(context, parameter, begun)]
    return [f"{before}{comma}{venue}{colon}{one}" for one in names + symbols(context, parameter, begun)]


def configured() -> "Settings":
    """The settings; the defaults where nobody could use those that there are."""
    from connectors.configuration import SettingsError, load
    from connectors.settings import Settings

    try:
        return load().settings
    except SettingsError:
        return Settings()


venue_option = click.option(
    "--venue", "--exchange", "exchange", help="Only of this venue.", shell_complete=venues
)
symbol_option = click.option(
    "--symbol", help="Only of this symbol, such as BTC-USDT.", shell_complete=symbols
)
