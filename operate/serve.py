"""`tape serve`: questions answered over HTTP until somebody says stop; `tape run` has it beside the flow."""

from typing import TYPE_CHECKING

import click

from operate.answers import reader_of
from operate.cli import Session

if TYPE_CHECKING:
    from connectors.settings import Settings
    from query.rest.keys import Keys


@click.command("serve")
@click.option(
    "--host", help="Address to listen on; another than this machine's own only where there are keys."
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port to listen on; any free one if it is taken."
)
@click.pass_obj
def command(session: Session, host: str | None, port: int | None) -> None:
    """Answer questions over HTTP: the API and the page; Ctrl-C stops.

    The first line that it prints is where.
    """
    from prometheus_client import CollectorRegistry

    from connectors.serving import Serving
    from query.rest.app import Store, api
    from query.rest.guard import Guard, Rates
    from query.rest.server import address_of, listen, serve

    settings = session.settings()
    session.start_log(settings)
    api_settings, keys = settings.api, keys_of(settings)
    wanted = api_settings.port if port is None else port
    listener = listen(host or api_settings.host, wanted, keys)
    address = address_of(listener)
    if wanted not in (0, listener.getsockname()[1]):
        click.echo(f"port {wanted} is taken: another one is used", err=True)
    store, registry = Store(lambda: reader_of(session)), CollectorRegistry()
    metrics = Serving(
        host=settings.metrics.host, port=api_settings.metrics_port, registry=registry, unready=store.unready
    )
    metrics.start()
    rates = Rates(api_settings.requests_per_second)
    app = api(store, api_settings)
    guarded = Guard(app, keys, rates, registry)
    serve(guarded, listener, ready=lambda: click.echo(address), stopping=app.state.close)
    metrics.stop()


def keys_of(settings: "Settings") -> "Keys":
    """Where keys are kept."""
    from pathlib import Path

    from query.rest.keys import Keys

    return Keys(Path(settings.api.keys_file or settings.data_dir / "keys.json"))
