"""The topics behind a real broker and a real registry: exact records, and nothing lost, whatever happens."""

import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pydantic import SecretStr
from structlog.testing import capture_logs

from connectors import bus as buses
from connectors import outages, topics
from connectors.brokers import KafkaError
from connectors.kafka import registry_of
from connectors.kafka_settings import KafkaSettings
from connectors.registry import Incompatible
from connectors.topics import partition_of, topic_of
from dataflows.steps.batch import Batch
from schemas import Bar, DeadLetter, Frame, Gap, Trade
from schemas.avro import avro_schema
from tests.campaigns.kafka_driver import Driven, read, records, store_of, topics_of, until
from tests.campaigns.lake_driver import frame_at, rows_of
from tests.services.fault_proxy import fault_proxy
from tests.services.kafka import PASSWORD, USER

if TYPE_CHECKING:
    from tests.services.kafka import Cluster, Kafka
    from tests.services.registry import Registry

PARTITIONS = 3
FRAMES = 200


@pytest.fixture
def venue() -> str:
    """A venue whose topics nobody else has."""
    return f"v{uuid.uuid4().hex[:12]}"


@pytest.fixture
def settings(kafka: "Kafka", registry: "Registry") -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(kafka.plain,),
        registry_url=registry.url,
        partitions=PARTITIONS,
        retention_days=36_500,
    )


def through_proxy(settings: KafkaSettings, kafka: "Kafka") -> KafkaSettings:
    """The same, but that what networks do can be done to it."""
    return settings.model_copy(update={"bootstrap_servers": (kafka.proxied,)})


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.05)
    monkeypatch.setattr(outages, "SECONDS_MAX", 0.2)
    monkeypatch.setattr(topics, "ANSWER_SECONDS", 1.0)


def wanted(shards: tuple[str, ...], frames: int) -> Counter[Any]:
    """Every record, once."""
    return Counter(
        record
        for shard in shards
        for position in range(1, frames + 1)
        for record in (frame_at(shard, position), *rows_of(shard, position))
    )


def found(settings: KafkaSettings, venue: str) -> Counter[Any]:
    """Every record that the topics have, as often as they have it."""
    counted: Counter[Any] = Counter()
    for record_type, topic in topics_of(venue):
        counted.update(records(settings, record_type, read(settings, topic)))
    return counted


def plain(counted: Counter[Any]) -> Counter[Any]:
    """Without the last zeros that money loses on its way."""
    return Counter({str(record): number for record, number in counted.items()})


def test_every_record_is_there_once_under_its_key_and_in_its_order(
    settings: KafkaSettings, venue: str
) -> None:
    shards = (f"{venue}-0", f"{venue}-1")
    driven = Driven(settings, store_of(*shards))
    driven.write(1, FRAMES)
    driven.snapshot()
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted(shards, FRAMES))
    for record_type, topic in topics_of(venue):
        messages = read(settings, topic)
        decoded = records(settings, record_type, messages)
        last: dict[tuple[bytes, bytes], int] = {}
        for message, record in zip(messages, decoded, strict=True):
            if record_type is Frame:
                key, identifier, position = record.shard, f"{record.shard}:{record.position}", record.position
            else:
                symbol = record.symbol
                key = f"{venue}:spot:{symbol}" if symbol else record.shard
                identifier, position = record.message_id, record.platform_sequence
            assert message.key == key.encode()
            assert message.partition == partition_of(key, PARTITIONS)
            source, _, at = message.headers["frame"].decode().rpartition(":")
            assert message.headers == {
                "id": identifier.encode(),
                "frame": f"{source}:{position}".encode(),
            }
            assert (source, at) == (f"simulated-a store:{record.shard}", str(position))
            of = message.key, source
            assert position >= last.get(of, 0)
            last[of] = position
    assert all(len(read(settings, topic_of(each, venue))) > 1 for each in (Frame, Trade, Gap, DeadLetter))
    status = driven.sink.status()
    assert sum(status.bus.acknowledged.values()) == wanted(shards, FRAMES).total()
    assert {shard: one.acknowledged for shard, one in status.shards.items()} == dict.fromkeys(shards, FRAMES)


