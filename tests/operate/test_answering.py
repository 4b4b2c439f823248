"""`tape run` with its API: one address, which survives the API's death, and nothing is left when it stops."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from connectors.errors import EXIT_COULD_NOT
from connectors.settings import ApiSettings, Settings
from operate import answering
from operate.answering import Answering
from operate.cli import Session

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        yield somebody.getsockname()[1]


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz", timeout=30).status_code == 200
    except httpx2.HTTPError:
        return False


def children_of(process: int) -> dict[str, int]:
    """The processes that one has started, by their verb."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_text().split("\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == process:
            found |= {verb: int(entry.name) for verb in ("serve", "run") if verb in words}
    return found


@pytest.mark.long
def test_one_address_survives_the_death_of_the_api_and_all_is_gone_at_the_end(
    tmp_path: Path, taken: int
) -> None:
    said = tmp_path / "said"
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", "run", "--simulated"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=tmp_path,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "TAPE_API__PORT": str(taken), "TAPE_API__METRICS_PORT": "0"}
            | {"TAPE_METRICS__PORT": "0"},
        )
    try:
        until(lambda: re.search(r"page and API: (\S+)", said.read_text()))
        assert f"port {taken} is taken" in said.read_text()
        address = re.findall(r"page and API: (\S+)", said.read_text())[0]
        until(lambda: ready(address))
        assert httpx2.get(f"{address}/v1/trades?limit=5", timeout=30).json()["simulated"] is True
        before = children_of(process.pid)
        assert before.keys() == {"serve", "run"}
        os.kill(before["serve"], signal.SIGKILL)
        until(lambda: "the API has ended by itself (-9); it starts again" in said.read_text())
        until(lambda: ready(address))
        after = children_of(process.pid)
        assert after["serve"] != before["serve"]
        assert after["run"] == before["run"]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in said.read_text()
    assert not ready(address)
    assert not any(Path(f"/proc/{number}").exists() for number in after.values())


def test_an_api_that_cannot_be_is_told_once_and_the_flow_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(answering, "AGAIN_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    said: list[str] = []
    api = Answering(["operate", "serve", "--host", "0.0.0.0"], "simulated", said.append)
    api.start()
    until(lambda: (api.look(), any("the flow goes on without it" in line for line in said))[1])
    assert any("there are no keys" in line for line in said)
    api.look()
    assert api.stop() == 0
    assert EXIT_COULD_NOT == 2


def test_who_wants_no_api_gets_none() -> None:
    settings = Settings(api=ApiSettings(serve=False))
    with answering.answering(Session(), settings, "simulated", print) as api:
        assert api is None
