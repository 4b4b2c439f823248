"""Rows as they land, each once, whatever is published, compacted or started again meanwhile.

What a shard has is told by positions: what later frames caused is new.
"""

from collections.abc import Callable, Iterator

import pyarrow as pa
from msgspec import Struct

from query.files import Between, Scope, Wanted, only
from query.reader import Reader
from query.view import View
from schemas.iceberg import TABLES
from schemas.shards import exchange_of


class Follower:
    """Where a reader of one table is."""

    def __init__(self, reader: Reader, record_type: type[Struct], scope: Scope) -> None:
        self._reader, self._type, self._scope = reader, record_type, scope
        self._position = TABLES[record_type].position
        self.marks = reader.at(record_type).marks()

    def rows(self) -> pa.Table:
        """What has landed since it was asked last, in order of the journals."""
        view = self._reader.at(self._type)
        wanted = list(self._wanted(view))
        part = view.part(*wanted)
        rows = self._reader.ask(f"from ({part.sql}) order by {self._position}, shard", part)
        self.marks |= view.marks()
        return rows

    def _wanted(self, view: View) -> Iterator[Wanted]:
        """What each shard has that was not seen."""
        for shard, mark in view.marks().items():
            exchange, seen = exchange_of(shard), self.marks.get(shard, 0)
            if mark > seen and self._scope.exchange in (None, exchange):
                yield {
                    **self._scope.wanted(view.time),
                    "exchange": only(exchange),
                    "shard": only(shard),
                    self._position: Between(seen + 1),
                }


def follow(
    reader: Reader, record_type: type[Struct], scope: Scope, wait: Callable[[], None]
) -> Iterator[pa.Table]:
    """All rows that land from now on; `wait` is called between two looks, and ends it by raising."""
    follower = Follower(reader, record_type, scope)
    while True:
        rows = follower.rows()
        if rows.num_rows:
            yield rows
        wait()