@pytest.mark.long
def test_what_landed_before_a_crash_is_not_sent_again(settings: KafkaSettings, venue: str) -> None:
    shard = f"{venue}-0"
    store = store_of(shard)
    first = Driven(settings, store)
    first.write(1, 50)
    states = first.snapshot()
    first.write(51, 120)
    first.settle()  # and is gone without a word
    assert states[shard] is not None
    carried = len(states[shard][3])  # type: ignore[index]
    second = Driven(settings, store, states)
    second.write(51, FRAMES, size=11)
    second.snapshot()
    assert second.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), FRAMES))
    again = wanted((shard,), 120).total() - wanted((shard,), 50).total()
    assert second.repeats() == again + carried
    # Once more, and killed before all that had landed came by again.
    second = Driven(settings, store, states)
    second.write(51, 80, size=11)
    states = second.snapshot()
    second.settle()
    third = Driven(settings, store, states)
    third.write(81, FRAMES, size=13)
    third.snapshot()
    assert third.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), FRAMES))
    # Without a state at all, as when the first epoch never ended.
    third = Driven(settings, store)
    third.write(1, FRAMES + 5)
    third.snapshot()
    assert third.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), FRAMES + 5))


def test_an_epoch_ends_without_brokers_and_its_messages_are_part_of_the_state(
    kafka: "Kafka", settings: KafkaSettings, venue: str
) -> None:
    shard = f"{venue}-0"
    store = store_of(shard)
    driven = Driven(through_proxy(settings, kafka), store)
    driven.write(1, 10)
    driven.begun()
    driven.settle()
    kafka.proxy.refuse()
    try:
        driven.write(11, 60)
        states = driven.snapshot()
        state = states[shard]
        assert state is not None
        assert len(state[3]) == wanted((shard,), 60).total() - wanted((shard,), 10).total()
        assert driven.sink.acknowledged(shard) == 10
        driven.die()
    finally:
        kafka.proxy.heal()
    second = Driven(settings, store, states)
    second.write(61, 80)
    second.snapshot()
    assert second.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), 80))


def test_what_landed_without_an_answer_is_not_there_twice(
    kafka: "Kafka", settings: KafkaSettings, venue: str
) -> None:
    shard = f"{venue}-0"
    driven = Driven(through_proxy(settings, kafka), store_of(shard))
    driven.write(1, 10)
    driven.begun()
    driven.settle()
    lost = kafka.proxy.lost
    kafka.proxy.lose_answer_to(topic_of(Trade, venue).encode())
    driven.write(11, 40)
    driven.settle()
    assert kafka.proxy.lost == lost + 1
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), 40))


@pytest.mark.long
def test_a_broker_that_is_killed_and_comes_back_costs_nothing(
    kafka: "Kafka", settings: KafkaSettings, venue: str, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "OUTAGE_SECONDS", 0.3)
    shard = f"{venue}-0"
    driven = Driven(settings, store_of(shard))
    driven.write(1, 50)
    driven.begun()
    kafka.server.kill()
    try:
        driven.write(51, 150)
        until(lambda: driven.sink.status().bus.outage_seconds)
        status = driven.sink.status().bus
        assert kafka.plain in status.problem
        assert status.errors["transport"] > 0
        assert status.queued[shard][0] > 100
    finally:
        kafka.server.start()
    driven.settle()
    driven.write(151, FRAMES)
    driven.snapshot()
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), FRAMES))
    said = [line["event"] for line in logged if "publish to Kafka" in line["event"]]
    # A busy machine may be as slow as an outage of this test is short.
    pair = ["cannot publish to Kafka, trying again", "can publish to Kafka again"]
    assert said == pair * max(1, len(said) // 2)


def test_a_broker_that_is_away_at_the_start_is_waited_for(
    kafka: "Kafka", settings: KafkaSettings, venue: str, logged: list[Any]
) -> None:
    shard = f"{venue}-0"
    kafka.proxy.refuse()
    try:
        driven = Driven(through_proxy(settings, kafka), store_of(shard))
        driven.write(1, 20)
        until(lambda: driven.sink.status().bus.errors["transport"])
        status = driven.sink.status().bus
        assert not status.begun
        assert status.outage_seconds > 0
        until(lambda: [line for line in logged if line["event"] == "cannot use Kafka, trying again"])
    finally:
        kafka.proxy.heal()
    driven.write(21, FRAMES)
    driven.snapshot()
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), FRAMES))
    assert kafka.proxy.refused > 0


