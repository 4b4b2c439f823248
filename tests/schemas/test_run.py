"""A run is worth its trades, however it is cut and joined."""

from connectors.venues import VENUES
from connectors.venues.shipped import shipped_instruments
from schemas import Frame, Trade
from schemas.run import Run, joined, records_of

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
