"""What is said while running: a line each on stderr, for people on a terminal, else JSON; never a secret.

Say `get_logger().info("what happened", venue=…, connection=…)`: the first word is the event, so nothing else
may be called `event`.
"""

import os
import re
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from io import UnsupportedOperation
from typing import Any, TextIO, cast

import structlog
from structlog.typing import Processor

from connectors.text import visible

get_logger = structlog.get_logger

SECRET_NAME = re.compile(r"secret|password|passphrase|token|credential|authorization|api_?key", re.IGNORECASE)
SECRET_IN_TEXT = re.compile(
    r"(?P<before>://)[^/\s:@]*:[^/\s@]+(?=@)"  # a user and password in a URL
    r"|(?P<named>(?:secret|password|passphrase|token|api_?key|authorization)[\"']?\s*[=:]\s*)[\"']?"
    r"(?:bearer\s+|basic\s+)?[^\s\"'&,}]+",
    re.IGNORECASE,
)
MASK = "***"

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def start(level: str, stream: TextIO | None = None) -> None:
    """Send the log of this process to a stream (stderr) from here on."""
    stream = stream or own(sys.stderr)
    readable = stream.isatty()
    stream = cast("TextIO", Forgiving(stream))
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if readable else "iso", utc=True),
        structlog.processors.format_exc_info,
        mask_secrets,
        write_out_controls,
        structlog.dev.ConsoleRenderer(colors=colored(), pad_event_to=0)
        if readable
        else structlog.processors.JSONRenderer(default=str),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )


class Forgiving:
    """A stream that loses what cannot be written: a full disk, or a reader that is gone, ends nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the second is what a closed stream says
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def own(stream: TextIO) -> TextIO:
    """The same on a descriptor of ours: the engine's words are kept away from the usual one."""
    try:
        place = os.dup(stream.fileno())
    except UnsupportedOperation:
        return stream  # of a test, in memory
    return os.fdopen(place, "w", buffering=1, encoding=stream.encoding, errors="backslashreplace")


def colored() -> bool:
    """Whether a terminal may be given colours (https://no-color.org)."""
    return not os.environ.get("NO_COLOR")


def mask_secrets(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what is called a secret, and what looks like one inside a text."""
    for name, value in line.items():
        line[name] = MASK if SECRET_NAME.search(name) and value is not None else masked(value)
    return line


def masked(value: Any) -> Any:
    """The value with secrets inside it replaced."""
    if isinstance(value, dict):
        return {name: MASK if SECRET_NAME.search(str(name)) else masked(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [masked(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return SECRET_IN_TEXT.sub(lambda found: (found["before"] or found["named"]) + MASK, str(value))


def write_out_controls(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show control characters, so that no venue can forge a line; only our own tracebacks may have lines."""
    for name, value in line.items():
        if isinstance(value, str) and name != "exception":
            line[name] = visible(value)
    return line
