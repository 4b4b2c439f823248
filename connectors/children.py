"""Processes that we start and that must not outlive us, whatever ends us; and another that we become."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

# Where `python -m` finds our packages, wherever we were started.
ROOT = Path(__file__).resolve().parent.parent

# From Linux's <sys/prctl.h>: the signal that a process gets when who started it has died.
PR_SET_PDEATHSIG = 1


def start_child(
    module: Sequence[str],
    *,
    stdout: int = subprocess.PIPE,
    stderr: int | None = None,
    cwd: Path = ROOT,
    **variables: str,
) -> "subprocess.Popen[str]":
    """Run `python -m MODULE…` in that directory, with these variables beside our environment.

    It leads a group of its own, so that Ctrl-C reaches us alone. Where the system can, it dies with us.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return subprocess.Popen(  # noqa: S603  # our own module
        command(module),
        stdin=subprocess.PIPE,  # ends when we end, whatever the system
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=environment(variables),
        text=True,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # before any thread of ours is started
    )


def become(module: Sequence[str], **variables: str) -> NoReturn:
    """Run `python -m MODULE…` in our place, with these variables beside our environment."""
    sys.stdout.flush()
    os.execve(sys.executable, command(module), environment(variables))  # noqa: S606  # our own module


def command(module: Sequence[str]) -> list[str]:
    """How a module of ours is run: the directory is never looked in, it may hold a `schemas` of its own."""
    return [sys.executable, "-P", "-m", *module]


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Our environment with these variables; our packages come first."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, **variables}


def stop_child(process: "subprocess.Popen[str]", seconds: float) -> int:
    """End the process, gently first; its exit code."""
    process.terminate()
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return code
