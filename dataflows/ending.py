"""How a process of the flow ends: asked to, it stops capture, then its sources, and is gone within the limit.

Signals are read from a pipe in a thread of their own: the engine may be waiting for a peer, where no Python
runs. None ever becomes an exception: in a cluster that would leave all processes hanging.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

# From the first signal on; what orchestrators grant by default is longer.
GRACE_SECONDS = 9.0

EXIT_TOO_LATE = 1


class Ending:
    """The ways out of this process, all through here."""

    def __init__(
        self,
        *,
        asked: threading.Event,
        stop: threading.Event,
        begun: threading.Event,
        release: Callable[[], None],
        complete: Callable[[], None],
        logger: Any,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._asked = asked  # makes the sources wait: capture needs all there is of Python to end in time
        self._stop = stop  # makes the sources end
        self._begun = begun  # the engine calls our partitions; before that it cannot be told to end
        self._release = release  # ends capture and all that was started for it; safe to repeat
        self._complete = complete  # when the engine has returned, and not by an exception
        self._logger = logger
        self._grace_seconds = grace_seconds

    def listen(self) -> None:
        """Take over SIGTERM and SIGINT; for the main thread."""
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        signal.set_wakeup_fd(writing.fileno())
        self._pipe = reading, writing  # kept open as long as we live
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def returned(self) -> None:
        """The engine is done: what it leaves is complete."""
        self._release()
        self._complete()

    def failed(self) -> None:
        """The engine or we have failed: the journals are closed in order, nothing is completed."""
        self._release()

    def is_wanted(self) -> bool:
        """Whether what has begun should go on: nobody has asked for its end."""
        return self._begun.is_set() and not self._asked.is_set()

    def _watch(self) -> None:
        """The first signal asks, the second does not."""
        asked = False
        for number in iter(lambda: self._pipe[0].recv(1)[0], None):
            if number not in (signal.SIGTERM, signal.SIGINT):
                continue
            if asked:
                os._exit(128 + number)
            asked = True
            threading.Thread(target=self._end, name="ending at once", daemon=True).start()

    def _end(self) -> None:
        """Stop what comes in, then what goes through; both within the limit."""
        limit = threading.Timer(self._grace_seconds, self._too_late)
        limit.daemon = True
        limit.start()
        self._asked.set()
        self._logger.info("stopping")
        self._release()
        self._stop.set()
        if not self._begun.is_set():
            self._logger.info("stopped before the flow began")
            os._exit(0)

    def _too_late(self) -> None:
        """Another process of the cluster goes on, or something hangs: end as a crash would, which is safe."""
        self._logger.error("not stopped in time, ending now", seconds=self._grace_seconds)
        os._exit(EXIT_TOO_LATE)


def again() -> NoReturn:
    """Begin this process anew, with its own command: no process has two engines."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  # our own command


def gone(code: int = 0) -> NoReturn:
    """End the process when all is done: to give back a large state piece by piece takes Python seconds."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
