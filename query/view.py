"""One table at one instant, and its rows as a query: from data files, and from the tail, each row once.

No condition is ever written into a query as text: values are bound.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from msgspec import Struct
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    LessThanOrEqual,
    Or,
    Reference,
)
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from connectors.tokens import tokens_of
from query.database import LOCAL
from query.files import File, Files, Wanted
from schemas.iceberg import TABLES, arrow_schema

START = datetime(1970, 1, 1, tzinfo=UTC)
# What DuckDB takes for a pattern in the name of a file.
PATTERN = set("*?[")


class Part(NamedTuple):
    """Rows of one table, as a query with its values and sources."""

    sql: str
    parameters: dict[str, Any]
    sources: dict[str, Any]


class View(NamedTuple):
    """One table at one instant."""

    record_type: type[Struct]
    table: Table
    snapshot: Snapshot | None
    files: Files
    tail: pa.Table
    cut: Mapping[str, int] | None = None  # by shard: rows that later frames caused are left out

    @property
    def snapshot_id(self) -> int | None:
        """Of what is published."""
        return self.snapshot.snapshot_id if self.snapshot else None

    @property
    def time(self) -> str:
        """The column that says when."""
        return TABLES[self.record_type].time

    @property
    def columns(self) -> list[str]:
        """What this release knows and the table has."""
        present = set(self.table.schema().column_names)
        return [name for name in arrow_schema(self.record_type).names if name in present]

    def provisional_from(self, wanted: Wanted) -> int | None:
        """When the first row happened that is not published."""
        first: int | None = pc.min(self._tail_of(wanted)).as_py()
        return first

    def newest(self, wanted: Wanted) -> int | None:
        """No row is later; nearly always one is as late."""
        found = self.files.bound(self.time, wanted).high, pc.max(self._tail_of(wanted)).as_py()
        return max((time for time in found if time is not None), default=None)

    def oldest(self, wanted: Wanted) -> int | None:
        """No row is earlier; nearly always one is as early."""
        found = self.files.bound(self.time, wanted).low, pc.min(self._tail_of(wanted)).as_py()
        return min((time for time in found if time is not None), default=None)

    def marks(self) -> dict[str, int]:
        """By shard: rows of all frames up to this position are here."""
        found = {shard: token.position for shard, token in tokens_of(self.table).items()}
        position = TABLES[self.record_type].position
        staged = self.tail.group_by("shard").aggregate([(position, "max")]).to_pylist()
        for row in staged:
            found[row["shard"]] = max(found.get(row["shard"], 0), row[f"{position}_max"])
        return found

    def _tail_of(self, wanted: Wanted) -> pa.ChunkedArray:
        """The times of the tail's rows of a venue or symbol."""
        rows = self.tail
        for column in ("exchange", "symbol"):
            if column in wanted and wanted[column].low is not None:
                rows = rows.filter(pc.equal(rows.column(column), wanted[column].low))
        return rows.column(self.time).cast(pa.int64())

    def part(self, *wanted: Wanted, columns: Sequence[str] = ()) -> Part:
        """The rows that are as wanted in one of these ways; `{}` wants all."""
        name = TABLES[self.record_type].name.replace(".", "_")
        chosen = ", ".join(f'"{column}"' for column in columns or self.columns)
        condition, parameters = condition_of(self, name, wanted)
        sources: dict[str, Any] = {}
        queries: list[str] = []
        files = {file.path: file for each in wanted for file in self.files.holding(each)}
        if files:
            source = f"{name}_published"
            if self.files.has_deletes:
                sources[source] = scanned(self, wanted)
            elif is_plain(files):
                parameters[f"{name}_files"] = [path.removeprefix(LOCAL) for path in files]
                # A file from before a column came lacks it.
                grown = ", union_by_name = true" if len(self.table.schemas()) > 1 else ""
                source = f"read_parquet(${name}_files{grown})"
            else:
                sources[source] = dataset(self.table, files)
            queries.append(f"select {chosen} from {source} where {condition}")
        if self.tail.num_rows or not files:
            sources[f"{name}_tail"] = self.tail
            queries.append(f"select {chosen} from {name}_tail where {condition}")
        return Part(" union all ".join(queries), parameters, sources)


def moment(time: int) -> datetime:
    """Microseconds as DuckDB takes them."""
    return START + timedelta(microseconds=time)


def condition_of(view: View, name: str, wanted: Sequence[Wanted]) -> tuple[str, dict[str, Any]]:
    """The conditions on rows as text, and their values."""
    parameters: dict[str, Any] = {}

    def bound(text: str, value: Any) -> str:
        parameters[f"{name}_{len(parameters)}"] = value
        return f"{text} ${name}_{len(parameters) - 1}"

    ways = [
        " and ".join(
            bound(f'"{column}" {sign}', moment(end) if column == view.time else end)
            for column, between in each.items()
            for sign, end in signs(between)
        )
        for each in wanted
    ]
    conditions = [" or ".join(f"({way or 'true'})" for way in ways) or "false"]
    if view.cut is not None:
        position = TABLES[view.record_type].position
        kept = [
            f"({bound('shard =', shard)} and {bound(f'{position} <=', last)})"
            for shard, last in view.cut.items()
        ]
        conditions.append(" or ".join(kept) or "false")
    return " and ".join(f"({each})" for each in conditions), parameters


def signs(between: tuple[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Both ends of what a column may be, as far as they are given."""
    low, high = between
    if low == high and low is not None:
        yield "=", low
        return
    for sign, end in ((">=", low), ("<=", high)):
        if end is not None:
            yield sign, end


def is_plain(files: Mapping[str, File]) -> bool:
    """Whether DuckDB can open them itself."""
    return all(path.startswith((LOCAL, "/")) and not PATTERN & set(path) for path in files)


def dataset(table: Table, files: Mapping[str, File]) -> pyarrow.dataset.Dataset:
    """The files where their store is none that DuckDB can open itself."""
    assert isinstance(table.io, PyArrowFileIO)
    places = [PyArrowFileIO.parse_location(path, table.io.properties) for path in files]
    scheme, netloc, _ = places[0]
    return pyarrow.dataset.dataset(
        [path for _, _, path in places],
        filesystem=table.io.fs_by_scheme(scheme, netloc),
        format="parquet",
        schema=table.schema().as_arrow(),
    )


def scanned(view: View, wanted: Sequence[Wanted]) -> pa.Table:
    """The same rows by PyIceberg, which knows which of them were deleted."""
    ways = [expression(view, each) for each in wanted]
    scan = view.table.scan(
        row_filter=reduce(Or, ways),
        selected_fields=tuple(view.columns),
        snapshot_id=view.snapshot_id,
    )
    return scan.to_arrow()


def expression(view: View, wanted: Wanted) -> BooleanExpression:
    """What is wanted, in Iceberg's words."""
    terms: list[BooleanExpression] = []
    for column, (low, high) in wanted.items():
        ends: list[Any] = [
            moment(end).isoformat() if column == view.time and end else end for end in (low, high)
        ]
        terms += [GreaterThanOrEqual(term=Reference(column), value=ends[0])] if ends[0] is not None else []
        terms += [LessThanOrEqual(term=Reference(column), value=ends[1])] if ends[1] is not None else []
    return reduce(And, terms) if terms else AlwaysTrue()
