"""Redis has the newest of each symbol, whatever happens to it; and nothing of ours waits for it."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from msgspec.structs import replace
from structlog.testing import capture_logs

from connectors.redis import FIELDS, Redis, key_of, newest_of, rank_of
from connectors.settings import RedisSettings
from connectors.slots import Store
from connectors.source import Pulse
from schemas import Bar, Quote, Trade
from schemas.run import records_of
from tests.campaigns.recorded import record
from tests.campaigns.running import batches
from tests.schemas.anything import TRADE
from tests.services.programs import Server, find_redis, free_ports, running

PATIENCE_SECONDS = 30.0
PASSWORD = "only-a-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Redis that asks for a password; a test that stops it starts it again."""
    (port,), directory = free_ports(1), tmp_path_factory.mktemp("redis")
    words = [str(find_redis()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    words += ["--save", "", "--requirepass", PASSWORD]

    def ready() -> bool:
        try:
            return bool(client(port).ping())
        except redis.ConnectionError:
            return False

    with running(Server(words, directory / "log", ready, port=port)) as started:
        yield started


def client(port: int) -> "redis.Redis":
    return redis.Redis(port=port, password=PASSWORD, decode_responses=True)


@pytest.fixture
def empty(server: Server) -> Iterator["redis.Redis"]:
    if not server.is_running:
        server.start()
    asked = client(server.port)
    asked.flushall()
    yield asked
    asked.close()


@pytest.fixture
def store(tmp_path: Path, seed: int) -> Store:
    return record(tmp_path, ("binance-0", "binance-1"), 1_500, seed)


def sink_of(server: Server, store: Store, password: str = PASSWORD) -> Redis:
    """One that has not begun."""
    settings = RedisSettings.model_validate({"url": f"redis://127.0.0.1:{server.port}", "password": password})
    return Redis(settings, store, stop=threading.Event(), logger=structlog.get_logger())


@pytest.fixture
def sinks(server: Server, store: Store) -> Iterator[Callable[..., Redis]]:
    made: list[Redis] = []

    def make(password: str = PASSWORD) -> Redis:
        made.append(sink_of(server, store, password))
        made[-1].start()
        return made[-1]

    yield make
    for sink in made:
        sink._stop.set()
        sink.close(PATIENCE_SECONDS)
        assert not sink._thread.is_alive()


def feed(sink: Redis, tmp_path: Path, store: Store) -> None:
    """Everything that leaves the last step, and pulses between."""
    parts = {slot.shard: sink.build_part("redis", slot.partition, None) for slot in store.slots}
    for batch in batches(tmp_path, store.slots):
        parts[batch.shard].write_batch([batch, Pulse(batch.shard)])
        assert parts[batch.shard].snapshot() is None  # type: ignore[func-returns-value]


def expected(tmp_path: Path, store: Store) -> dict[str, Any]:
    """The newest record of each key, told again from all records."""
    newest: dict[str, Any] = {}
    for batch in batches(tmp_path, store.slots):
        for one in records_of(batch.records):
            if type(one) not in FIELDS or getattr(one, "origin", "live") == "repair":
                continue
            key = key_of(one)
            if key not in newest or rank_of(one) > rank_of(newest[key]):
                newest[key] = one
    return newest


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_all(asked: "redis.Redis", newest: dict[str, Any]) -> bool:
    held = {key: json.loads(asked.get(key)) for key in asked.keys("*")}
    return {key: value["message_id"] for key, value in held.items()} == {
        key: one.message_id for key, one in newest.items()
    }


def test_it_has_the_newest_of_each_symbol_and_who_listens_is_told(
    empty: "redis.Redis", sinks: Callable[..., Redis], store: Store, tmp_path: Path
) -> None:
    newest = expected(tmp_path, store)
    assert {type(one) for one in newest.values()} == {Trade, Quote, Bar}
    listening = empty.pubsub()
    listening.psubscribe("tape:*")
    sink = sinks()
    feed(sink, tmp_path, store)
    until(lambda: sink.status().is_up and not sink.status().waiting)
    assert has_all(empty, newest)
    heard: dict[str, str] = {}
    while (said := listening.get_message(timeout=0.2)) is not None:
        if said["type"] == "pmessage":
            heard[said["channel"]] = said["data"]
    assert heard == {key: empty.get(key) for key in newest}
    key = next(key for key, one in newest.items() if type(one) is Trade)
    trade, told = newest[key], json.loads(heard[key])
    assert (told["price"], told["quantity"]) == (str(trade.price), str(trade.quantity))
    assert told["timestamp"].endswith("Z")
    assert sum(sink.status().updates.values()) >= len(newest)


def test_what_is_newest_is_so_by_the_venues_word_whenever_it_comes(
    server: Server, store: Store, tmp_path: Path
) -> None:
    newest, before, old = (
        replace(TRADE, timestamp=time_of, first_sequence=count)
        for time_of, count in ((5, 9), (5, 8), (4, 99))
    )
    bar = next(one for one in expected(tmp_path, store).values() if type(one) is Bar)
    revised = replace(bar, revision=bar.revision + 1)
    for records in permutations((newest, before, old, revised, bar)):
        at_once, one_by_one = sink_of(server, store), sink_of(server, store)
        at_once.take(records)
        for one in records:
            one_by_one.take([one])
        for sink in (at_once, one_by_one):
            assert {each.record for each in sink._newest.values()} == {newest, revised}
    assert newest_of([replace(newest, timestamp=6, origin="repair"), before]) == [before]


def test_what_is_superseded_while_it_is_sent_is_sent_again(
    empty: "redis.Redis", server: Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(server, store)
    newer = replace(TRADE, timestamp=TRADE.timestamp + 1, platform_sequence=8)
    text = sink._text

    def superseded(record: Trade) -> bytes:
        sink.take([newer])
        return text(record)

    monkeypatch.setattr(sink, "_text", superseded)
    sink.take([TRADE])
    for position, waiting in ((7, 1), (8, 0)):
        sink._send()
        assert json.loads(empty.get(key_of(TRADE)) or "")["platform_sequence"] == position
        assert sink.status().waiting == waiting


def test_a_replay_turns_nothing_back_but_another_store_begins_anew(
    empty: "redis.Redis", sinks: Callable[..., Redis], store: Store, tmp_path: Path
) -> None:
    newest = expected(tmp_path, store)
    feed(first := sinks(), tmp_path, store)
    until(lambda: not first.status().waiting)
    before = {key: empty.get(key) for key in newest}
    again = sinks()
    old, *_ = batches(tmp_path, store.slots)
    again.build_part("redis", store.slots[0].partition, None).write_batch([old])
    until(lambda: again.status().is_up and not again.status().waiting)
    feed(again, tmp_path, store)  # up to the same record that is there
    until(lambda: again._newest.keys() == newest.keys() and not again.status().waiting)
    assert {key: empty.get(key) for key in newest} == before
    assert sum(again.status().updates.values()) == 0
    again._store_id = "another"
    key = next(iter(again._newest))
    again._waiting.add(key)
    until(lambda: json.loads(empty.get(key))["store"] == "another")


def test_an_outage_holds_up_nothing_and_the_newest_is_there_behind_it(
    empty: "redis.Redis", server: Server, sinks: Callable[..., Redis], store: Store, tmp_path: Path
) -> None:
    newest = expected(tmp_path, store)
    with capture_logs() as said:
        sink = sinks()
        until(lambda: sink.status().is_up)
        server.kill()
        began = time.monotonic()
        feed(sink, tmp_path, store)
        assert time.monotonic() - began < PATIENCE_SECONDS
        until(lambda: not sink.status().is_up)
        assert sink.status().waiting == len(newest)  # of each key one, however many came
        server.start()
        until(lambda: sink.status().is_up and not sink.status().waiting)
    assert has_all(client(server.port), newest)
    assert [line["event"] for line in said] == [
        "cannot write to Redis, trying again",
        "can write to Redis again",
    ]


def test_who_is_refused_says_so_and_harms_nothing(
    empty: "redis.Redis", sinks: Callable[..., Redis], store: Store, tmp_path: Path
) -> None:
    with capture_logs() as said:
        sink = sinks(password="wrong")
        feed(sink, tmp_path, store)
        until(lambda: said)
    assert "invalid username-password" in said[0]["problem"]
    assert "wrong" not in said[0]["problem"]
    assert not sink.status().is_up
    assert empty.keys("*") == []
