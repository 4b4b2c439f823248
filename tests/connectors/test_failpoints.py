"""A place strikes where and when it was told to, and costs nothing where it was not."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from connectors import failpoints
from connectors.failpoints import Failed, failpoint, parse
from dataflows.chain import Chain

ROOT = Path(__file__).parent.parent.parent
# What the call of a function that does nothing costs several times over; measured: 28 ns.
OFF_SECONDS_MAX = 1e-6


@pytest.mark.parametrize(
    "text", ["nowhere:kill", "sink.write:explode", "sink.write", "sink.write:kill:1:2:3"]
)
def test_what_is_not_a_place_or_an_action_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TAPE_FAILPOINTS"):
        parse(text)


def test_it_strikes_on_the_chosen_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_armed", parse("sink.write:error:3,sink.publish:sleep:1:0.05"))

    failpoint("sink.write")
    failpoint("sink.write")
    with pytest.raises(Failed, match=r"sink\.write"):
        failpoint("sink.write")
    failpoint("sink.write")
    began = monotonic()
    failpoint("sink.publish")
    assert monotonic() - began >= 0.05


def test_it_kills_as_the_environment_says() -> None:
    code = (
        "from connectors.failpoints import failpoint\n"
        "for _ in range(3):\n print(1, flush=True)\n failpoint('sink.write')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        env={**os.environ, "TAPE_FAILPOINTS": "sink.write:kill:2"},
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "1\n1\n")


def test_every_name_is_a_place() -> None:
    steps = {f"{step}.{where}" for step in Chain._fields for where in ("batch", "snapshot")}
    folders = ("connectors", "dataflows", "operate", "tests/campaigns")
    texts = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    missing = {name for name in failpoints.NAMES if not any(f'failpoint("{name}")' in text for text in texts)}
    assert missing == steps
