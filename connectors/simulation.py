"""Runs the simulator as a process of its own, so that it shares neither memory nor fate with capture."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Timer

from connectors.errors import TapeError
from connectors.venues.protocol import Venue

# It listens after importing its libraries; a machine that needs longer is not going to work.
START_SECONDS = 30
STOP_SECONDS = 5


@contextmanager
def simulated(venues: Sequence[Venue], *, seed: int, rate: float, faults: str = "") -> Iterator[list[Venue]]:
    """The same venues at the addresses of a simulator that runs as long as the context."""
    command = [sys.executable, "-m", "operate", "simulate", "--attached"]
    command += ["--seed", str(seed), "--rate", str(rate)]
    if faults:
        command += ["--faults", faults]
    # `-m operate` needs the repository's root, wherever we were started.
    root = Path(__file__).resolve().parent.parent
    # Its input ends when we do, however that is. A Ctrl-C is ours alone, or capture saw its venues die first.
    process = subprocess.Popen(  # noqa: S603  # our own words
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=root,
        text=True,
        start_new_session=True,
    )
    try:
        places = addresses(process)
        yield [
            replace(
                venue,
                websocket_urls=(places[venue.name]["websocket"],),
                rest_urls=(places[venue.name]["rest"],),
            )
            for venue in venues
        ]
    finally:
        stop(process)


def addresses(process: "subprocess.Popen[str]") -> dict[str, dict[str, str]]:
    """Where the simulator listens, as its first line says."""
    assert process.stdout is not None
    late = Timer(START_SECONDS, process.kill)
    late.start()
    try:
        line = process.stdout.readline()
    finally:
        late.cancel()
    if not line:
        raise TapeError("the simulator did not start", hint="`tape simulate` shows why")
    found: dict[str, dict[str, str]] = json.loads(line)
    return found


def stop(process: "subprocess.Popen[str]") -> None:
    """End the process, gently first."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.stdout.close()
