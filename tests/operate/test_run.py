"""`tape run` as a user starts it: a process, a terminal, a signal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

TAPE = [sys.executable, "-m", "operate"]
ROOT = Path(__file__).resolve().parents[2]
# The promise is 60 seconds with set-up; without it, a busy machine needs a few.
MOVING_SECONDS = 60
STOPPED_SECONDS = 20


def environment(data: Path) -> dict[str, str]:
    return dict(os.environ) | {"TAPE_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)}


def test_a_terminal_shows_prices_moving_and_ctrl_c_ends_with_a_summary(tmp_path: Path) -> None:
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [*TAPE, "run", "--simulated"],
        stdout=inside,
        stderr=subprocess.PIPE,
        env=environment(tmp_path) | {"TERM": "xterm", "COLUMNS": "200", "LINES": "50"},
    )
    os.close(inside)
    shown = ""
    deadline = time.monotonic() + MOVING_SECONDS
    while time.monotonic() < deadline and len(set(re.findall(r"8[67]\d{3}\.\d+", shown))) < 5:
        if select.select([terminal], [], [], 0.2)[0]:
            shown += os.read(terminal, 65_536).decode(errors="replace")
    assert len(set(re.findall(r"8[67]\d{3}\.\d+", shown))) >= 5, shown[-2_000:]
    assert "SIMULATED" in shown
    process.send_signal(signal.SIGINT)
    while process.poll() is None or select.select([terminal], [], [], 0)[0]:  # rich waits for who reads
        assert time.monotonic() < deadline + STOPPED_SECONDS
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65_536).decode(errors="replace")
            except OSError:
                break
    process.communicate(timeout=20)
    os.close(terminal)
    assert process.returncode == 0, shown[-3_000:]
    assert re.search(r"binance: [\d,]+ frames, [1-9][\d,]* trades", shown)
    assert (tmp_path / "simulated" / "journal" / "binance-0").is_dir()
    assert not (tmp_path / "live").exists()


def test_a_pipe_gets_lines_and_chosen_symbols_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TAPE, "run", "--simulated", "--seconds", "6", "--symbols", "kraken:ETH-USD"],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment(tmp_path),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    markets = set(re.findall(r"venue=(\w+)  symbol=(\S+)", done.stdout))
    assert markets == {("kraken", "ETH-USD")}
    assert "mode is simulated" in done.stderr


def test_an_unknown_symbol_is_told_with_what_was_meant(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TAPE, "run", "--simulated", "--symbols", "binance:BTC-USTD"],
        capture_output=True,
        text=True,
        timeout=90,
        env=environment(tmp_path),
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean BTC-USDT?" in done.stderr
    assert "Traceback" not in done.stderr


def test_killed_and_started_again_it_resumes_where_it_was(tmp_path: Path) -> None:
    def run_until(words: str) -> "tuple[subprocess.Popen[str], str]":
        process = subprocess.Popen(
            [*TAPE, "run", "--simulated"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(tmp_path),
            text=True,
        )
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if words in line:
                return process, said
        raise AssertionError(said)

    first, _ = run_until("connected")
    time.sleep(7)  # longer than an epoch, so that there is a snapshot to resume from
    first.kill()
    first.communicate(timeout=STOPPED_SECONDS)
    second, said = run_until("resumed at")
    second.terminate()
    _, rest = second.communicate(timeout=STOPPED_SECONDS)
    assert second.returncode == 0, said + rest


def test_the_configuration_of_where_it_was_started_is_in_force(tmp_path: Path) -> None:
    lines = [
        "[venues.kraken]",
        "shards = 2",
        "[venues.binance]",
        "enabled = false",
        "[log]",
        'level = "error"',
    ]
    (tmp_path / "tape.toml").write_text("\n".join(lines))
    done = subprocess.run(
        [*TAPE, "run", "--simulated", "--seconds", "6"],
        capture_output=True,
        text=True,
        timeout=90,
        env={name: value for name, value in environment(tmp_path).items() if name != "TAPE_DATA_DIR"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    journals = {path.name for path in (tmp_path / "data" / "simulated" / "journal").iterdir()}
    assert journals == {"kraken-0", "kraken-1", "coinbase-0"}
    assert "connected" not in done.stderr


def test_two_runs_of_the_simulator_never_contradict_each_other(tmp_path: Path) -> None:
    said = ""
    for _ in range(2):
        done = subprocess.run(
            [*TAPE, "run", "--simulated", "--seconds", "8", "--symbols", "binance:BTC-USDT"],
            capture_output=True,
            text=True,
            timeout=90,
            env=environment(tmp_path),
            check=False,
        )
        said = done.stderr
        assert done.returncode == 0, said
    assert re.search(r"binance: [\d,]+ frames, [1-9][\d,]* trades, 0 duplicates, 0 dead letters", said), said
