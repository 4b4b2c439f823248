"""Runs the simulator as a process of its own, so that it shares neither memory nor fate with capture."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from subprocess import Popen
from threading import Timer

import structlog

from connectors.children import start_child, stop_child
from connectors.errors import TapeError
from connectors.venues.protocol import Venue

# It listens after importing its libraries; a machine that needs longer is not going to work.
START_SECONDS = 30
STOP_SECONDS = 5
# More ids than a step forward may have without being a new series, for each second between two starts.
IDS_A_SECOND = 2_000_000


@contextmanager
def simulated(venues: Sequence[Venue], *, seed: int, rate: float, faults: str = "") -> Iterator[list[Venue]]:
    """The same venues at the addresses of a simulator that runs as long as the context.

    Its ids begin so far beyond those of an earlier one that they are a new series, as after a venue's
    restart: another market with the same ids would contradict what is stored. A venue that the simulator
    does not speak is left out.
    """
    ids_from = int(time.time()) * IDS_A_SECOND
    command = ["operate", "simulate", "--attached", "--seed", str(seed), "--rate", str(rate)]
    command += ["--ids-from", str(ids_from)]
    if faults:
        command += ["--faults", faults]
    process = start_child(command)
    try:
        places = addresses(process)
        for venue in venues:
            if venue.name not in places:
                structlog.get_logger().warning("left out: the simulator does not speak it", venue=venue.name)
        yield [
            replace(
                venue,
                websocket_urls=(places[venue.name]["websocket"],),
                rest_urls=(places[venue.name]["rest"],),
            )
            for venue in venues
            if venue.name in places
        ]
    finally:
        stop_child(process, STOP_SECONDS)


def addresses(process: "Popen[str]") -> dict[str, dict[str, str]]:
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
