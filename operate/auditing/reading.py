"""Reads what an audit judges: tokens and commits, the id columns of the data files, and the journals.

The tables are loaded in the reverse of the order in which they are committed, and the journals last: so
nothing that is running can make a table look ahead of what it rests on. Nothing is written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, ManifestEntry, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation, Snapshot, ancestors_of
from pyiceberg.types import LongType
from sqlalchemy import select
from sqlalchemy.orm import Session

from connectors import slots
from connectors.catalog import LakeError
from connectors.closing import left
from connectors.positions import expected_position, path_of
from connectors.segments import JournalError, lost, removed, segment_paths
from connectors.tokens import Token, decoded, rolled_back, tokens_of
from operate.auditing.collecting import POSITION, SHARD
from operate.auditing.damage import GONE, noted
from operate.auditing.facts import ORDER, Commit, Facts, JournalFacts, Start, TableFacts, cut
from operate.auditing.findings import Offences
from operate.auditing.runs import Range
from operate.journal import findings
from schemas import Frame, Gap
from schemas.iceberg import TABLES
from schemas.shards import exchange_of

# Below the store's directory.
JOURNALS = "journal"
# Rows that are in memory at a time: of id columns some 50 MB.
BATCH_ROWS = 500_000


class Changed(Exception):
    """A file that we were to read has left its table meanwhile."""


class File(NamedTuple):
    """A data file as its table describes it."""

    path: str
    rows: int
    bytes: int
    exchange: str
    day: int  # since 1970
    lower: int | None  # positions of its rows, where the table says
    upper: int | None


@dataclass
class Opened:
    """A table as of one moment."""

    record_type: type[Struct]
    table: Table
    files: list[File]
    broken: dict[str, str] = field(default_factory=dict)  # what is wrong with a file


@dataclass
class Asked:
    """What somebody wants to be looked at."""

    wanted: Callable[[str], bool]  # of a shard
    since: int = 0  # microseconds
    limited: bool = False  # to some shards: what belongs to none of them is not judged


def opened(catalog: Catalog) -> dict[type[Struct], Opened | None]:
    """All tables that there are, the last of the order first."""
    found = {each: loaded(catalog, each) for each in reversed(ORDER)}
    if not any(found.values()):
        raise LakeError("there is no table to audit", hint="`tape run` makes them")
    # One that was only being made when we looked is there by now.
    for record_type in [each for each in found if found[each] is None]:
        if catalog.table_exists(TABLES[record_type].name):
            raise Changed(TABLES[record_type].name)
    return found


def loaded(catalog: Catalog, record_type: type[Struct]) -> Opened | None:
    """A table and what its manifests list; a manifest that cannot be read is noted."""
    name = TABLES[record_type].name
    path, metadata = "its metadata", dict[str, str]()
    with noted(metadata, name):
        path = metadata_file(catalog, name) or path
        try:
            table = catalog.load_table(name)
        except NoSuchTableError:
            return None
        snapshot = table.current_snapshot()
        path = snapshot.manifest_list if snapshot else path
        manifests = snapshot.manifests(table.io) if snapshot else []
        found = Opened(record_type, table, [])
        found.files += files(record_type, table, manifests, found.broken)
        refuse_changed(table, found.broken)
        return found
    if metadata[name] == GONE:
        raise Changed(f"{name}: {path} {GONE}")
    raise LakeError(f"{name} cannot be opened: {path}: {metadata[name]}", hint="restore the file from a copy")


def metadata_file(catalog: Catalog, name: str) -> str | None:
    """Where a SQL catalog says that a table's metadata is; others read it themselves."""
    if not isinstance(catalog, SqlCatalog):
        return None
    namespace, _, table = name.rpartition(".")
    with Session(catalog.engine) as session:
        wanted = select(IcebergTables.metadata_location).where(
            IcebergTables.catalog_name == catalog.name,
            IcebergTables.table_namespace == namespace,
            IcebergTables.table_name == table,
        )
        return session.scalar(wanted)


def refuse_changed(table: Table, broken: Mapping[str, str]) -> None:
    """Begin again where a file of the metadata may be gone because the table has changed meanwhile."""
    if GONE in broken.values():
        still = table.catalog.load_table(table.name())
        if still.metadata_location != table.metadata_location:
            raise Changed(".".join(table.name()))


def files(
    record_type: type[Struct], table: Table, manifests: Iterable[ManifestFile], broken: dict[str, str]
) -> Iterator[File]:
    """The data files in some manifests."""
    field = table.schema().find_field(TABLES[record_type].position).field_id
    for entry in entries(table, manifests, broken, discard_deleted=True):
        file = entry.data_file
        if file.content is not DataFileContent.DATA:
            raise LakeError(
                f"{TABLES[record_type].name} has delete files, which nothing of ours writes",
                hint="compact it with the engine that wrote them",
            )
        lower, upper = (bound(which, field) for which in (file.lower_bounds, file.upper_bounds))
        day, exchange = place_of(file)
        yield File(file.file_path, file.record_count, file.file_size_in_bytes, exchange, day, lower, upper)


