"""What a process counted in its life, left in the store when it has ended well: an audit compares it with the
ledger, for counters are gone with their process.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = "closing"


class Life(Struct, frozen=True):
    """One shard of the process."""

    position: int  # of the last frame that went through
    before: Mapping[str, int]  # what the ledger had counted when the process began


class Closing(Struct, frozen=True):
    """The last words of a process."""

    shards: Mapping[str, Life]
    counted: Mapping[str, Mapping[str, int]]  # by venue: what its metrics said, in the ledger's words


def leave(directory: Path, process: int, closing: Closing) -> None:
    """Replace what the process with that number had left before."""
    path = directory / FOLDER / f"{process}.json"
    path.parent.mkdir(exist_ok=True)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(closing))
    new.replace(path)


def left(directory: Path) -> list[Closing]:
    """The last words of each process that ended well."""
    paths = sorted((directory / FOLDER).glob("*.json"))
    return [msgspec.json.decode(path.read_bytes(), type=Closing) for path in paths]
