"""Tells a file whose bytes are not what was written from a store that is away. Nothing is read here."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

# What is said of a file that is not there.
GONE = "is not there"

# What readers of Parquet, Avro and JSON raise for bytes that are none: found by damaging each of them.
UNREADABLE = (
    pa.ArrowException,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    MemoryError,
    SystemError,
    struct.error,
    zlib.error,
)


def is_damage(error: BaseException) -> bool:
    """Whether a reader could not make sense of bytes: a disk's errors have a number, S3's its name."""
    if isinstance(error, OSError):
        return type(error) is OSError and error.errno is None and "AWS Error" not in str(error)
    return isinstance(error, UNREADABLE)


@contextmanager
def noted(broken: dict[str, str], path: str) -> Iterator[None]:
    """Remember of a file that it is not there or not whole; an outage says nothing of it."""
    try:
        yield
    except FileNotFoundError:
        broken[path] = GONE
    except (OSError, *UNREADABLE) as error:
        if not is_damage(error):
            raise
        broken.setdefault(path, first_line(error))


def first_line(error: BaseException) -> str:
    """An error in one line."""
    return next(iter(str(error).splitlines()), type(error).__name__)