def entries(
    table: Table, manifests: Iterable[ManifestFile], broken: dict[str, str], *, discard_deleted: bool
) -> Iterator[ManifestEntry]:
    """What some manifests list; one that cannot be read is noted."""
    for manifest in manifests:
        listed: list[ManifestEntry] = []
        with noted(broken, manifest.manifest_path):
            listed = manifest.fetch_manifest_entry(table.io, discard_deleted=discard_deleted)
        yield from listed


def place_of(file: DataFile) -> tuple[int, str]:
    """The partition of a file."""
    day, exchange = file.partition[0], file.partition[1]
    return int(day or 0), str(exchange)


def bound(bounds: Any, field: int) -> int | None:
    """One bound of an integer column."""
    found = (bounds or {}).get(field)
    return None if found is None else int(from_bytes(LongType(), found))


def read(catalog: Catalog, directory: Path, asked: Asked) -> tuple[Facts, dict[type[Struct], Opened | None]]:
    """All facts of one moment."""
    closings = left(directory)
    cut_off = trimmed(directory, asked.wanted)
    tables = opened(catalog)
    facts = Facts(
        {each: described(each, tables[each], asked) for each in ORDER}, {}, {}, limited=asked.limited
    )
    facts.closings = closings
    store = slots.read(directory)
    facts.store_id = store.store_id if store else None
    if asked.since:
        facts.starts = starts(facts.table(Frame), asked.since)
    for record_type in ORDER:
        found = tables[record_type]
        if found is not None:
            take_rows(catalog, found, facts)
    for shard in sorted({*facts.shards(), *cut_off}):
        facts.journals[shard] = journal(directory, shard, cut_off.get(shard, []))
    return facts, tables


def described(record_type: type[Struct], found: Opened | None, asked: Asked) -> TableFacts:
    """What tokens, commits and manifests say."""
    name = TABLES[record_type].name
    if found is None:
        return TableFacts(name, exists=False)
    table = found.table
    tokens = only(tokens_of(table), asked.wanted)
    facts = TableFacts(name, tokens=tokens, files=len(found.files), broken=found.broken)
    facts.commits = [
        commit(each, asked.wanted) for each in ancestors_of(table.current_snapshot(), table.metadata)
    ]
    facts.commits.reverse()
    facts.rolled_back = rolled_back(table, tokens)
    seen: set[str] = set()
    for file in found.files:
        if file.path in seen:
            facts.twice.add(file.path)
        seen.add(file.path)
    return facts


def only(tokens: dict[str, Token], wanted: Callable[[str], bool]) -> dict[str, Token]:
    """The tokens of the shards that were asked for."""
    return {shard: token for shard, token in tokens.items() if wanted(shard)}


def commit(snapshot: Snapshot, wanted: Callable[[str], bool]) -> Commit:
    """What a snapshot says of itself."""
    summary = snapshot.summary
    said = summary.additional_properties if summary else {}
    operation = summary.operation.value if summary else ""
    every = decoded(said)
    found = only(every, wanted)
    added = int(said.get("added-records", 0))
    if operation == Operation.REPLACE.value:
        added -= int(said.get("deleted-records", 0))  # the same rows, in other files
    shared = len(found) < len(every)
    return Commit(snapshot.snapshot_id, snapshot.timestamp_ms * 1_000, operation, found, added, shared)


def starts(bronze: TableFacts, since: int) -> dict[str, Start]:
    """How far each shard was at a time, as far as bronze still knows."""
    found: dict[str, Start] = {}
    for each in bronze.commits:
        if each.time <= since:
            found |= {shard: Start(token.position, token.counts) for shard, token in each.tokens.items()}
    return found


def take_rows(catalog: Catalog, found: Opened, facts: Facts) -> None:
    """Read the columns that are needed of every file that may hold rows which count."""
    record_type = found.record_type
    table, collector = facts.table(record_type), facts.rows.of(record_type)
    whole = record_type is Gap  # how one ended is told by rows that may be far from each other
    floor = 0 if whole else min((facts.start(shard).position for shard in table.tokens), default=0)
    exchanges = {exchange_of(shard) for shard in table.tokens}
    strangers: dict[str, Offences] = {}
    for file in found.files:
        foreign = file.exchange not in exchanges
        if (foreign and facts.limited) or (file.upper is not None and file.upper <= floor):
            continue
        for rows in columns_of(catalog, found, file, collector.columns):
            for shard, part in by_shard(rows):
                token = table.tokens.get(shard)
                if token is None:
                    if not facts.limited:
                        strangers.setdefault(f"{shard}: {file.path}", Offences()).add("", part.num_rows)
                    continue
                start, end = facts.start(shard).position, cut(facts.tables, shard).position
                beyond = between(part, token.position, None).num_rows
                if beyond:
                    table.strangers.add(f"{shard} above {token.position}: {file.path}", beyond)
                counted = between(part, start, token.position)
                compared = counted if record_type is Frame else between(counted, start, end)
                table.rows[shard] += counted.num_rows
                table.rows_at_cut[shard] += compared.num_rows
                taken = between(part, 0, min(end, token.position)) if whole else compared
                if taken.num_rows:
                    collector.take(shard, taken)
    for name, offences in strangers.items():
        table.strangers.add(name, offences.count)


