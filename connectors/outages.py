"""How an outage of somebody else is waited for: said when it begins and when it is over."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

# How long an outage is left alone between two attempts.
SECONDS_FIRST, SECONDS_MAX = 0.2, 10.0

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
