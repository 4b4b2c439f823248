"""What every question comes back with: the rows, and how far they can be trusted."""

import pyarrow as pa
from msgspec import Struct


class Completeness(Struct, frozen=True):
    """How many of the ids that venues gave out are missing; None where nobody can prove it."""

    missing: int | None = None
    expected: int | None = None

    @property
    def share(self) -> float | None:
        """What part of the expected ids is there."""
        if self.missing is None or self.expected is None:
            return None
        return 1 - self.missing / self.expected if self.expected else 1.0


class Answer(Struct, frozen=True):
    """Rows in their order, and what holds for all of them."""

    rows: pa.Table
    simulated: bool
    # Of the table that was asked first. None: nothing was published yet.
    snapshot_id: int | None = None
    # Rows from this time on, in microseconds, may still change or are not published. None: all is settled.
    provisional_from: int | None = None
    completeness: Completeness = Completeness()
