"""One piece of maintenance: what a person is shown of it before it is done, and how it is done."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec import Struct

# Iceberg's own floor, and what a commit of 35 ms can carry.
SNAPSHOTS_KEPT = 100


class Policy(Struct, frozen=True):
    """What an operator decided, and the time."""

    now: int
    retention_days: Mapping[str, int] = {}  # by table; one that is not named keeps everything
    reader_seconds: float = 300.0  # how long a reader may take over what it has opened
    tag_days: int = 7  # how long the last snapshot of each day can be read
    orphan_seconds: float = 86_400.0  # ten times the longest that any writer takes, and some


class Job(NamedTuple):
    """What would be done to one table."""

    task: str
    table: str
    what: str
    files: int
    rows: int
    bytes: int
    do: Callable[[], str]  # does it, if it still is to be done, and says what came of it

    def shown(self) -> dict[str, object]:
        """As a row for a person."""
        return {name: getattr(self, name) for name in self._fields[:-1]}