@pytest.mark.long
def test_a_slow_broker_makes_the_source_wait_within_bounds(
    kafka: "Kafka", settings: KafkaSettings, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "QUEUE_BYTES_MAX", 50_000)
    shard = f"{venue}-0"
    driven = Driven(through_proxy(settings, kafka), store_of(shard))
    driven.begun()
    kafka.proxy.latency_seconds = 0.1
    try:
        passed = kafka.proxy.passed
        began, most = time.monotonic(), 0
        for first in range(1, 101, 20):
            driven.write(first, first + 19)
            most = max(most, driven.sink.status().bus.queued[shard][1])
        state = driven.snapshot()[shard]
        assert state is not None
        assert sum(len(message[3]) + buses.MESSAGE_BYTES for message in state[3]) < 52_000
        assert time.monotonic() - began > 0.2
        assert 0 < most < 52_000  # a message more than the limit
        assert kafka.proxy.passed > passed
    finally:
        kafka.proxy.heal()
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), 100))


def test_who_is_to_end_does_not_wait_for_brokers(
    kafka: "Kafka", settings: KafkaSettings, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buses, "QUEUE_BYTES_MAX", 50_000)
    monkeypatch.setattr(buses, "OUTAGE_SECONDS", 0.2)
    driven = Driven(through_proxy(settings, kafka), store_of(f"{venue}-0"))
    driven.begun()
    kafka.proxy.refuse()
    try:
        driven.stop.set()
        with pytest.raises(KafkaError, match="ended while Kafka could not be written: ") as told:
            driven.write(1, 5_000)
    finally:
        kafka.proxy.heal()
        driven.die()
    assert told.value.hint == "nothing is lost: start again"


def test_a_message_that_is_too_large_ends_the_process_in_clear_words(
    kafka: "Kafka", settings: KafkaSettings, venue: str
) -> None:
    shard = f"{venue}-0"
    driven = Driven(settings, store_of(shard))
    driven.begun()
    configure(kafka, topic_of(Trade, venue), {"max.message.bytes": "100"})
    with pytest.raises(KafkaError) as told:
        until(lambda: driven.write(1, 3))
    assert str(told.value).startswith(f"{topic_of(Trade, venue)} has refused a message of {shard}: ")
    assert "too large" in str(told.value).lower()
    assert told.value.hint.startswith("raise max.message.bytes")
    with pytest.raises(KafkaError):
        driven.partitions[shard].snapshot()
    assert driven.sink.status().bus.errors["too_large"] >= 1
    driven.die()


