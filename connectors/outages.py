"""How somebody else is waited for, while a process begins and in an outage, which is said when it begins and
when it is over.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

# How long an outage is left alone between two attempts.
SECONDS_FIRST, SECONDS_MAX = 0.2, 10.0
# How late we may see that the process is to end.
STOP_SECONDS = 0.5
# A process that is to end may still be beginning: well within the time that it has.
BEGIN_SECONDS = 4.0

T = TypeVar("T")


def outlast(
    doing: str, attempt: Callable[[], T], *, waits: Callable[[Exception], bool], until: Event, logger: Any
) -> T:
    """Try until it works or nobody wants it; what no waiting will change is raised."""
    pause, began = SECONDS_FIRST, 0.0
    while True:
        try:
            result = attempt()
        except Exception as error:
            if not waits(error) or until.is_set():
                raise
            if not began:
                began = time.monotonic()
                logger.warning(f"cannot {doing}, trying again", problem=str(error))
            until.wait(pause)
            pause = min(2 * pause, SECONDS_MAX)
        else:
            if began:
                logger.info(f"can {doing} again", seconds=round(time.monotonic() - began, 1))
            return result


def has_begun(
    begun: Event, *, wait: bool, check: Callable[[], None], stop: Event, otherwise: Exception
) -> bool:
    """Whether it has; what ended it is raised by `check`, and `otherwise` where the process ends before."""
    stopping = 0.0
    while not begun.wait(STOP_SECONDS if wait else 0):
        check()
        if not wait:
            return False
        stopping += STOP_SECONDS * stop.is_set()
        if stopping > BEGIN_SECONDS:
            raise otherwise
    return True
