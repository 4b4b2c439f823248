"""A15: bronze goes through today's steps again, and what they make of it is compared with the tables.

Rows are compared as sums of their hashes over some positions at a time, which needs no memory and no order;
only where those differ are the rows looked at. The frames are compared with the journal's on the way.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.journal_reader import JournalReader
from connectors.kept_frames import published
from connectors.segments import JournalError, first_position, segment_paths
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.steps.batch import Batch, batch_of
from operate.auditing.collecting import POSITION
from operate.auditing.facts import ORDER, Facts
from operate.auditing.findings import Finding, Offences, judged, unchecked
from operate.auditing.reading import Opened, batches, between, by_shard
from schemas import Bar, Frame, StaleWindow
from schemas.iceberg import TABLES, arrow_schema, table_columns, to_arrow
from schemas.run import records_of
from schemas.shards import exchange_of

# Frames that go through the steps at a time.
BATCH_FRAMES = 2_000
# Positions whose rows have one sum: of a hundred million frames 100,000 sums for each table.
BUCKET_POSITIONS = 1_000
# Places that differ and whose rows are looked at; the others are counted.
LOOKED_AT_MAX = 5

Bucket = tuple[str, str, int]  # table, shard, position // BUCKET_POSITIONS
MADE = tuple(each for each in ORDER if each is not Frame)


@dataclass
class Sums:
    """Rows by where they come from; or the rows themselves, of the places that are to be looked at."""

    rows: Counter[Bucket] = field(default_factory=Counter)
    hashes: defaultdict[Bucket, int] = field(default_factory=lambda: defaultdict(int))
    wanted: Collection[Bucket] | None = None
    kept: defaultdict[Bucket, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record_type: type[Struct], shard: str, rows: pa.Table) -> None:
        """Rows of one shard, in the columns of this release."""
        name = TABLES[record_type].name
        positions = pc.floor(
            pc.divide(rows.column(TABLES[record_type].position), BUCKET_POSITIONS)
        ).to_pylist()
        for place, row in zip(positions, lines(rows), strict=True):
            bucket = name, shard, int(place)
            if self.wanted is not None:
                if bucket in self.wanted:
                    self.kept[bucket].append(row)
                continue
            self.rows[bucket] += 1
            self.hashes[bucket] += hash(row)


def lines(rows: pa.Table) -> list[bytes]:
    """Each row as bytes that only an equal row has."""
    parts = [as_bytes(column) for column in rows.columns]
    joined = pc.binary_join_element_wise(*parts, b"\x1f", null_handling="replace", null_replacement=b"\x00")
    found: list[bytes] = joined.to_pylist()
    return found


def as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as bytes."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "\x1e")
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.int64()).cast(pa.string())
    elif not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        column = column.cast(pa.string())
    return column.cast(pa.binary())


def replayed(
    catalog: Catalog, directory: Path, facts: Facts, tables: Mapping[type[Struct], Opened | None]
) -> Finding:
    """A15, and what of A1 only bytes can say."""
    bronze = tables[Frame]
    if bronze is None or not facts.table(Frame).tokens:
        return unchecked("A15", "there are no frames")
    cut_short = [shard for shard in facts.table(Frame).tokens if not begins(facts, shard)]
    if cut_short:
        return unchecked("A15", f"bronze of {', '.join(cut_short)} does not reach back to the first frame")
    offences = Offences()
    made, stored = Sums(), Sums()
    make(directory, facts, bronze, made, offences)
    for record_type in MADE:
        gather(catalog, facts, tables[record_type], stored)
    partial = {
        facts.table(each).name
        for each in MADE
        if any(one.removed for one in facts.table(each).tokens.values())
    }
    different = sorted(
        bucket
        for bucket in made.rows.keys() | stored.rows.keys()
        if (made.rows[bucket], made.hashes[bucket]) != (stored.rows[bucket], stored.hashes[bucket])
        and bucket[0] not in partial
    )
    note = f"{facts.frames_compared:,} frames as in the journal"
    note += f"; not {', '.join(sorted(partial))}, of which rows were retired" if partial else ""
    if different:
        look(catalog, directory, facts, tables, different, offences)
    return judged("A15", made.rows.total(), "rows", offences, note)


def begins(facts: Facts, shard: str) -> bool:
    """Whether bronze has a shard's first frame, or never had any."""
    if facts.start(shard).position:
        return True
    ranges = facts.rows.frames.positions.account((shard,)).ranges
    return ranges[0][0] == 1 if ranges else not facts.table(Frame).tokens[shard].removed