def columns_of(catalog: Catalog, found: Opened, file: File, names: Sequence[str]) -> Iterator[pa.Table]:
    """Shard, position and these columns of a file, some rows at a time; what is wrong with it is noted."""
    column = TABLES[found.record_type].position
    wanted = list(dict.fromkeys([SHARD, column, *names]))
    for rows in batches(catalog, found, file, wanted):
        yield rows.rename_columns([POSITION if name == column else name for name in wanted])


def batches(catalog: Catalog, found: Opened, file: File, names: Sequence[str]) -> Iterator[pa.Table]:
    """Columns of a file; one that is not whole is noted as broken, and one that is gone for good too."""
    source, broken = found.table.io.new_input(file.path), found.broken
    with noted(broken, file.path):
        if len(source) != file.bytes:
            broken[file.path] = f"{len(source):,} bytes instead of {file.bytes:,}"
            return
        with source.open() as stream, pq.ParquetFile(stream) as parquet:
            if parquet.metadata.num_rows != file.rows:
                broken[file.path] = f"{parquet.metadata.num_rows:,} rows instead of {file.rows:,}"
            if others := renumbered(found.table, parquet.schema_arrow):
                broken[file.path] = (
                    f"{', '.join(others)}: the table has another column of that name, read as null"
                )
            present = set(parquet.schema_arrow.names)
            later = {
                name: schema_to_pyarrow(found.table.schema().find_type(name))
                for name in names
                if name not in present
            }
            for batch in parquet.iter_batches(
                BATCH_ROWS, columns=[name for name in names if name in present]
            ):
                batch.validate(full=True)  # of what is no text our caller would hear only later
                empty = {name: pa.nulls(batch.num_rows, kind) for name, kind in later.items()}
                columns = [empty[name] if name in empty else batch.column(name) for name in names]
                yield pa.table(columns, names=list(names))
    if broken.get(file.path) == GONE:
        still = loaded(catalog, found.record_type)
        if still is None or file.path not in {each.path for each in still.files}:
            raise Changed(file.path)


def renumbered(table: Table, present: pa.Schema) -> list[str]:
    """The columns that a file has under another number than its table: readers go by numbers, we by names."""
    numbers = {column.name: str(column.field_id).encode() for column in table.schema().fields}
    return [
        column.name
        for column in present
        if column.name in numbers
        and (column.metadata or {}).get(b"PARQUET:field_id", numbers[column.name]) != numbers[column.name]
    ]


def by_shard(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each shard."""
    shards = pc.unique(rows.column(SHARD)).to_pylist()
    for shard in shards:
        yield shard, rows if len(shards) == 1 else rows.filter(pc.equal(rows.column(SHARD), shard))


def between(rows: pa.Table, above: int, upto: int | None) -> pa.Table:
    """The rows of positions above..upto; nearly always all or none."""
    bounds = pc.min_max(rows.column(POSITION)).as_py()
    if not rows.num_rows or bounds["max"] <= above or (upto is not None and bounds["min"] > upto):
        return rows.slice(0, 0)
    if bounds["min"] <= above:
        rows = rows.filter(pc.greater(rows.column(POSITION), above))
    if upto is not None and bounds["max"] > upto:
        rows = rows.filter(pc.less_equal(rows.column(POSITION), upto))
    return rows


def trimmed(directory: Path, wanted: Callable[[str], bool]) -> dict[str, list[Range]]:
    """What each journal has removed: only what a table had by then, so every table that is loaded later."""
    folders = sorted((directory / JOURNALS).glob("*/"))
    return {
        each.name: [(one.first, one.last) for one in removed(each)] for each in folders if wanted(each.name)
    }


def journal(directory: Path, shard: str, trimmed: list[Range]) -> JournalFacts | None:
    """What the journal of a shard says; None where nothing tells that it was ever here."""
    folder = directory / JOURNALS / shard
    here = folder.is_dir()
    if not here and not path_of(directory, shard).exists():
        return None
    problems = []
    try:
        expected = expected_position(directory, shard) or 0
    except JournalError as error:
        expected, problems = 0, [str(error)]
    rows = list(findings(folder)) if here else []
    extents = [(each.first, each.last) for each in lost(folder)]
    ends = [int(str(row["last"])) for row in rows if row["last"] is not None]
    ends += [each.last for each in removed(folder)]
    if not (here and segment_paths(folder)) and (ends or expected):
        problems.append("no segment is there")
    problems += [
        f"{row['verdict']} {row['file'] or ''} {row['first']}-{row['last']} {row['detail']}".strip()
        for row in rows
        if row["verdict"] in ("damaged", "missing")
    ]
    return JournalFacts(max(ends, default=0), extents, problems, trimmed, expected)
