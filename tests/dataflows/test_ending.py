"""Asked to end, a process ends: in order where it can, within the limit where it cannot."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys, threading, time, structlog
from dataflows.ending import Ending

asked, stop, begun = threading.Event(), threading.Event(), threading.Event()
say = lambda word: print(word, flush=True)
release = lambda: say("released" if asked.is_set() or what in ("returns", "fails") else "too soon")
ending = Ending(asked=asked, stop=stop, begun=begun, release=release, complete=lambda: say("completed"),
                logger=structlog.get_logger(), grace_seconds=0.5)
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
ending.listen()
what = sys.argv[1]
if what != "waits":
    begun.set()
say("ready")
if what == "flows":
    stop.wait(30)
elif what == "fails":
    ending.failed()
    sys.exit(1)
elif what != "returns":
    # A sleep without Python in it, as that of an engine that waits for its peer.
    end = time.monotonic() + 30
    while time.monotonic() < end:
        time.sleep(30)
ending.returned()
"""


def run(what: str, *signals: signal.Signals) -> tuple[int, list[str], str, float]:
    """Exit code, words, complaints, and seconds from the last signal on."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, what],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
    assert process.stderr is not None
    with process.stdout, process.stderr:
        said, complained = process.stdout.read(), process.stderr.read()
    code = process.wait(30)
    return code, said.split(), complained, time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_what_comes_in_then_what_goes_through(number: signal.Signals) -> None:
    code, said, complained, seconds = run("flows", number)

    assert (code, said) == (0, ["released", "released", "completed"])
    assert "KeyboardInterrupt" not in complained
    assert seconds < 5


def test_before_the_flow_has_begun_there_is_nothing_to_wait_for() -> None:
    code, said, _, _ = run("waits", signal.SIGTERM)
    assert (code, said) == (0, ["released"])


def test_what_hangs_is_ended_within_the_limit() -> None:
    code, said, complained, seconds = run("hangs", signal.SIGTERM)

    assert (code, said) == (1, ["released"])
    assert "not stopped in time" in complained
    assert 0.5 <= seconds < 5


def test_the_second_signal_ends_at_once() -> None:
    code, said, _, seconds = run("hangs", signal.SIGTERM, signal.SIGINT)

    assert (code, said) == (128 + signal.SIGINT, ["released"])
    assert seconds < 0.5


def test_after_an_exception_nothing_is_completed() -> None:
    code, said, _, _ = run("fails")

    assert (code, said) == (1, ["released"])


def test_when_the_engine_has_returned_what_it_leaves_is_completed() -> None:
    assert run("returns")[:2] == (0, ["released", "completed"])


def test_a_process_that_is_done_is_gone_with_what_it_said_and_its_code() -> None:
    code = (
        "import sys\n"
        "from dataflows.ending import gone\n"
        "class Slow:\n"
        "    def __del__(self): print('taken apart')\n"
        "kept = Slow()\n"
        "sys.stdout.write('said'); sys.stderr.write('complained')\n"
        "gone(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "said", "complained")
