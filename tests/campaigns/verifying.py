"""What a store holds at the end of a round, compared with the straight run record by record.

`verify` is all that a campaign asks; it runs in a process of its own, as comparing tables starts threads.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import Struct
from pyiceberg.exceptions import NoSuchTableError

from connectors.catalog import open_catalog
from connectors.slots import read
from connectors.tail import as_of_now
from operate.auditing.auditor import audit
from operate.auditing.reading import Asked
from schemas import Frame, Trade
from schemas.avro import decode, encode, newest
from schemas.iceberg import TABLES, to_arrow
from schemas.run import Run
from tests.campaigns.exactly_once import published
from tests.campaigns.running import Job, batches, output, straight
from tests.campaigns.running import topics_of as kafka_settings

# A look takes a tenth of a second of a processor that the watched processes need too.
POLL_SECONDS = 0.3


class Verdict(Struct):
    """What is wrong; a row that says something else is both lost and doubled."""

    lost: int = 0
    doubled: int = 0
    problems: tuple[str, ...] = ()


def verify(job: Job) -> Verdict:
    """Everything that must hold when a store has come to the end of its journals."""
    found = Verdict()
    compared = 0
    for name, wanted, rows in ROWS.get(job.sink, lake_rows)(job):
        compared += wanted.total()
        lost, doubled = (wanted - rows).total(), (rows - wanted).total()
        found.lost, found.doubled = found.lost + lost, found.doubled + doubled
        # At least once is what topics promise; what is there twice says the same twice, and is counted.
        if lost or (doubled and (job.sink != "kafka" or set(rows) != set(wanted))):
            found.problems += (f"{name}: {lost} lost, {doubled} doubled",)
    assert compared, "nothing to compare with"
    if left := sorted(Path(job.directory).glob("tail/*/*/*")):
        found.problems += (f"tails left behind: {left[:3]}",)
    if job.sink not in ROWS:
        found.problems += tuple(audited(job))
    return found


def audited(job: Job) -> Iterator[str]:
    """What `tape audit` says of the store, which knows nothing of a straight run."""
    directory = Path(job.directory)
    catalog = open_catalog(directory, job.catalog, job.warehouse, **job.access)
    asked = Asked(lambda _: True)
    for finding in audit(catalog, directory, asked, deep=False, now=time.time_ns() // 1_000):
        if finding.violations:
            yield f"audit {finding.check}, {finding.violations} times: {'; '.join(finding.offenders)}"


Compared = Iterator[tuple[str, Counter[Any], Counter[Any]]]  # of what, wanted rows, found rows


def file_rows(job: Job) -> Compared:
    """The rows of each file, in their order."""
    directory = Path(job.directory)
    store = read(directory)
    assert store is not None
    found = published(output(directory))
    for shard, rows in straight(directory, store.slots).items():
        wanted, there = (Counter(map(msgspec.json.encode, each)) for each in (rows, found.get(shard, [])))
        if wanted == there and rows != found[shard]:
            wanted[b"in this order"] = 1
        yield shard, wanted, there


def straight_records(job: Job) -> dict[type, list[Struct]]:
    """All records of the straight run, by type."""
    directory = Path(job.directory)
    store = read(directory)
    assert store is not None
    records: dict[type, list[Struct]] = defaultdict(list)
    for batch in batches(directory, store.slots):
        records[Frame] += batch.frames
        for record in batch.records:
            if isinstance(record, Run):
                records[Trade] += record.trades()
            else:
                records[type(record)].append(record)
    return records


def topic_rows(job: Job) -> Compared:
    """The records of each topic, with all that they say."""
    from tests.campaigns.kafka_driver import read as read_topic  # noqa: PLC0415  # most need no Kafka
    from tests.campaigns.kafka_driver import records, topics_of  # noqa: PLC0415

    wanted = straight_records(job)
    settings = kafka_settings(job)
    for record_type, topic in topics_of("binance"):
        there = records(settings, record_type, read_topic(settings, topic))
        yield topic, Counter(map(said, wanted[record_type])), Counter(map(said, there))


def said(record: Struct) -> str:
    """All that a record says, its money without the last zeros that Avro does not keep."""
    return repr(decode(type(record), newest(type(record)), encode(record, newest(type(record)))))


def lake_rows(job: Job) -> Compared:
    """The rows of each table, with all that they say."""
    directory, records = Path(job.directory), straight_records(job)
    catalog = open_catalog(directory, job.catalog, job.warehouse, **job.access)
    for record_type, listed in TABLES.items():
        wanted = pa.Table.from_batches([to_arrow(record_type, records[record_type])])
        found = catalog.load_table(listed.name).scan().to_arrow().select(wanted.schema.names)
        order = [name for name in ("shard", listed.position, "message_id") if name in wanted.schema.names]
        wanted, found = (each.sort_by([(name, "ascending") for name in order]) for each in (wanted, found))
        if found.combine_chunks().equals(wanted.combine_chunks()):  # a hundred times faster than counting
            same = Counter({"rows": wanted.num_rows})
            yield listed.name, same, same
        else:
            yield listed.name, *(Counter(map(repr, each.to_pylist())) for each in (wanted, found))


ROWS = {"files": file_rows, "kafka": topic_rows}


def watch(job: Job) -> None:
    """Read lake and tail until the round is over: no trade is ever there twice, and none ever vanishes."""
    directory = Path(job.directory)
    seen: set[str] = set()
    polls = 0
    catalog = open_catalog(directory, job.catalog, job.warehouse, **job.access)
    while not (directory / "done").exists():
        try:
            instant = as_of_now(catalog, directory, Trade)
        except NoSuchTableError:
            continue
        ids = [*instant.published["message_id"].to_pylist(), *instant.provisional["message_id"].to_pylist()]
        assert len(ids) == len(set(ids)), f"doubled: {[i for i, n in Counter(ids).items() if n > 1][:5]}"
        assert seen <= set(ids), f"vanished: {sorted(seen - set(ids))[:5]}"
        seen = set(ids)
        polls += 1
        time.sleep(POLL_SECONDS)
    (directory / "polls").write_text(str(polls))
