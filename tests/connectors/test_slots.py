"""A slot is given once, to one shard, for ever; a store stays what it is."""

import multiprocessing
from pathlib import Path

import pytest

from connectors.placement import worker_of
from connectors.slots import FILE, StoreError, mark_recovered, open_store, read


def test_slots_are_numbered_in_order_of_arrival_and_never_given_again(tmp_path: Path) -> None:
    first = open_store(tmp_path, "simulated", ["binance-0", "kraken-0"])
    without = open_store(tmp_path, "simulated", ["kraken-0"])
    more = open_store(tmp_path, "simulated", ["coinbase-0", "kraken-0"])

    assert [slot.partition for slot in first.slots] == ["0000-binance-0", "0001-kraken-0"]
    assert without == first
    assert more.slots[:2] == first.slots
    assert more.slot("coinbase-0").partition == "0002-coinbase-0"
    assert read(tmp_path) == more
    assert [worker_of(slot.key, 8) for slot in more.slots] == [0, 1, 2]


def test_a_store_is_simulated_or_live_for_ever(tmp_path: Path) -> None:
    open_store(tmp_path, "simulated", ["binance-0"])

    with pytest.raises(StoreError, match="holds a simulated store, not a live one"):
        open_store(tmp_path, "live", ["binance-0"])


def test_a_store_keeps_its_id_and_remembers_its_recovery(tmp_path: Path) -> None:
    store = open_store(tmp_path, "live")

    assert not store.recovered
    assert mark_recovered(tmp_path).recovered
    assert open_store(tmp_path, "live").store_id == store.store_id
    assert open_store(tmp_path / "other", "live").store_id != store.store_id


@pytest.mark.parametrize("text", ["{", '{"version":2,"store_id":"x","kind":"live"}'])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)

    with pytest.raises(StoreError, match=r"store\.json"):
        open_store(tmp_path, "live")


def give(directory: Path, shard: str) -> None:
    open_store(directory, "simulated", [shard])


def test_processes_that_start_together_share_one_numbering(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=give, args=(tmp_path, f"binance-{number}")) for number in range(4)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)

    store = read(tmp_path)
    assert store is not None
    assert [slot.number for slot in store.slots] == [0, 1, 2, 3]
    assert {slot.shard for slot in store.slots} == {f"binance-{number}" for number in range(4)}
