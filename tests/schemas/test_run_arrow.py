"""A run in Arrow is its trades in Arrow, whatever their numbers and instruments."""

import random

import msgspec

from schemas import Trade
from schemas.iceberg import to_arrow
from schemas.money import plain
from schemas.run import Run
from schemas.run_arrow import run_to_arrow
from tests.schemas.test_run import run_of_frames


def validated(run: Run) -> None:
    run.price_nanos, run.quantity_nanos = [67_000_100_000_000] * len(run), [500_000_000] * len(run)


def test_a_run_in_arrow_is_its_trades_in_arrow(seed: int) -> None:
    run, trades = run_of_frames(50)
    validated(run)
    assert run_to_arrow(run).equals(to_arrow(Trade, trades), check_metadata=True)
    chance = random.Random(seed)
    for digits in (1, 9, 17, 18, 19, 28):  # as many as units fit, as products fit, and more
        prices = [chance.randrange(1, 10**digits) for _ in trades]
        quantities = [chance.randrange(1, 10**digits) for _ in trades]
        run.price_nanos, run.quantity_nanos = prices, quantities
        run.prices, run.quantities = [[plain(one * 10**9) for one in some] for some in (prices, quantities)]
        run.sides = [chance.choice(("BUY", "SELL")) for _ in trades]
        assert run_to_arrow(run).equals(to_arrow(Trade, run.trades())), digits


def test_an_instrument_that_changed_its_facts_keeps_both() -> None:
    run, _ = run_of_frames(4)
    validated(run)
    run.listed = [
        *run.listed[:2],
        *[msgspec.structs.replace(one, rest="x", base="XBT") for one in run.listed[2:]],
    ]
    assert run_to_arrow(run)["base_asset"].to_pylist() == ["BTC", "BTC", "XBT", "XBT"]
