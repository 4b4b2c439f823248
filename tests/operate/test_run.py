"""`tape run` as a user starts it: a process, a terminal, a signal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from connectors import children
from connectors.errors import TapeError
from connectors.positions import expected_position
from connectors.segments import newest_position
from connectors.settings import LakeSettings, Settings
from operate import cli
from operate import run as run_module
from operate.cli import Session
from operate.run import exit_code, maintained

TAPE = [sys.executable, "-m", "operate"]
ROOT = Path(__file__).resolve().parents[2]
# The promise is 60 seconds with set-up; without it a few are enough, unless many others use the machine.
PATIENCE_SECONDS = 100

pytestmark = pytest.mark.timeout(300)


class Run:
    """`tape run`, what it prints and what it says."""

    def __init__(self, directory: Path, *arguments: str, **variables: str) -> None:
        self.out, self.error = (directory / f"{time.monotonic_ns()}.{name}" for name in ("out", "error"))
        with self.out.open("wb") as out, self.error.open("wb") as error:
            self.process = subprocess.Popen(
                [*TAPE, "run", "--simulated", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=error,
                cwd=directory,
                env=os.environ | {"PYTHONPATH": str(ROOT), "TAPE_API__SERVE": "false"} | variables,
            )

    def until(self, words: str) -> None:
        """Wait until it has printed or said what matches."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not re.search(words, self.printed() + self.said()):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.printed() + self.said()
            time.sleep(0.05)

    def printed(self) -> str:
        return self.out.read_text()

    def said(self) -> str:
        return self.error.read_text()

    def end(self, number: int = signal.SIGINT) -> None:
        """Ask it to end, or kill it."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        assert code == (-number if number == signal.SIGKILL else 0), self.said()


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for one in started:
        one.process.kill()
        one.process.wait()


@pytest.mark.long
def test_a_terminal_shows_prices_moving_and_ctrl_c_ends_with_a_summary(tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*TAPE, "run", "--simulated"],
        stdout=inside,
        stderr=subprocess.PIPE,
        env=os.environ
        | {"TAPE_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        | {"TERM": "xterm", "COLUMNS": "200", "LINES": "50", "TAPE_API__PORT": "0"},
    )
    os.close(inside)
    shown = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    # Capture begins some seconds before the flow, which only then has a last word.
    while time.monotonic() < deadline and not re.search(r" [1-9],\d{3} frames", shown):
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65_536).decode(errors="replace")
    assert len(set(re.findall(r"8[67]\d{3}\.\d+", shown))) >= 5, shown[-2_000:]
    assert "SIMULATED" in shown
    process.send_signal(signal.SIGINT)
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:  # rich waits for who reads
        assert time.monotonic() < deadline + PATIENCE_SECONDS
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:
                break
    process.communicate(timeout=PATIENCE_SECONDS)
    os.close(terminal)
    assert process.returncode == 0, shown[-3_000:]
    assert re.search(r"binance: [\d,]+ frames, [1-9][\d,]* trades", shown)
    assert (tmp_path / "simulated" / "journal" / "binance-0").is_dir()
    assert not (tmp_path / "live").exists()


@pytest.mark.long
def test_a_pipe_gets_lines_and_chosen_symbols_only(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--symbols", "kraken:ETH-USD"))
    runs[0].until(r"symbol=ETH-USD .*\n(.*\n)*.*symbol=ETH-USD ")
    runs[0].end()
    markets = set(re.findall(r"venue=(\w+)  symbol=(\S+)", runs[0].printed()))
    assert markets == {("kraken", "ETH-USD")}
    assert "mode is simulated" in runs[0].said()


def test_it_ends_by_itself_after_the_seconds_that_were_given(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--seconds", "1"))
    assert runs[0].process.wait(PATIENCE_SECONDS) == 0, runs[0].said()


def test_without_a_table_it_ends_after_the_seconds_too(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, "--no-table", "--seconds", "1"))
    assert runs[0].process.wait(PATIENCE_SECONDS) == 0, runs[0].said()


def test_stopped_before_the_flow_has_begun_it_ends_with_0(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path))
    runs[0].until("mode is simulated")
    runs[0].end(signal.SIGTERM)
    assert "connected" not in runs[0].said()


def test_a_flow_that_a_stranger_has_ended_is_no_success() -> None:
    said: list[str] = []
    assert exit_code(-signal.SIGTERM, by_itself=False, say=said.append) == 0
    assert exit_code(3, by_itself=True, say=said.append) == 3
    assert not said
    assert exit_code(-signal.SIGKILL, by_itself=True, say=said.append) == 1
    assert exit_code(-signal.SIGTERM, by_itself=True, say=said.append) == 1
    assert said == ["the flow was ended by SIGKILL", "the flow was ended by SIGTERM"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--live", "--simulated"], "--live and --simulated exclude each other"),
        (["--symbols", ""], "--symbols names no symbol"),
        (["--seconds", "nan"], "is not a finite number"),
        (["--seconds", "-1"], "is not in the range"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["run", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_symbol_is_told_with_what_was_meant(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TAPE, "run", "--seconds", "1", "--symbols", "binance:BTC-USTD"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        env=os.environ | {"TAPE_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean binance:BTC-USDT?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())  # nobody was asked and nothing was decided


@pytest.mark.long
def test_killed_and_started_again_it_resumes_where_it_was(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path))
    runs[0].until("connected")
    store, deadline = tmp_path / "data" / "simulated", time.monotonic() + PATIENCE_SECONDS
    first = 0
    for _ in range(2):  # a second snapshot is only taken when the first is durable
        while (found := expected_position(store, "binance-0") or 0) <= first:
            assert time.monotonic() < deadline, runs[0].said()
            time.sleep(0.05)
        first = found
    runs[0].end(signal.SIGKILL)
    runs.append(Run(tmp_path))
    runs[1].until("resumed at")
    runs[1].end(signal.SIGTERM)


@pytest.mark.long
def test_the_configuration_of_where_it_was_started_is_in_force(tmp_path: Path, runs: list[Run]) -> None:
    lines = [
        "[venues.kraken]",
        "shards = 2",
        "[venues.binance]",
        "enabled = false",
        "[log]",
        'level = "error"',
    ]
    (tmp_path / "tape.toml").write_text("\n".join(lines))
    runs.append(Run(tmp_path))
    runs[0].until("venue=kraken .*trades=[1-9]")
    runs[0].end()
    journals = {path.name for path in (tmp_path / "data" / "simulated" / "journal").iterdir()}
    assert journals >= {"kraken-0", "kraken-1", "coinbase-0"}
    assert "binance-0" not in journals
    assert "connected" not in runs[0].said()


@pytest.mark.long
def test_two_runs_of_the_simulator_never_contradict_each_other(tmp_path: Path, runs: list[Run]) -> None:
    for _ in range(2):
        runs.append(Run(tmp_path, "--symbols", "binance:BTC-USDT"))
        runs[-1].until("venue=binance .*trades=[1-9][0-9]")
        runs[-1].end()
    summary = r"binance: [\d,]+ frames, [1-9][\d,]* trades, 0 duplicates, 0 dead letters"
    assert re.search(summary, runs[1].said()), runs[1].said()


def test_maintenance_that_ends_by_itself_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Child:
        def poll(self) -> int:
            return -9

    started: list[Child] = []
    stopped: list[object] = []
    monkeypatch.setattr(children, "start_child", lambda *_, **__: started.append(Child()) or started[-1])
    monkeypatch.setattr(children, "stop_child", lambda child, _: stopped.append(child))
    monkeypatch.setattr(run_module, "AGAIN_SECONDS", 0.01)
    with capture_logs() as said, maintained(Session(), Settings(mode="simulated")):
        deadline = time.monotonic() + 10
        while len(started) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert stopped == started[-1:]
    assert said[0]["event"] == "maintenance has ended by itself and starts again"
    assert said[0]["code"] == -9


@pytest.mark.parametrize("maintain", [True, False])
def test_the_flow_has_its_tables_looked_after_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, maintain: bool
) -> None:
    started: list[list[str]] = []
    stopped: list[object] = []
    monkeypatch.setattr(children, "start_child", lambda words, **_: started.append(words) or words)
    monkeypatch.setattr(children, "stop_child", lambda child, _: stopped.append(child))
    settings = Settings(mode="live", lake=LakeSettings(maintain=maintain))

    def refused() -> None:
        with maintained(Session(log_level="debug"), settings):
            assert not stopped
            raise TapeError("refused")

    with pytest.raises(TapeError, match="refused"):
        refused()
    words = ["operate", "--log-level", "debug", "maintain", "all", "--schedule", "--yes", "--live"]
    assert started == stopped == [words] * maintain


@pytest.mark.parametrize("reader", ["full", pytest.param("gone", marks=pytest.mark.long)])
def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path: Path, reader: str) -> None:
    reading, said = os.pipe() if reader == "gone" else (-1, os.open("/dev/full", os.O_WRONLY))
    process = subprocess.Popen(
        [*TAPE, "run", "--simulated", "--no-table"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=said,
        env=os.environ | {"TAPE_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "TAPE_API__PORT": "0"},
    )
    os.close(said)
    if reader == "gone":
        assert os.read(reading, 65_536)
        os.close(reading)
    journal, deadline = tmp_path / "simulated" / "journal" / "binance-0", time.monotonic() + PATIENCE_SECONDS
    try:
        # By then the flow, the API and their log have all wanted to say something.
        while not journal.is_dir() or newest_position(journal) < 200:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
