"""How the command line starts, helps and ends, in real processes where a user would have them."""

import os
import pty
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import click
import pytest

from connectors.errors import TapeError
from operate import cli

TAPE = [sys.executable, "-m", "operate"]
ROOT = Path(cli.__file__).parent.parent

# Half of what people feel as a delay; rich, pydantic or pyarrow alone would cost more.
HELP_CPU_SECONDS_MAX = 0.2


def environment(**more: str) -> dict[str, str]:
    """This process's environment, without the instruments that would be measured too."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def test_help_takes_less_than_200_milliseconds_of_cpu() -> None:
    taken = []
    for _ in range(5):
        with subprocess.Popen([*TAPE, "--help"], stdout=subprocess.DEVNULL, env=environment()) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        taken.append(usage.ru_utime + usage.ru_stime)
    assert min(taken) < HELP_CPU_SECONDS_MAX, taken


def test_help_imports_only_click() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "operate", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "click" in imported
    heavy = {
        "pydantic",
        "rich",
        "pyarrow",
        "pyiceberg",
        "bytewax",
        "httpx2",
        "websockets",
        "msgspec",
        "asyncio",
    }
    assert not imported & heavy


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_verb_exists_and_says_what_its_line_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(cli.tape)
    command = cli.tape.get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(200) == cli.COMMANDS[name][1]
    assert cli.run([name, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: tape {name}")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, ""),
        ([], 2, "Usage: tape"),
        (["confg"], 2, "error: unknown command 'confg'\nhint: did you mean config?\n"),
        (["zzz"], 2, "error: unknown command 'zzz'\nhint: known: "),
        (
            ["config", "shw"],
            2,
            "error: No such command 'shw'. Did you mean 'show'?\nhint: see tape config --help\n",
        ),
        (["--nonsense"], 2, "error: No such option '--nonsense'"),
        (["--config", "no.toml", "config", "show"], 2, "error: no.toml: no such file\nhint: "),
    ],
)
def test_how_a_command_line_ends(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Make `tape verb` do something."""

    def install(action: Callable[[], object]) -> None:
        module = ModuleType("verb_of_a_test")
        module.command = click.Command("verb", callback=action)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "verb", (f"{module.__name__}:command", "A verb."))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (click.exceptions.Exit(1), 1, ""),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Abort(), 130, ""),
        (TapeError("no\x1b[31mdisk", hint="buy one"), 2, "error: no\\x1b[31mdisk\nhint: buy one\n"),
        (PermissionError(13, "Permission denied", "data"), 2, "error: Permission denied: data\n"),
        (
            KeyError("side"),
            2,
            "error: a bug in tape: KeyError: 'side'\n"
            "hint: run the same with `tape --debug …` to see the traceback, and report it\n",
        ),
    ],
)
def test_how_a_verb_ends(
    verb: Callable[[Callable[[], object]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    verb(raising(error))
    assert cli.run(["verb"]) == code
    assert capsys.readouterr() == ("", said)


def test_debug_shows_the_traceback(
    verb: Callable[[Callable[[], object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    verb(raising(KeyError("side")))
    assert cli.run(["--debug", "verb"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Traceback (most recent call last):")
    assert said.endswith("KeyError: 'side'\n")


def test_the_session_carries_the_global_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.toml"
    path.write_text('[log]\nlevel = "error"')
    session = cli.Session(config=path)
    settings = session.settings()
    assert (settings.log.level, settings.mode) == ("error", "simulated")
    started: list[str] = []
    monkeypatch.setattr("connectors.log.start", started.append)
    for each in (session, cli.Session(log_level="warning"), cli.Session(debug=True, log_level="warning")):
        each.start_log(settings)
    assert started == ["error", "warning", "debug"]


def test_a_reader_that_has_enough_ends_us_quietly() -> None:
    with subprocess.Popen(
        [*TAPE, "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert (process.returncode, said) == (cli.EXIT_PIPE_CLOSED, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_who_closes_a_stream_gets_no_bug(tmp_path: Path, closed: str) -> None:
    line = " ".join([*map(shlex.quote, TAPE), "decode", "kraken", closed])
    done = subprocess.run(
        ["/bin/sh", "-c", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=tmp_path,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


BLOCKED = """
import sys, types, click
from operate import cli
def wait():
    print("ready", flush=True)
    sys.stdin.read()
module = types.ModuleType("blocked")
module.command = click.Command("wait", callback=wait)
sys.modules["blocked"] = module
cli.COMMANDS["wait"] = ("blocked:command", "Wait.")
sys.argv = ["tape", "wait"]
cli.main()
"""


def test_control_c_ends_with_130_and_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (cli.EXIT_INTERRUPTED, "")


def test_a_terminal_without_our_characters_is_served_too() -> None:
    done = subprocess.run(
        [*TAPE, "init", "/nowhere/\u20bf"],
        capture_output=True,
        check=False,
        env=environment(PYTHONIOENCODING="ascii:strict"),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: No such file or directory: /nowhere/")
    assert done.stderr.count(b"\n") == 1


def shown_on_a_terminal(**more: str) -> bytes:
    """What `tape confg` shows where stderr is a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run([*TAPE, "confg"], stderr=theirs, check=False, env=environment(TERM="xterm", **more))
    os.close(theirs)
    shown = os.read(ours, 10_000)
    os.close(ours)
    return shown


def test_colour_is_for_terminals_that_want_it() -> None:
    assert shown_on_a_terminal().startswith(b"\x1b[31m\x1b[1merror:\x1b[0m unknown command")
    assert shown_on_a_terminal(NO_COLOR="1").startswith(b"error: unknown command")


def test_shells_complete_verbs_without_importing_them() -> None:
    done = subprocess.run(
        [*TAPE],
        capture_output=True,
        text=True,
        check=True,
        env=environment(_TAPE_COMPLETE="bash_complete", COMP_WORDS="tape conf", COMP_CWORD="1"),
    )
    assert done.stdout == "plain,config\n"
