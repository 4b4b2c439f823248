"""Every venue's shards get every step, told of their venue, and read what capture journalled."""

import msgspec
import pytest

from connectors.venues import VENUES
from connectors.venues.protocol import instrument
from dataflows.chain import Chain, chain, listed_instruments
from dataflows.steps.batch import batch_of
from schemas import Frame


def test_steps_have_the_names_of_operators_in_order() -> None:
    assert Chain._fields == ("decode", "detect_gaps", "validate", "drop_duplicates", "aggregate")


@pytest.mark.parametrize("venue", VENUES)
def test_each_venue_goes_through_all_steps_and_each_brings_its_state_back(venue: str) -> None:
    shard = f"{venue}-0"
    listed = (instrument(venue, "BTCUSD", "BTC", "USD"),)
    frame = Frame(venue, shard, 1, 1, 1, 1_700_000_000_000_000, "metadata", msgspec.json.encode(listed))
    batch = batch_of([frame])
    for begin in chain(VENUES):
        step = begin(shard, None)
        batch = step.step(batch)
        again = begin(shard, step.snapshot())
        assert again.snapshot() == step.snapshot()

    assert [type(record).__name__ for record in batch.records] == ["Control"]
    assert batch.counts["frames"] == 1


def test_instruments_are_found_by_their_native_name() -> None:
    listed = (
        instrument("binance", "BTCUSDT", "BTC", "USDT"),
        instrument("binance", "ETHUSDT", "ETH", "USDT"),
    )
    assert listed_instruments(msgspec.json.encode(listed)) == {"BTCUSDT": listed[0], "ETHUSDT": listed[1]}
