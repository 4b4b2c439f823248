"""What is known of a store before anything is judged: what tables, ledger, files and journals say.

Values only. Who reads them is `operate.auditing.reading`; who judges is `operate.auditing.checks`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec import Struct

from connectors.closing import Closing
from connectors.tokens import Token
from operate.auditing.collecting import Collected, collected
from operate.auditing.findings import Offences
from operate.auditing.runs import Range
from schemas import Gap
from schemas.iceberg import TABLES

# In the order in which a process commits: whatever a later table has, all before it have.
ORDER = tuple(TABLES)


class Commit(NamedTuple):
    """One snapshot of a table."""

    snapshot: int
    time: int  # microseconds
    operation: str
    tokens: Mapping[str, Token]
    added: int  # rows
    shared: bool = False  # with shards that nobody asked for, and some of the rows are theirs


class Start(NamedTuple):
    """Where a shard's rows begin to be looked at, and what the ledger had counted by then."""

    position: int
    counts: Mapping[str, int]


@dataclass
class TableFacts:
    """One table."""

    name: str
    exists: bool = True
    tokens: dict[str, Token] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)  # those still known, the oldest first
    rolled_back: str | None = None  # a shard
    files: int = 0
    rows: Counter[str] = field(default_factory=Counter)  # of each shard, up to its token
    rows_at_cut: Counter[str] = field(default_factory=Counter)
    strangers: Offences = field(default_factory=Offences)  # rows that no token speaks of
    twice: Offences = field(default_factory=Offences)  # files
    broken: dict[str, str] = field(default_factory=dict)  # what is wrong with a file


@dataclass
class JournalFacts:
    """What one shard's journal says of itself."""

    last: int  # position of its newest frame
    lost: list[Range]  # what its disk has lost, as recorded
    problems: list[str]  # what is damaged, or missing without a record
    trimmed: list[Range] = field(default_factory=list)  # what had been removed before tables were looked at
    expected: int = 0  # how far it must reach, for a snapshot of the flow was taken there


@dataclass
class Facts:
    """All of it."""

    tables: dict[type[Struct], TableFacts]
    starts: dict[str, Start]  # by shard; nothing where all is looked at
    journals: dict[str, JournalFacts | None]  # by shard; None where it is not on this host
    closings: list[Closing] = field(default_factory=list)
    rows: Collected = field(default_factory=collected)
    orphans: Offences = field(default_factory=Offences)
    store_id: str | None = None  # None where the store has left no word of itself
    limited: bool = False  # to some shards: what belongs to none of them is not judged
    frames_compared: int = 0  # with those that the journal still has

    def broken(self, record_types: Iterable[type[Struct]]) -> list[str]:
        """Those of the tables of which a file is not whole."""
        return [self.table(each).name for each in record_types if self.table(each).broken]

    def table(self, record_type: type[Struct]) -> TableFacts:
        """One table's."""
        return self.tables[record_type]

    def shards(self) -> list[str]:
        """All that have a token."""
        return sorted({shard for table in self.tables.values() for shard in table.tokens})

    def start(self, shard: str) -> Start:
        """Where to begin with a shard."""
        return self.starts.get(shard, BEGINNING)

    def cut(self, shard: str) -> Start:
        """Up to where gaps and all tables before them are complete: what is compared between tables."""
        return cut(self.tables, shard)


BEGINNING = Start(0, {})


def cut(tables: Mapping[type[Struct], TableFacts], shard: str) -> Start:
    """The newest token of gaps and what is committed behind them."""
    found = (tables[each].tokens.get(shard) for each in ORDER[ORDER.index(Gap) :])
    newest = max((token for token in found if token), key=lambda token: token.position, default=None)
    return Start(newest.position, newest.counts) if newest else BEGINNING
