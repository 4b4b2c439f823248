"""Children: they get what they are told, end when asked, and never outlive us."""

import os
import subprocess
import sys
import time

from connectors.children import ROOT, start_child, stop_child


def gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_child_has_our_environment_and_its_own_variables() -> None:
    child = start_child(
        ["timeit", "-n1", "-r1", "import os; print(os.environ['TAPE_WORD'])"], TAPE_WORD="given"
    )
    said, _ = child.communicate(timeout=20)
    assert said.startswith("given\n")
    assert stop_child(child, 5) == 0


def test_a_child_that_does_not_end_when_asked_is_ended() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = start_child(["timeit", "-n1", "-r1", deaf])
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    assert stop_child(child, 0.2) == -9


def test_a_child_dies_with_us_whatever_ends_us() -> None:
    parent = (
        "from connectors.children import start_child\n"
        "child = start_child(['timeit', '-n1', '-r1', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert not gone(child)
        process.kill()
    deadline = time.monotonic() + 10
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)
