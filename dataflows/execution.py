"""The engine's run of a flow as a call: it returns when all sources have ended, else it raises in our words.

What the engine itself has to say is for its developers: in one process a panic's text on file descriptor 2,
in a cluster a traceback or nothing at all. So what went wrong is found out from what we know.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from connectors.callbacks import failures
from connectors.disk import disk_error
from connectors.errors import EXIT_FAILED, TapeError, explain
from dataflows.recovery import EPOCH_SECONDS, Command, RecoveryError, refuse_damaged

# How the engine says that its disk is full, where it says anything.
DISK_FULL = "DiskFull"
# What a pipe holds; a panic with its backtrace is a third of it.
WORDS_BYTES = 65_536


class FlowError(TapeError):
    """The flow has ended, which it never should but when asked to."""

    exit_code = EXIT_FAILED

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message, hint=hint)


class PeerLost(FlowError):
    """Another process of the cluster is gone, and with it every engine: ours has not failed."""


def execute(flow: Dataflow, told: Command, recovery: Path) -> None:
    """Run the flow until its sources end; FlowError where something else ended it."""
    backups = timedelta(seconds=told.backup_seconds)
    reading, writing = os.pipe()
    before, sys.excepthook = sys.excepthook, unheard
    try:
        with aside(writing):
            cli_main(  # type: ignore[no-untyped-call]
                flow,
                workers_per_process=told.workers_per_process,
                process_id=told.process if told.addresses else None,
                addresses=list(told.addresses) or None,
                epoch_interval=timedelta(seconds=told.epoch_seconds or EPOCH_SECONDS),
                recovery_config=RecoveryConfig(recovery, backups),  # type: ignore[no-untyped-call]
            )
    except BaseException as error:  # the engine's panics are no Exceptions
        if isinstance(error.__cause__, KeyboardInterrupt):  # of a flow that does not listen for it itself
            raise error.__cause__ from None
        logger: Any = structlog.get_logger()
        words = os.read(reading, WORDS_BYTES).decode(errors="replace")
        logger.debug("the engine has ended", exc_info=error, words=words)
        raise reason(error, told, recovery) from error
    finally:
        os.close(reading)
    sys.excepthook = before


def unheard(*_: object) -> None:
    """Takes what the engine's threads say of an exception, at any time until the process is gone."""


@contextmanager
def aside(words: int) -> Iterator[None]:
    """Lead what others than Python write to file descriptor 2 into a pipe; what Python writes comes out."""
    os.set_blocking(words, False)  # a pipe that is full must not stop the engine
    sys.stderr.flush()
    before, place = sys.stderr, os.dup(2)
    sys.stderr = os.fdopen(place, "w", buffering=1, errors="backslashreplace")
    os.dup2(words, 2)
    os.close(words)
    try:
        yield
    finally:
        os.dup2(place, 2)
        sys.stderr.close()
        sys.stderr = before


def reason(error: BaseException, told: Command, recovery: Path) -> TapeError:
    """Why the engine ended: what a callback of ours raised, else its files, else what it says."""
    if failures:
        return FlowError(*said_of(failures[0]))
    try:
        refuse_damaged(recovery)
    except RecoveryError as found:
        return found
    if DISK_FULL in str(error):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        named = disk_error("write", recovery, RecoveryError, full)
        assert isinstance(named, RecoveryError)
        return named
    if told.processes > 1:
        return PeerLost(
            "the flow has ended with another process of its cluster",
            "the last lines of the others say why; nothing is lost: start all of them again",
        )
    return FlowError(
        f"the engine has failed: {error}",
        "nothing is lost: start again; log.level = debug shows all that it says",
    )


def said_of(failure: Exception) -> tuple[str, str]:
    """What to tell of an exception of a callback; an outage of the lake is one only when we are to end."""
    from connectors.catalog import is_outage  # noqa: PLC0415  # heavy, and needed only now
    from connectors.servers import words  # noqa: PLC0415

    if isinstance(failure, TapeError) or not is_outage(failure):
        return explain(failure)
    return f"ended while the lake could not be written: {words(failure)}", "nothing is lost: start again"
