"""The command line: which verbs exist, and what each way of ending means.

A verb is one file operate/<verb>.py with a click command named `command`, and one line in COMMANDS. This file
imports nothing but click, so that help is instant: whatever a verb needs, the verb imports.

Data goes to stdout, talk to stderr. A verb ends with 0, or with 1 when a check said no
(`context.exit(1)`) or a flow that ran has failed.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from connectors.errors import EXIT_COULD_NOT, TapeError, explain, unknown
from operate import VERSION
from operate.choice import Choice

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from connectors.settings import Settings

# In the order of `tape --help`: what a newcomer types first comes first.
COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("operate.run:command", "Capture market data and show it moving; Ctrl-C stops."),
    "demo": (
        "operate.demo:command",
        "Run a simulated market in which things go wrong, and see them repaired.",
    ),
    "trades": ("operate.questions:trades", "Print the newest trades, or the first ones of an interval."),
    "quotes": (
        "operate.questions:quotes",
        "Print the newest best bids and offers, or the first ones of an interval.",
    ),
    "bars": (
        "operate.questions:bars",
        "Print bars of any length, the newest or the first ones of an interval.",
    ),
    "latest": ("operate.questions:latest", "Print the last trade of each symbol."),
    "summary": ("operate.questions:summary", "Print what each symbol did on a day."),
    "gaps": (
        "operate.questions:gaps",
        "Print ids that venues gave out and we did not receive, and what became of them.",
    ),
    "completeness": (
        "operate.questions:completeness",
        "Print how many ids came and how many are missing, by symbol and interval.",
    ),
    "symbols": ("operate.questions:symbols", "Print what was traded within a week, and when last."),
    "stats": ("operate.questions:stats", "Print how much each table holds of each venue."),
    "sql": (
        "operate.sql:command",
        "Ask the tables in SQL (DuckDB's): trades, quotes, bars, gaps, dead_letters, frames.",
    ),
    "serve": ("operate.serve:command", "Answer questions over HTTP: the API and the page; Ctrl-C stops."),
    "keys": ("operate.keys:command", "Make, list, replace and revoke the keys of the API."),
    "tail": ("operate.tail:command", "Follow records as they land, each once."),
    "top": ("operate.top:command", "Show every market: last price, rate, age, lag, gaps, duplicates."),
    "topics": (
        "operate.topics:command",
        "Show Kafka's topics; exit 1 where one is not as configured.",
    ),
    "init": ("operate.init:command", "Write a commented tape.toml."),
    "config": ("operate.config:command", "Show the configuration, where it came from, or its schema."),
    "audit": (
        "operate.audit:command",
        "Check that what was received is stored, once, or named as missing; exit 1 if not, 2: cannot tell.",
    ),
    "journal": ("operate.journal:command", "Check, measure or print what the journals hold."),
    "recover": ("operate.recover:command", "Make lost recovery files again from what the tables have."),
    "reset": ("operate.reset:command", "Show what a store holds, and remove it: a fresh start."),
    "replay": ("operate.replay:command", "Serve a recorded journal in its venue's own protocol."),
    "maintain": (
        "operate.maintain:command",
        "Compact, expire and clean the tables; status says how well they are and exits 1 if they are not.",
    ),
    "dead-letters": ("operate.dead_letters:command", "List, show or retry the messages that were refused."),
    "live-check": (
        "operate.live_check:command",
        "Capture each configured venue and compare with what it says by REST.",
    ),
    "simulate": ("operate.simulate:command", "Serve simulated venues on loopback until told to stop."),
    "decode": ("operate.decode:command", "Read frames, one a line, and print the records they become."),
    "completion": ("operate.completion:command", "Print the completion script of a shell."),
}

LOG_LEVELS = ("debug", "info", "warning", "error")

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # what a shell reports for a program that SIGPIPE ended


@dataclass
class Session:
    """What the global options said; click hands it to every verb (`@click.pass_obj`)."""

    debug: bool = False
    log_level: str | None = None
    config: Path | None = None

    def settings(self) -> "Settings":
        """The configuration; a mistake in it is told before anything starts."""
        from connectors.configuration import load

        return load(self.config).settings

    def words(self) -> list[str]:
        """The same options for a command line of our own."""
        said = ["--debug"] if self.debug else []
        for name, value in (("--log-level", self.log_level), ("--config", self.config)):
            said += [name, str(value)] if value else []
        return said

    def start_log(self, settings: "Settings") -> None:
        """Send the log to stderr from here on."""
        from connectors.log import start

        start("debug" if self.debug else self.log_level or settings.log.level)


class LazyGroup(click.Group):
    """A group that imports a verb only when it runs."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            if context.resilient_parsing or name.startswith("-"):
                return None
            raise unknown("command", name, COMMANDS)
        module, attribute = COMMANDS[name][0].split(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def shell_complete(self, context: click.Context, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(name, help=line)
            for name, (_, line) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, context, incomplete)


@click.group("tape", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks, log everything.")
@click.option("--log-level", type=Choice(LOG_LEVELS, case_sensitive=False), help="How much to log.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="TAPE_CONFIG",
    metavar="FILE",
    help="Configuration to read instead of ./tape.toml.",
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_obj
def tape(session: Session, debug: bool, log_level: str | None, config: Path | None) -> None:
    """Keep the tape: every trade that a venue numbered, stored exactly once or named as missing."""
    session.debug, session.log_level, session.config = debug, log_level, config


def main() -> NoReturn:
    """Run the command line and end the process."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character must not end the program.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if "_TAPE_COMPLETE" in os.environ:
        tape.main(prog_name="tape", obj=Session())
    code = run(sys.argv[1:])
    from dataflows.ending import gone

    gone(code)


def open_missing_streams() -> None:
    """Put nothing where whoever started us has closed a stream, or the next file would get its number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, os.fdopen(number, mode))


def run(arguments: Sequence[str]) -> int:
    """The exit code of one command line."""
    session = Session(debug="--debug" in arguments)
    try:
        return invoke(arguments, session)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has enough (`tape … | head`); the interpreter's last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # the one place where a bug becomes an exit code
        if session.debug:
            import traceback

            traceback.print_exc()
        else:
            complain(*said(error))
        return error.exit_code if isinstance(error, TapeError) else EXIT_COULD_NOT


def invoke(arguments: Sequence[str], session: Session) -> int:
    """Parse and run; what goes wrong comes out as an exception."""
    try:
        with tape.make_context("tape", list(arguments), obj=session) as context:
            context.color = color()
            tape.invoke(context)
    except click.exceptions.Exit as ending:
        code = ending.exit_code
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as ending:
        click.echo(ending.format_message(), err=True)
        return EXIT_COULD_NOT
    else:
        code = 0
    sys.stdout.flush()
    return code


def said(error: Exception) -> tuple[str, str]:
    """What to tell a person about an error, and what he can do; of a wrong command click knows it."""
    if isinstance(error, click.ClickException):
        context = getattr(error, "ctx", None)
        return error.format_message(), f"see {context.command_path} --help" if context else ""
    return explain(error)


def complain(message: str, hint: str) -> None:
    """Say on stderr what went wrong."""
    from connectors.text import visible

    text = "\n".join(visible(line) for line in message.split("\n"))
    click.echo(f"{click.style('error:', fg='red', bold=True)} {text}", err=True, color=color())
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan')} {visible(hint)}", err=True, color=color())


def color() -> bool | None:
    """Never colour where https://no-color.org forbids it; else only on a terminal."""
    return False if os.environ.get("NO_COLOR") else None
