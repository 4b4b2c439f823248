"""The same records give the same messages, however the journal was cut; a symbol keeps its partition."""

from collections import defaultdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connectors.journal_reader import JournalReader
from connectors.messages import Message, Messages, Topic, versions_written
from connectors.topics import TYPES, partition_of, topic_of
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.steps.batch import Batch, batch_of
from schemas import Bar, DeadLetter, Frame, Quote, Trade
from schemas.avro import avro_schema
from schemas.framing import Reader
from tests.campaigns.recorded import record

SHARD = "binance-0"
PARTITIONS = 5


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Path:
    directory = tmp_path_factory.mktemp("store")
    record(directory, (SHARD,), 1_500, seed)
    return directory / "journal" / SHARD


def batches(journal: Path, random: Random) -> list[Batch]:
    """What leaves the last step, cut at random."""
    reader = JournalReader(journal, exchange="binance", shard=SHARD)
    steps = [begin(SHARD, None) for begin in chain(VENUES)]
    found = []
    while frames := reader.read(random.randrange(1, 200)):
        batch: Any = batch_of(frames)
        for step in steps:
            batch = step.step(batch)
        found.append(batch)
    reader.close()
    return found


def maker(version: str = "v3") -> Messages:
    versions = versions_written(version)
    topics = {
        record_type: Topic(topic_of(record_type, "binance"), 40 + number, versions[record_type])
        for number, record_type in enumerate(TYPES)
    }
    return Messages(SHARD, topics, partial(partition_of, partitions=PARTITIONS))


def by_topic(messages: list[Message]) -> dict[str, list[Message]]:
    found: defaultdict[str, list[Message]] = defaultdict(list)
    for message in messages:
        found[message.topic].append(message)
    return found


def test_any_cut_gives_the_same_messages_in_the_same_order(journal: Path, seed: int) -> None:
    cuts = [
        by_topic(
            [message for batch in batches(journal, Random(f"{seed} {cut}")) for message in maker().of(batch)]
        )
        for cut in range(3)
    ]
    assert cuts[0] == cuts[1] == cuts[2]
    assert set(cuts[0]) == {topic_of(each, "binance") for each in TYPES}
    for messages in cuts[0].values():
        positions = [message.position for message in messages]
        assert positions == sorted(positions)
        ids = [message.id for message in messages]
        assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("version", ["v2", "v3"])
def test_messages_say_what_records_say(journal: Path, seed: int, version: str) -> None:
    written = versions_written(version)
    schemas = {40 + number: avro_schema(each, written[each]) for number, each in enumerate(TYPES)}
    seen = set()
    for batch in batches(journal, Random(seed)):
        for record_type in TYPES:
            reader = Reader(record_type, schemas.__getitem__)
            for message in by_topic(maker(version).of(batch))[topic_of(record_type, "binance")]:
                seen.add(record_type)
                check(message, reader.record(message.value))
    assert seen == set(TYPES)


def check(message: Message, said: Any) -> None:
    """Key, partition, id and position of one message."""
    if isinstance(said, Frame):
        assert (message.id, message.position) == (f"{SHARD}:{said.position}".encode(), said.position)
        assert (message.key, message.partition) == (SHARD.encode(), partition_of(SHARD, PARTITIONS))
        return
    symbol = f"binance:spot:{said.symbol}" if said.symbol else SHARD
    assert (message.id, message.position) == (said.message_id.encode(), said.platform_sequence)
    assert message.partition == partition_of(symbol, PARTITIONS)
    key = f"{symbol}:{said.interval}:{said.window_start}" if isinstance(said, Bar) else symbol
    assert message.key == key.encode()
    assert isinstance(said, DeadLetter) or said.symbol


def test_versions_are_of_what_is_traded() -> None:
    assert versions_written("v2")[Trade] == versions_written("v2")[Quote] == 2
    assert versions_written("v3")[Trade] == 3
    assert versions_written("v2")[Bar] == 1