def make(directory: Path, facts: Facts, bronze: Opened, sums: Sums, offences: Offences) -> None:
    """Let every frame of bronze through the steps."""
    steps_of = chain(VENUES)
    for shard, token in facts.table(Frame).tokens.items():
        steps = [begin(shard, None) for begin in steps_of]
        frames = compared(directory, facts, published(bronze.table, shard, token.position), shard, offences)
        counts: Counter[str] = Counter()
        cuts = {
            facts.table(each).tokens[shard].position for each in ORDER if shard in facts.table(each).tokens
        }
        for taken in cut_up(frames, cuts):
            batch: Batch = batch_of(taken)
            for step in steps:
                batch = step.step(batch)
            counts.update(batch.counts)
            keep(facts, shard, batch, sums)
            if batch.last in cuts and sums.wanted is None:
                compare_counts(facts, shard, batch.last, counts, offences)


def cut_up(frames: Iterator[Frame], cuts: Collection[int]) -> Iterator[list[Frame]]:
    """Frames some at a time, never over a cut nor over positions that are missing."""
    part: list[Frame] = []
    for frame in frames:
        if part and (
            len(part) == BATCH_FRAMES or part[-1].position in cuts or frame.position != part[-1].position + 1
        ):
            yield part
            part = []
        part.append(frame)
    if part:
        yield part


def compare_counts(facts: Facts, shard: str, position: int, counts: Counter[str], offences: Offences) -> None:
    """What the ledger counted up to a token."""
    for record_type in ORDER:
        token = facts.table(record_type).tokens.get(shard)
        if token is None or token.position != position:
            continue
        for name in sorted(
            counts.keys() | {each for each in token.counts if not each.startswith(("rows_", "removed_"))}
        ):
            if counts[name] != token.counts.get(name, 0):
                said = token.counts.get(name, 0)
                offences.add(f"{TABLES[record_type].name} {shard} {name}: {counts[name]:,}, {said:,} counted")


def compared(
    directory: Path, facts: Facts, frames: Iterator[Frame], shard: str, offences: Offences
) -> Iterator[Frame]:
    """The frames as bronze has them; one that the journal has otherwise is noted."""
    originals = journalled(directory / "journal" / shard, shard)
    original = next(originals, None)
    for frame in frames:
        while original is not None and original.position < frame.position:
            original = next(originals, None)
        if original is not None and original.position == frame.position:
            facts.frames_compared += 1
            if original != frame:
                offences.add(f"frame {shard} {frame.position} is another than the journal's")
        yield frame


def journalled(directory: Path, shard: str) -> Iterator[Frame]:
    """The frames that a journal still has; none behind damage, of which A1 tells."""
    paths = segment_paths(directory) if directory.is_dir() else []
    if not paths:
        return
    position = first_position(paths[0]) - 1
    reader = JournalReader(directory, exchange=exchange_of(shard), shard=shard, position=position)
    try:
        while frames := reader.read(BATCH_FRAMES):
            yield from frames
    except JournalError:
        return
    finally:
        reader.close()


def keep(facts: Facts, shard: str, batch: Batch, sums: Sums) -> None:
    """What the steps made, of the rows that the tables should have."""
    rows: defaultdict[type, list[Struct]] = defaultdict(list)
    for record in records_of(batch.records):
        if type(record) in MADE:
            rows[type(record)].append(record)
    for record_type, records in rows.items():
        token = facts.table(record_type).tokens.get(shard)
        if token is None or batch.first > token.position or batch.last <= facts.start(shard).position:
            continue
        made = pa.Table.from_batches([to_arrow(record_type, records)])
        sums.add(record_type, shard, above(record_type, made, facts.start(shard).position, token.position))


