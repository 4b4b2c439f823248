"""`tape run`: capture, and a table of what moves until somebody says stop."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from connectors.capture import Capture
    from connectors.settings import Settings
    from operate.board import Board
    from operate.cli import Session

# Four times a second looks alive and costs nothing; a log or a pipe wants a line now and then.
DRAW_SECONDS = 0.25
LINE_SECONDS = 5.0
# One look at a journal takes at most so many frames, so that the table stays alive during a replay.
FRAMES_A_LOOK = 20_000


@click.command("run")
@click.option("--live", "mode", flag_value="live", help="Real venues; waits for the network.")
@click.option("--simulated", "mode", flag_value="simulated", help="Our own venues; needs no network.")
@click.option("--symbols", metavar="LIST", help="Instead of the configured ones: BTC-USDT,kraken:ETH-USD.")
@click.option("--seconds", type=float, help="Stop after so long.")
@click.pass_obj
def command(session: "Session", mode: str | None, symbols: str | None, seconds: float | None) -> None:
    """Capture market data and show it moving; Ctrl-C stops."""
    settings = session.settings()
    if mode:
        settings = settings.model_copy(update={"mode": mode})
    if symbols:
        settings = settings.with_symbols(symbols)
    session.start_log(settings)
    run(settings, seconds)


def run(settings: "Settings", seconds: float | None) -> None:
    """Capture until told to stop, then say what was done."""
    import structlog

    from connectors.capture import Capture
    from connectors.mode import decide, store
    from connectors.plans import plan_shards, policy_of, venues_of
    from connectors.simulation import simulated
    from connectors.slots import open_store

    venues = venues_of(settings)
    decision = decide(settings.mode, settings.data_dir, venues)
    click.echo(decision.said, err=True)
    directory = store(settings.data_dir, decision.kind)
    logger = structlog.get_logger()
    with ExitStack() as stack:
        stopped = stack.enter_context(stop_signals())
        if decision.kind == "simulated":
            chosen = settings.simulator
            venues = stack.enter_context(
                simulated(venues, seed=chosen.seed, rate=chosen.rate, faults=chosen.faults)
            )
        plans = plan_shards(settings, venues, directory, logger)
        open_store(directory, decision.kind, [plan.shard for plan in plans])
        capture = Capture(plans, policy=policy_of(settings.capture), logger=logger)
        capture.start()
        try:
            board, look = watch(capture)
            show(board, look, partial(headline, capture, decision.kind), stopped, seconds)
        finally:
            capture.stop()
        look()
        summarise(board, directory)


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; the second of them ends the process at once."""
    stopped = threading.Event()

    def stop(number: int, _: object) -> None:
        if stopped.is_set():
            raise SystemExit(128 + number)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(capture: "Capture") -> "tuple[Board, Callable[[], None]]":
    """A board of what is captured from now on, and how to bring it up to date from the journals."""
    from connectors.journal_reader import JournalReader
    from operate.board import Board

    newest = {shard.shard: shard.intake.next_position - 1 for shard in capture.status().shards}
    places = [
        (
            JournalReader(
                plan.directory, exchange=plan.venue.name, shard=plan.shard, position=newest[plan.shard]
            ),
            plan.venue,
            {listed.native: listed for listed in plan.instruments},
        )
        for plan in capture.plans
    ]
    board = Board([(plan.venue, listed.symbol) for plan in capture.plans for listed in plan.instruments])

    def look() -> None:
        for reader, venue, instruments in places:
            while frames := reader.read(FRAMES_A_LOOK):
                for frame in frames:
                    board.take(frame, venue, instruments)

    return board, look


def show(
    board: "Board",
    look: "Callable[[], None]",
    title: "Callable[[], str]",
    stopped: threading.Event,
    seconds: float | None,
) -> None:
    """Draw the board until told to stop: a live table on a terminal, else a line a market now and then."""
    deadline = None if seconds is None else time.monotonic() + seconds
    is_terminal = sys.stdout.isatty()
    with drawing(is_terminal) as draw:
        while not stopped.wait(DRAW_SECONDS if is_terminal else LINE_SECONDS):
            look()
            draw(title(), board.rows(time.time_ns() // 1000))
            if deadline is not None and time.monotonic() >= deadline:
                return


@contextmanager
def drawing(is_terminal: bool) -> "Iterator[Callable[[str, list[dict[str, object]]], None]]":
    """How rows are put on this output."""
    if not is_terminal:
        yield print_lines
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from operate.table import table_of

    with Live(auto_refresh=False, screen=False) as live:

        def draw(title: str, rows: list[dict[str, object]]) -> None:
            live.update(Group(Text(title, style="bold"), table_of(rows)), refresh=True)

        yield draw


def print_lines(title: str, rows: list[dict[str, object]]) -> None:
    """One line a market, for logs and pipes."""
    from operate.table import cell

    click.echo(title)
    for row in rows:
        click.echo("  " + "  ".join(f"{name}={cell(value)}" for name, value in row.items()))
    sys.stdout.flush()


def headline(capture: "Capture", kind: str) -> str:
    """What a person should know before he reads the rows."""
    status = capture.status()
    states = [
        f"{shard.shard} {connection.state}"
        for shard in status.shards
        for keeper in shard.keepers
        for connection in keeper.connections
    ]
    brakes = [f"{shard.shard}: {why}" for shard in status.shards for why in shard.intake.brakes.values()]
    waiting = sum(shard.intake.queue_frames for shard in status.shards)
    return " · ".join([kind.upper(), *states, f"queue {waiting}", *brakes])


def summarise(board: "Board", directory: Path) -> None:
    """The last words of a run."""
    trades = sum(market.trades for market in board.markets.values())
    quotes = sum(market.quotes for market in board.markets.values())
    click.echo(
        f"stopped: {board.frames:,} frames, {trades:,} trades, {quotes:,} quotes, "
        f"{board.dead_letters:,} dead letters; the journal is in {directory / 'journal'}",
        err=True,
    )
