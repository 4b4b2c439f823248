"""`tape run`: the flow as a process, and a table of what moves until somebody says stop.

A flow that a full disk has ended is started again when there is space: nothing else that ends it passes by
itself.
"""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from connectors.errors import EXIT_FAILED, TapeError
from connectors.text import visible
from operate.numbers import FiniteRange
from operate.scope import chosen_symbols
from schemas.shards import exchange_of

if TYPE_CHECKING:
    from subprocess import Popen

    from connectors.settings import Settings
    from operate.answering import Answering
    from operate.board import Board
    from operate.cli import Session

# Four times a second looks alive and costs nothing; a log or a pipe wants a line now and then.
DRAW_SECONDS = 0.25
LINE_SECONDS = 5.0
# One look at a journal takes at most so many frames, so that the table stays alive during a replay.
FRAMES_A_LOOK = 20_000
# The flow ends itself within nine seconds.
STOP_SECONDS = 12.0
# What ends maintenance again and again must not keep the machine from what matters.
AGAIN_SECONDS = 5.0
# How often a full disk is looked at, and so how fast a flow that it ends again and again is started.
ROOM_SECONDS = 2.0
# The words of whoever was refused space, in the last lines of the flow.
FULL = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
LAST_LINES = 2

# Longer than any run, and what a timer of the system can wait for.
SECONDS_MAX = 1e9

Draw = Callable[[str, list[dict[str, object]]], None]


@click.command("run")
@click.option("--live", is_flag=True, help="Real venues; waits for the network.")
@click.option("--simulated", is_flag=True, help="Our own venues; needs no network.")
@click.option(
    "--symbols",
    metavar="LIST",
    help="Instead of the configured ones: BTC-USDT,kraken:ETH-USD.",
    shell_complete=chosen_symbols,
)
@click.option("--seconds", type=FiniteRange(min=0, max=SECONDS_MAX), help="Stop after so long.")
@click.option("--no-table", is_flag=True, help="Only the flow and its log, as a service wants it.")
@click.pass_obj
def command(
    session: "Session",
    live: bool,
    simulated: bool,
    symbols: str | None,
    seconds: float | None,
    no_table: bool,
) -> None:
    """Capture market data and show it moving; Ctrl-C stops."""
    if live and simulated:
        raise click.UsageError("--live and --simulated exclude each other")
    settings = session.settings()
    if live or simulated:
        settings = settings.model_copy(update={"mode": "live" if live else "simulated"})
    if symbols is not None:
        settings = settings.with_symbols(symbols)
    if no_table:
        stop_early(seconds)
        from dataflows.running import run

        session.start_log(settings)
        with maintained(session, settings):
            run(settings)
    else:
        run_and_watch(session, settings, symbols, seconds)


