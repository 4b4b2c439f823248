"""`tape serve` as a user starts it: one line says where, Ctrl-C ends it with 0, a stranger needs a key."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from operate import cli

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 100


def test_the_first_line_says_where_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT), "TAPE_API__METRICS_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "operate", "serve", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=PATIENCE_SECONDS)
    assert first.startswith("http://127.0.0.1:")
    assert (process.returncode, out, error) == (0, "", "")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_it_refuses_to_listen_to_others_without_keys(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["serve", "--host", host, "--port", "0"]) == 2
    said = capsys.readouterr()
    assert "there are no keys" in said.err
    assert "tape keys add NAME" in said.err
    assert not said.out
