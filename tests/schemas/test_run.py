"""A run is worth its trades, however it is cut and joined."""

import random

from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments
from schemas import Frame, Trade
from schemas.iceberg import to_arrow
from schemas.money import plain
from schemas.run import Run, joined, records_of
from schemas.run_arrow import run_to_arrow

PAYLOAD = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136900,"s":"BTCUSDT","t":%d,'
    b'"p":"67000.10","q":"0.5","T":1672515782136000,"m":true,"M":true}}'
)


def run_of_frames(count: int) -> tuple[Run, list[Trade]]:
    frames = [
        Frame("binance", "binance-0", one, 3, one, 1_700_000_000_000_000 + one, "data", PAYLOAD % (40 + one))
        for one in range(1, count + 1)
    ]
    venue, listed = VENUES["binance"], shipped_instruments("binance")
    (run,) = venue.decode_many(frames, listed)
    assert isinstance(run, Run)
    trades = [one for frame in frames for one in venue.decode(frame, listed) if isinstance(one, Trade)]
    return run, trades


def test_any_cut_is_worth_the_same_trades() -> None:
    run, trades = run_of_frames(7)
    assert len(run) == 7
    assert run.trades() == trades
    for start in range(8):
        for stop in range(start, 8):
            assert run.cut(start, stop).trades() == trades[start:stop]
        parts = [run.cut(0, start), run.cut(start, 7)]
        assert joined(parts) == run
    assert run.trade(3) == trades[3]


def test_records_come_in_the_order_of_their_frames() -> None:
    run, trades = run_of_frames(5)
    assert records_of([run.cut(2, 5), *trades[:2]]) == trades


def test_a_run_in_arrow_is_its_trades_in_arrow(seed: int) -> None:
    run, trades = run_of_frames(50)
    assert run_to_arrow(run).equals(to_arrow(Trade, trades), check_metadata=True)
    chance = random.Random(seed)
    for digits in (1, 9, 17, 18, 19, 28):  # as many as units fit, as products fit, and more
        prices = [chance.randrange(1, 10**digits) for _ in trades]
        quantities = [chance.randrange(1, 10**digits) for _ in trades]
        run.price_nanos, run.quantity_nanos = prices, quantities
        run.prices, run.quantities = [[plain(one * 10**9) for one in some] for some in (prices, quantities)]
        run.sides = [chance.choice(("BUY", "SELL")) for _ in trades]
        assert run_to_arrow(run).equals(to_arrow(Trade, run.trades())), digits
