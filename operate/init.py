"""`tape init`: a configuration to start from, short enough to be read."""

from pathlib import Path

import click

from connectors.errors import TapeError

EXAMPLE = """\
# Tapekeeper. Every table and key: `tape config schema`; what is in force: `tape config show --origin`.
# A variable goes before this file: TAPE_MODE=simulated, TAPE_VENUES__KRAKEN__SHARDS=2.
mode = "live"        # auto: live venues where one answers, else simulated · live · simulated
data_dir = "data"    # live and simulated data are kept apart below it

[venues.binance]     # without `symbols`, or without its table: the venue's most traded ones
symbols = ["BTC-USDT", "ETH-USDT", "BNB-USDT"]
[venues.kraken]
symbols = ["BTC-USD", "ETH-USD"]
[venues.coinbase]
enabled = true       # false: leave this venue out
symbols = ["BTC-USD", "ETH-USD"]

[kafka]              # with brokers every record is published to Kafka too, as Avro
bootstrap_servers = []    # such as ["localhost:9092"]; none: no Kafka
"""


@click.command("init")
@click.argument("path", type=click.Path(path_type=Path), default=Path("tape.toml"))
@click.option("--force", is_flag=True, help="Replace an existing file.")
def command(path: Path, force: bool) -> None:
    """Write a commented tape.toml."""
    target = path / "tape.toml" if path.is_dir() else path
    try:
        with target.open("w" if force else "x", encoding="utf-8") as file:
            file.write(EXAMPLE)
    except FileExistsError:
        raise TapeError(f"{target} exists", hint="--force replaces it") from None
    click.echo(f"wrote {target}", err=True)