def above(record_type: type[Struct], rows: pa.Table, low: int, high: int) -> pa.Table:
    """The rows of positions above..upto."""
    name = TABLES[record_type].position
    renamed = rows.rename_columns([POSITION if each == name else each for each in rows.column_names])
    return between(renamed, low, high).rename_columns(rows.column_names)


def gather(catalog: Catalog, facts: Facts, found: Opened | None, sums: Sums) -> None:
    """The rows that a table has."""
    if found is None:
        return
    record_type = found.record_type
    names = [column.name for column in table_columns(record_type)]
    schema, table = arrow_schema(record_type), facts.table(record_type)
    for file in found.files:
        if not within(sums, TABLES[record_type].name, file.lower, file.upper):
            continue
        for rows in batches(catalog, found, file, names):
            for shard, part in by_shard(rows):
                token = table.tokens.get(shard)
                if token is not None:
                    own = above(record_type, part, facts.start(shard).position, token.position)
                    sums.add(record_type, shard, own.cast(schema))


def within(sums: Sums, name: str, lower: int | None, upper: int | None) -> bool:
    """Whether a file can hold rows that are wanted."""
    if sums.wanted is None or lower is None or upper is None:
        return True
    return any(
        table == name and lower // BUCKET_POSITIONS <= place <= upper // BUCKET_POSITIONS
        for table, _, place in sums.wanted
    )


def look(
    catalog: Catalog,
    directory: Path,
    facts: Facts,
    tables: Mapping[type[Struct], Opened | None],
    different: list[Bucket],
    offences: Offences,
) -> None:
    """Name the rows that differ; everything goes through the steps once more for that."""
    again = marked(catalog, tables[StaleWindow]) if added(facts) else set()
    wanted = [
        bucket
        for name, group in groupby(different, key=lambda bucket: bucket[0])
        for bucket in islice(group, None if again and name == TABLES[Bar].name else LOOKED_AT_MAX)
    ]
    made, stored = Sums(wanted=wanted), Sums(wanted=wanted)
    bronze = tables[Frame]
    assert bronze is not None
    make(directory, facts, bronze, made, Offences())
    for record_type in MADE:
        gather(catalog, facts, tables[record_type], stored)
    for bucket in wanted:
        should, has = Counter(made.kept[bucket]), Counter(stored.kept[bucket])
        for row, count in (should - has).items():
            offences.add(f"{bucket[0]} lacks {name_of(row)}", count)
        for row, count in (has - should).items():
            if name_of(row).rpartition(":")[0] in again:
                continue
            offences.add(f"{bucket[0]} has {name_of(row)}, which nothing explains", count)
    for table, shard, place in different:
        if (table, shard, place) not in wanted:
            offences.add(
                f"{table} {shard} {place * BUCKET_POSITIONS}-{(place + 1) * BUCKET_POSITIONS - 1} differs"
            )


def added(facts: Facts) -> int:
    """How many bars maintenance has put in, which no frame explains."""
    return sum(token.added for token in facts.table(Bar).tokens.values())


def marked(catalog: Catalog, found: Opened | None) -> set[str]:
    """The windows whose bars maintenance makes again, as bars name them."""
    names = ("exchange", "market", "symbol", "interval", "window_start")
    windows: set[str] = set()
    for file in found.files if found else ():
        assert found is not None
        for rows in batches(catalog, found, file, names):
            columns = [as_bytes(rows.column(name)).to_pylist() for name in names]
            windows.update(b":".join(parts).decode() for parts in zip(*columns, strict=True))
    return windows


def name_of(row: bytes) -> str:
    """The id of a row: its first column."""
    return row.partition(b"\x1f")[0].decode(errors="replace")