def configure(kafka: "Kafka", topic: str, values: Mapping[str, str]) -> None:
    """Change what a topic is like."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    for name, value in values.items():
        resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    for answer in admin.incremental_alter_configs([resource]).values():
        answer.result(10)


@pytest.mark.parametrize(("password", "words"), [("wrong", "uthentication"), (PASSWORD, "uthorization")])
def test_who_may_not_ends_the_process_in_clear_words(
    kafka: "Kafka", settings: KafkaSettings, venue: str, password: str, words: str
) -> None:
    changed: dict[str, Any] = {
        "bootstrap_servers": (kafka.sasl,),
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "user": USER,
        "password": SecretStr(password),
    }
    driven = Driven(settings.model_copy(update=changed), store_of(f"{venue}-0"))
    with pytest.raises(KafkaError) as told:
        until(lambda: driven.write(1, 1))
    assert words in str(told.value)
    assert password not in str(told.value)
    assert told.value.hint


def test_without_brokers_nothing_of_it_is_loaded() -> None:
    look = "import dataflows.running, connectors.lake, sys; print('confluent_kafka' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


@pytest.mark.long
def test_a_leader_that_moves_costs_nothing(
    kafka_cluster: "Cluster", registry: "Registry", venue: str
) -> None:
    shard = f"{venue}-0"
    settings = KafkaSettings(
        bootstrap_servers=tuple(kafka_cluster.plain.split(",")),
        registry_url=registry.url,
        partitions=PARTITIONS,
        replication=3,
        retention_days=36_500,
    )
    driven = Driven(settings, store_of(shard))
    driven.write(1, 50)
    driven.begun()
    for number, server in enumerate(kafka_cluster.servers):
        server.kill()
        try:
            driven.write(51 + 300 * number, 350 + 300 * number, size=30)
            driven.snapshot()
            driven.settle()  # two are enough
        finally:
            server.start()
        wait_for_copies(settings, topic_of(Trade, venue), 3)
    driven.snapshot()
    assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((shard,), 950))
    last: dict[Any, int] = {}
    for message in read(settings, topic_of(Trade, venue)):
        position = int(message.headers["frame"].rpartition(b":")[2])
        assert position >= last.get(message.key, 0)
        last[message.key] = position


def wait_for_copies(settings: KafkaSettings, topic: str, copies: int) -> None:
    """Wait until all copies of a topic are in step again."""
    admin = AdminClient({"bootstrap.servers": ",".join(settings.bootstrap_servers), "log_level": 0})

    def are_in_step() -> bool:
        listed = admin.list_topics(topic, timeout=10).topics[topic].partitions.values()
        return all(len(each.isrs) == copies for each in listed)

    until(are_in_step)


@pytest.mark.long
def test_compaction_keeps_every_window_at_its_highest_revision(
    kafka: "Kafka", settings: KafkaSettings, venue: str
) -> None:
    shard = f"{venue}-0"
    driven = Driven(settings, store_of(shard))
    driven.begun()
    topic = topic_of(Bar, venue)
    soon = {"segment.ms": "200", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "200"}
    configure(kafka, topic, soon)
    partition, written = driven.partitions[shard], 0
    for revision in range(6):
        bars = [
            bar_of(venue, shard, symbol, window, revision, position=1 + revision * 100 + window)
            for window in range(20)
            for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT", "ADA-USDT")
            if revision <= window % 6
        ]
        partition.write_batch([Batch(shard, 1 + revision * 100, 99 + revision * 100, [], bars, {})])
        written += len(bars)
        driven.settle()
        time.sleep(0.3)  # a segment is closed by age, when the next message comes
    highest = {
        f"{venue}:spot:{symbol}:1m:{window}".encode(): window % 6
        for window in range(20)
        for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT", "ADA-USDT")
    }
    state = driven.snapshot()
    number = 10_000

    def is_compacted() -> bool:
        nonlocal number
        number += 1
        closing = [
            bar_of(venue, shard, symbol, 99, number, position=number)
            for symbol in ("BTC-USDT", "ETH-USDT", "SOL-USDT", "ADA-USDT")
        ]
        partition.write_batch([Batch(shard, number, number, [], closing, {})])
        driven.settle()
        time.sleep(0.3)
        return len([each for each in read(settings, topic) if not each.key.endswith(b":99")]) == len(highest)

    until(is_compacted)
    there = [each for each in read(settings, topic) if not each.key.endswith(b":99")]
    assert written > len(highest) == len(there)
    assert {each.key: int(each.headers["id"].rpartition(b":")[2]) for each in there} == highest
    # Who goes on from before all that sends no older revision behind the newest.
    driven.die()
    states = {shard: (state[shard][0], 0, (), ())}  # type: ignore[index]
    again = Driven(settings, store_of(shard), states)
    again.partitions[shard].write_batch(
        [Batch(shard, 1, 99, [], [bar_of(venue, shard, "BTC-USDT", 5, 0, position=6)], {})]
    )
    again.begun()
    assert again.repeats() == 1
    assert again.sink.close(10)


def bar_of(venue: str, shard: str, symbol: str, window: int, revision: int, position: int) -> Bar:
    """A bar of a minute."""
    return Bar(
        f"{venue}:spot:{symbol}:1m:{window}:{revision}", symbol, venue, "crypto", "1m", window, window + 60,
        "1", "2", "1", "2", "3", "4", "1.5", 2, "1", 1, "a", "b", 0, revision, "USDT", "spot",
        *symbol.split("-"), shard, position,
    )  # fmt: skip


@pytest.mark.long
def test_both_versions_of_a_record_are_in_one_topic(settings: KafkaSettings, venue: str) -> None:
    shard = f"{venue}-0"
    store, states = store_of(shard), None
    for version, last in (("v2", 20), ("v3", 40), ("v2", 60)):
        driven = Driven(settings.model_copy(update={"schema_version": version}), store, states)
        driven.write(last - 19, last)
        driven.begun()
        driven.settle()
        states = driven.snapshot()
        assert driven.sink.close(10)
    messages = read(settings, topic_of(Trade, venue))
    identifiers = {message.value[:5] for message in messages}
    assert len(identifiers) == 2
    there = {record.message_id: record for record in records(settings, Trade, messages)}
    for position in range(1, 61):
        for trade in rows_of(shard, position):
            if isinstance(trade, Trade):
                found_one = there.pop(trade.message_id)
                assert (found_one.price, found_one.side) == (trade.price, trade.side)
                assert found_one.shard == (shard if 20 < position <= 40 else None)
    assert not there


def test_a_schema_that_cannot_read_what_is_there_ends_the_process(
    settings: KafkaSettings, venue: str
) -> None:
    registry = registry_of(settings)
    schema = avro_schema(Trade, 3)
    theirs = {**schema, "fields": [each for each in schema["fields"] if each["name"] != "price"]}
    registry.register(f"{topic_of(Trade, venue)}-value", theirs)
    registry.close()
    driven = Driven(settings, store_of(f"{venue}-0"))
    with pytest.raises(Incompatible, match=rf"{topic_of(Trade, venue)}-value has data .*price") as told:
        until(lambda: driven.write(1, 1))
    assert told.value.hint


def test_a_registry_that_is_away_is_waited_for(
    settings: KafkaSettings, registry: "Registry", venue: str, logged: list[Any]
) -> None:
    with fault_proxy(registry.server.port) as proxy:
        proxy.refuse()
        url = settings.registry_url.replace(f":{registry.server.port}", f":{proxy.port}")
        driven = Driven(settings.model_copy(update={"registry_url": url}), store_of(f"{venue}-0"))
        driven.write(1, 30)
        until(lambda: [line for line in logged if line["event"] == "cannot use Kafka, trying again"])
        assert url in driven.sink.status().bus.problem
        proxy.heal()
        driven.begun()
        proxy.refuse()  # what is known stays known
        driven.write(31, 60)
        driven.snapshot()
        assert driven.sink.close(10)
    assert plain(found(settings, venue)) == plain(wanted((f"{venue}-0",), 60))


@pytest.mark.long
def test_a_topic_that_is_removed_ends_the_process_in_clear_words(
    kafka: "Kafka", settings: KafkaSettings, venue: str
) -> None:
    driven = Driven(settings, store_of(f"{venue}-0"))
    driven.write(1, 20)
    driven.begun()
    driven.settle()
    admin = AdminClient({"bootstrap.servers": kafka.plain, "log_level": 0})
    for answer in admin.delete_topics([topic_of(Trade, venue)]).values():
        answer.result(10)
    positions = iter(range(21, 10_000))

    def goes_on() -> bool:
        position = next(positions)
        driven.write(position, position)
        time.sleep(0.2)
        return position < 400  # the client waits half a minute for a topic to come back

    with pytest.raises(KafkaError, match=f"{topic_of(Trade, venue)} has refused a message") as told:
        list(iter(goes_on, False))
    assert told.value.hint.startswith("the next start")
    driven.die()
