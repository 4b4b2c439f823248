"""Recovery files that were lost are made again: all frames that are kept go through today's steps once more.

The very flow runs, without capture, into recovery files of its own. Tables keep what they have: the lake's
sink drops every row at or below its table's token, and publishes what a table lacks. Recovery files that were
there are moved aside, never removed; until the new ones are complete they stay where they are.
"""

import shutil
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from bytewax.outputs import FixedPartitionedSink
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from connectors.catalog import at_once, open_catalog
from connectors.disk import sync_folder
from connectors.durable import Durable
from connectors.failpoints import failpoint
from connectors.kafka_settings import KafkaSettings
from connectors.kept_frames import KeptFrames, oldest
from connectors.lake import Lake
from connectors.positions import sync_newest
from connectors.segments import iso, newest_position, segment_paths
from connectors.settings import LakeSettings
from connectors.slots import Store, locked, mark_recovered
from connectors.source import JournalSource, Reading
from connectors.tokens import tokens_of
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.crypto import build
from dataflows.engine import Item
from dataflows.execution import execute
from dataflows.recovery import EPOCH_SECONDS, FOLDER, make
from dataflows.running import ALONE
from dataflows.steps.batch import batch_of
from dataflows.summary import Summary
from schemas import Frame
from schemas.iceberg import TABLES

if TYPE_CHECKING:
    from connectors.kafka import Kafka

# All frames went through by then; what an outage keeps from being published, the next start publishes.
CLOSE_SECONDS = 60.0


class Kept(NamedTuple):
    """What there is of a shard to make its state from."""

    shard: str
    oldest: int  # position of the oldest frame; what was before it is not known any more
    published: int  # bronze.frames has the frames up to here
    newest: int  # the last frame of the journal, or of the table where that one reaches further


def kept(directory: Path, store: Store, settings: LakeSettings) -> list[Kept]:
    """What there is of each shard."""
    try:
        table = opened(directory, settings).load_table(TABLES[Frame].name)
    except NoSuchTableError:
        table = None
    tokens = tokens_of(table) if table else {}
    found = []
    for slot in store.slots:
        journal, token = directory / "journal" / slot.shard, tokens.get(slot.shard)
        published = token.position if token else 0
        first = oldest(table, slot.shard) if table and published else None
        newest = newest_position(journal) if journal.exists() else 0
        found.append(Kept(slot.shard, first or published + 1, published, max(published, newest)))
    return found


def rebuild(
    directory: Path,
    store: Store,
    settings: LakeSettings,
    *,
    now: int,
    topics: KafkaSettings | None = None,
) -> Path | None:
    """Make the recovery files of a store that nobody writes; returns where those are that were there."""
    found = directory / FOLDER
    rebuilt = found.with_name(f"{FOLDER}.rebuilt")
    shutil.rmtree(rebuilt, ignore_errors=True)  # of an attempt that did not come to its end
    make(rebuilt, store)
    go_through(directory, store, settings, rebuilt, topics)
    return put_in_place(directory, rebuilt, found, now)


def go_through(
    directory: Path, store: Store, settings: LakeSettings, recovery: Path, topics: KafkaSettings | None
) -> None:
    """Run the flow over all frames that are kept, to their end."""
    logger: Any = structlog.get_logger()
    lake = become_writer(directory, store, settings, logger)
    table = next(each.table for each in lake.courier.tables if each.record_type is Frame)
    reading = Reading(
        directory=directory,
        epoch_seconds=EPOCH_SECONDS,
        captured={slot.shard for slot in store.slots},  # a pulse at least, so that all have a state
        ends=True,
        recovery=recovery,
        durable=lake.durable,
        sync=lambda journal: sync_newest(journal) if segment_paths(journal) else None,
        frames=lambda journal, shard, _: KeptFrames(table, journal, shard),
    )
    sinks: dict[str, FixedPartitionedSink[Item, Any]] = {"lake": lake, "summarise": Summary(store.slots)}
    kafka = publisher(store, topics, reading.stop, logger) if topics and topics.bootstrap_servers else None
    if kafka:
        sinks["kafka"] = kafka
    execute(build(JournalSource(store.slots, reading, batch_of), sinks, chain(VENUES)), ALONE, recovery)
    reading.durable.ended()
    if not lake.close(CLOSE_SECONDS) or (kafka and not kafka.close(CLOSE_SECONDS)):
        logger.warning("not everything is published: the next start does it")


def become_writer(directory: Path, store: Store, settings: LakeSettings, logger: Any) -> Lake:
    """All tables, once we are the writer of all shards in them."""
    shards = [slot.shard for slot in store.slots]
    lake = Lake(
        partial(opened, directory, settings),
        store,
        directory,
        shards,
        durable=Durable(),
        stop=Event(),
        commit_seconds=settings.commit_seconds,
        logger=logger,
        rebuilding=True,
    )
    for shard in shards:
        lake.durable.tell(shard, partial(say, logger, shard))
    lake.start()
    lake.courier.has_begun(wait=True)
    return lake


def publisher(store: Store, settings: KafkaSettings, stop: Event, logger: Any) -> "Kafka":
    """All topics, which get what they lack."""
    from connectors.kafka import Kafka  # noqa: PLC0415  # a client that most never need

    shards = [slot.shard for slot in store.slots]
    kafka = Kafka(settings, store, shards, stop=stop, logger=logger, rebuilding=True)
    kafka.start()
    return kafka


def put_in_place(directory: Path, rebuilt: Path, found: Path, now: int) -> Path | None:
    """Let the next start use the rebuilt files; killed between the two steps, it refuses as it did before."""
    aside = None
    with locked(directory):
        if found.exists():
            aside = found.with_name(f"{FOLDER}.aside-{iso(now)}")
            found.rename(aside)
        failpoint("recover.aside")
        rebuilt.rename(found)
        sync_folder(directory)
    mark_recovered(directory)
    return aside


def opened(directory: Path, settings: LakeSettings) -> Catalog:
    """The catalog of the store."""
    access = settings.access()
    return at_once(partial(open_catalog, directory, settings.catalog, settings.warehouse, **access))


def say(logger: Any, shard: str, position: int) -> None:
    """How far it is: of a long history a person wants to know."""
    logger.info("went through the frames", shard=shard, position=position)