def stop_early(seconds: float | None) -> None:
    """Have SIGTERM end this process with 0 before the flow listens to it itself, and come after so long."""

    def stop(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    if seconds is not None:
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
        timer.daemon = True
        timer.start()


@contextmanager
def maintained(session: "Session", settings: "Settings") -> Iterator[None]:
    """Have a process of its own look after the tables, behind everybody else."""
    import structlog

    from connectors.children import start_child, stop_child

    if not settings.lake.maintain:
        yield
        return
    mode = [] if settings.mode == "auto" else [f"--{settings.mode}"]
    words = ["operate", *session.words(), "maintain", "all", "--schedule", "--yes", *mode]
    children = [start_child(words, stdout=DEVNULL, cwd=Path.cwd())]
    over = threading.Event()

    def keep() -> None:
        while not over.wait(AGAIN_SECONDS):
            code = children[-1].poll()
            if code is not None:
                logger: Any = structlog.get_logger()
                logger.warning("maintenance has ended by itself and starts again", code=code)
                children.append(start_child(words, stdout=DEVNULL, cwd=Path.cwd()))

    keeping = threading.Thread(target=keep, name="maintained", daemon=True)
    keeping.start()
    try:
        yield
    finally:
        over.set()
        keeping.join()
        stop_child(children[-1], STOP_SECONDS)


def run_and_watch(
    session: "Session", settings: "Settings", symbols: str | None, seconds: float | None
) -> None:
    """Run the flow as a process and watch it until told to stop; ends as the flow did."""
    stopped = threading.Event()
    with stop_signals(stopped):
        from connectors.children import start_child, stop_child
        from connectors.mode import decide, store
        from connectors.plans import venues_of
        from operate.answering import answering

        decision = decide(settings.mode, settings.data_dir, venues_of(settings))
        heard(decision.said)
        directory = store(settings.data_dir, decision.kind)
        board, look = watch(settings, directory)
        words = ["operate", *session.words(), "run", "--no-table", f"--{decision.kind}"]
        if symbols:
            words += ["--symbols", symbols]
        until = End(stopped, None if seconds is None else time.monotonic() + seconds)
        with (
            drawing(sys.stdout.isatty()) as (draw, say),
            answering(session, settings, decision.kind, say) as api,
        ):
            by_itself = is_full = True
            while by_itself and is_full:
                flow = start_child(words, stdout=DEVNULL, stderr=PIPE, cwd=Path.cwd())
                try:
                    with saying(flow, say) as last:
                        by_itself = show(Shown(board, look, decision.kind, flow, api), draw, until)
                finally:
                    code = exit_code(stop_child(flow, STOP_SECONDS), by_itself=by_itself, say=say)
                is_full = code != 0 and ended_by_full_disk(last) and has_room_again(directory, say, until)
    if by_itself and not code:
        raise TapeError("the flow ended by itself", hint="its last lines say why")
    if code:
        # The flow has said why.
        raise click.exceptions.Exit(code)


def exit_code(code: int, *, by_itself: bool, say: Callable[[str], None]) -> int:
    """What a flow ended with, as one of our exit codes; a signal that was not our own stop is said."""
    if code >= 0:
        return code
    if code == -signal.SIGTERM and not by_itself:
        return 0  # it did not listen yet, and so had begun nothing
    say(f"the flow was ended by {signal.Signals(-code).name}")
    return EXIT_FAILED


class End(NamedTuple):
    """When a run is over."""

    stopped: threading.Event
    deadline: float | None

    def wait(self, seconds: float) -> bool:
        """Let so much time pass; whether it is over."""
        return self.stopped.wait(seconds) or (self.deadline is not None and time.monotonic() >= self.deadline)


def ended_by_full_disk(last: "deque[str]") -> bool:
    """Whether these last lines of a flow say that it was refused space."""
    return any(line.startswith("error:") and words in line for line in last for words in FULL)


def has_room_again(directory: Path, say: Callable[[str], None], until: End) -> bool:
    """Wait for space; whether there was any before the run was over."""
    from connectors.disk import ROOM_BYTES, require_room

    say("waiting for space on the disk; the flow starts again by itself")
    while not until.wait(ROOM_SECONDS):
        with suppress(OSError):
            require_room(directory, ROOM_BYTES)
            say("there is space again: starting the flow")
            return True
    return False


@contextmanager
def stop_signals(stopped: threading.Event) -> Iterator[None]:
    """Have SIGINT and SIGTERM set the event; the second of them ends the process at once."""

    def stop(number: int, _: object) -> None:
        if stopped.is_set():
            raise SystemExit(128 + number)
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(settings: "Settings", directory: Path) -> "tuple[Board, Callable[[], None]]":
    """A board of what is captured from now on, and how to bring it up to date from the journals."""
    from connectors.journal_reader import JournalReader
    from connectors.plans import shard_names
    from connectors.segments import newest_position
    from connectors.venues import VENUES
    from operate.board import Board

    readers = []
    for shard in shard_names(settings):
        journal, exchange = directory / "journal" / shard, exchange_of(shard)
        position = newest_position(journal) if journal.exists() else 0
        readers.append(JournalReader(journal, exchange=exchange, shard=shard, position=position))
    enabled = settings.enabled().items()
    board = Board(VENUES, [(name, symbol) for name, venue in enabled for symbol in venue.symbols])

    def look() -> None:
        for reader in filter(lambda reader: reader.directory.exists(), readers):
            while frames := reader.read(FRAMES_A_LOOK):
                for frame in frames:
                    board.take(frame)

    return board, look


class Shown(NamedTuple):
    """What is shown of a run."""

    board: "Board"
    look: Callable[[], None]
    kind: str
    flow: "Popen[str]"
    api: "Answering | None"


def show(shown: Shown, draw: Draw, until: End) -> bool:
    """Draw the board until the run is over, as a live table or as lines; whether the flow ended before."""
    pause = DRAW_SECONDS if sys.stdout.isatty() else LINE_SECONDS
    over = False
    while not over and shown.flow.poll() is None:
        over = until.wait(pause)
        shown.look()
        if shown.api is not None:
            shown.api.look()
        now = time.time_ns() // 1000
        draw(headline(shown, now), shown.board.rows(now))
    by_itself = shown.flow.poll() is not None
    shown.flow.terminate()
    return by_itself


@contextmanager
def saying(flow: "Popen[str]", say: Callable[[str], None]) -> "Iterator[deque[str]]":
    """Pass on what the flow says until it has ended; behind that, its last lines are known."""
    last: deque[str] = deque(maxlen=LAST_LINES)

    def pass_on() -> None:
        assert flow.stderr is not None
        for line in flow.stderr:
            last.append(line)
            say(line.rstrip("\n"))

    listening = threading.Thread(target=pass_on, name="flow says", daemon=True)
    listening.start()
    try:
        yield last
    finally:
        listening.join(STOP_SECONDS)


def heard(line: str) -> None:
    """Say it to whoever still listens: nothing ends because nobody does."""
    with suppress(OSError):
        click.echo(line, err=True)


@contextmanager
def drawing(is_terminal: bool) -> "Iterator[tuple[Draw, Callable[[str], None]]]":
    """How rows and words are put on this output."""
    if not is_terminal:
        yield print_lines, heard
        return
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from operate.table import table_of

    with Live(auto_refresh=False) as live:

        def draw(title: str, rows: list[dict[str, object]]) -> None:
            live.update(Group(Text(title, style="bold"), table_of(rows)), refresh=True)

        def say(line: str) -> None:
            live.console.print(Text(visible(readable(line))))

        yield draw, say


def readable(line: str) -> str:
    """A line of the flow's log for a person; what is no such line as it is."""
    try:
        said = json.loads(line)
        time, what = said.pop("timestamp")[11:19], said.pop("event")
    except (ValueError, KeyError, TypeError, AttributeError):
        return line
    said.pop("level", None)
    return "  ".join([time, what, *(f"{name}={value}" for name, value in said.items())])


def print_lines(title: str, rows: list[dict[str, object]]) -> None:
    """One line a market, for logs and pipes."""
    from operate.table import cell

    click.echo(title)
    for row in rows:
        click.echo("  " + "  ".join(f"{name}={cell(value)}" for name, value in row.items()))
    sys.stdout.flush()


def headline(shown: Shown, now: int) -> str:
    """What a person should know before he reads the rows."""
    board = shown.board
    states = [f"{shard} {state}" for shard, state in sorted(board.connections.items())]
    states += [shown.api.address] if shown.api is not None and shown.api.address else []
    return " · ".join([shown.kind.upper(), *states, f"{board.frames:,} frames", *board.warnings(now)])
