"""When bars are issued, again, or named as stale; and what they say is missing."""

import pickle
from typing import Any

import pytest

from dataflows.steps.bars import Aggregate
from dataflows.steps.batch import batch_of
from dataflows.steps.windows import NAMES, SIZES, bars_of
from schemas import Bar, Record, StaleWindow

DAY = 86_400_000_000


class Market:
    """A chain fed by frames, and what its bars say."""

    def __init__(self, kit: Any, **settings: Any) -> None:
        self.kit, self.settings = kit, settings
        self.tape, self.done = kit.Tape(), 0
        self.state: Any = None

    def rows(self, *names: str) -> list[Any]:
        """(interval, start in seconds, revision, count, missing) of the bars since the last call."""
        chain = self.kit.Chain(self.state, **self.settings)
        records: list[Record] = chain.feed(self.tape.frames[self.done :])
        self.state, self.done = pickle.loads(pickle.dumps(chain.snapshot())), len(self.tape.frames)
        found: list[Any] = []
        for one in records:
            if isinstance(one, Bar) and one.interval in (names or ("1s",)):
                start = (one.window_start - self.kit.START) / 1_000_000
                found.append((one.interval, start, one.revision, one.trade_count, one.missing))
            elif isinstance(one, StaleWindow) and one.interval in (names or ("1s",)):
                found.append((one.interval, (one.window_start - self.kit.START) / 1_000_000, "stale"))
        return found

    def trade(
        self, identifier: int, seconds: float, *rest: str, received: float | None = None, **more: Any
    ) -> None:
        time = self.kit.START + int(seconds * 1_000_000)
        came = None if received is None else self.kit.START + int(received * 1_000_000)
        self.tape.trade(identifier, time, *rest, received=came, **more)

    def tick(self, seconds: float) -> None:
        self.tape.tick(self.kit.START + int(seconds * 1_000_000))


@pytest.fixture
def market(kit: Any) -> Market:
    return Market(kit)


def test_a_trade_issues_the_bars_that_its_watermark_passes(market: Market, kit: Any) -> None:
    market.trade(1, 0.2)
    market.trade(2, 0.9)
    market.trade(3, 1.5)
    market.trade(4, 5.999999)
    assert market.rows() == []
    market.trade(5, 6)
    assert market.rows() == [("1s", 0, 0, 2, 0)]
    market.trade(6, 20)
    assert market.rows() == [("1s", 1, 0, 1, 0), ("1s", 5, 0, 1, 0), ("1s", 6, 0, 1, 0)]


def test_an_issued_bar_is_a_whole_row_after_the_trade_that_issued_it(market: Market, kit: Any) -> None:
    market.trade(1, 0.2, "10", "2", "BUY")
    market.trade(2, 9)
    records = kit.Chain().feed(market.tape.frames)
    (expected,) = bars_of([kit.trade(1, kit.START + 200_000, "10", "2", "BUY", position=2)], "1s", missing=0)
    assert records[-1] == expected


def test_ticks_close_quiet_symbols(market: Market) -> None:
    market.trade(1, 0.2)
    market.tick(10.2)  # 10 s after the trade was received at 0.201 the market is quiet
    market.tick(11)
    assert market.rows() == []
    market.tick(15.9)
    assert market.rows() == []
    market.tick(16)
    assert market.rows() == [("1s", 0, 0, 1, 0)]
    market.trade(2, 0.5, received=16.5)  # late
    market.trade(3, 0.9, received=16.5)
    market.trade(4, 20)
    assert market.rows() == []
    market.tick(21)
    market.tick(22)
    assert market.rows() == [("1s", 0, 1, 3, 0)]  # once a tick, not once a trade


def test_a_late_trade_shows_that_a_market_is_not_quiet(market: Market) -> None:
    market.trade(1, 20)
    market.trade(2, 10.5, received=29)
    market.tick(38)
    assert market.rows() == [("1s", 10, 0, 1, 0)]
    market.tick(39)
    assert market.rows() == [("1s", 20, 0, 1, 0)]


@pytest.mark.parametrize(
    ("ids", "last"),
    [
        ((1, 2, 3, 4), "4"),
        ((1, 2, 5, 3), "5"),
        ((5_000, 5_001, 3, 5_002), "3"),  # one that comes out of nowhere is of a later series
    ],
)
def test_of_trades_of_one_moment_ids_tell_the_last(
    market: Market, kit: Any, ids: tuple[int, ...], last: str
) -> None:
    for number, identifier in enumerate(ids):
        market.trade(identifier, 0.5 if number > 1 else 0.4, str(identifier))
    market.trade(max(ids) + 1, 9)
    records = kit.Chain().feed(market.tape.frames)
    (bar,) = [one for one in records if isinstance(one, Bar)]
    assert (bar.trade_count, bar.last_trade_id, bar.close) == (4, last, last)


@pytest.mark.parametrize("together", [True, False])
def test_a_market_is_quiet_since_its_last_trade_whatever_our_clock_does(
    market: Market, *, together: bool
) -> None:
    for identifier, seconds, received in ((1, 0.2, 1), (2, 0.3, 8), (3, 0.4, 5)):
        market.trade(identifier, seconds, received=received)
        assert together or market.rows() == []
    market.trade(4, 0.1, received=6)  # out of order
    market.tick(17.9)
    assert market.rows() == []
    market.tick(18)
    assert market.rows() == [("1s", 0, 0, 4, 0)]


def test_lateness_needs_no_whole_seconds(kit: Any) -> None:
    market = Market(kit, lateness_seconds=2.5)
    market.trade(1, 0.5)
    market.trade(2, 3.2)
    market.trade(3, 3.4999)
    assert market.rows() == []
    market.trade(4, 3.5)
    assert market.rows() == [("1s", 0, 0, 1, 0)]


def test_a_gap_ends_within_its_second(market: Market) -> None:
    for identifier, seconds in ((1, 0.5), (3, 0.7), (4, 1.5), (5, 9)):
        market.trade(identifier, seconds)
    assert market.rows() == [("1s", 0, 0, 2, 1), ("1s", 1, 0, 1, 0)]


def test_a_late_trade_makes_a_bar_that_never_was(market: Market) -> None:
    market.trade(1, 0.2)
    market.trade(3, 30)
    market.rows()
    market.trade(2, 10.5, received=31)
    market.tick(31)
    assert [row for row in market.rows() if row[1] == 10] == [("1s", 10, 0, 1, 0)]


@pytest.mark.no_cover
def test_larger_windows_are_exactly_the_smaller_ones(market: Market, kit: Any) -> None:
    for one in range(3_000):
        price, size = f"{100 + one % 7}.{one % 10}", f"0.{one % 9}1"
        market.trade(one + 1, one * 37, price, size, ("BUY", "SELL")[one & 1])
    market.trade(3_001, 3 * DAY / 1_000_000)
    records = kit.Chain(windows_max=10**6).feed(market.tape.frames)
    trades = [one for one in records if type(one).__name__ == "Trade"][:-1]
    for name, size in zip(NAMES, SIZES, strict=True):
        bars = {bar.window_start: bar for bar in records if isinstance(bar, Bar) and bar.interval == name}
        expected = bars_of(trades, name, missing=0)
        assert [one.window_start for one in expected] == list(bars)
        for one in expected:
            assert one.window_start % size == 0
            for field in ("open", "high", "low", "close", "volume", "notional", "vwap", "trade_count"):
                assert getattr(bars[one.window_start], field) == getattr(one, field)


def test_a_late_trade_issues_again_every_window_that_was_closed(market: Market) -> None:
    for identifier, seconds in ((2, 0.5), (3, 400), (4, 800)):
        market.trade(identifier, seconds)
    market.rows()
    market.trade(1, 0.7, received=800.5)
    market.tick(801)
    assert market.rows(*NAMES) == [
        ("1s", 0, 1, 2, 0),
        ("1m", -20, 1, 2, 0),
        ("5m", -200, 1, 2, 0),
        ("15m", -500, 1, 2, 0),
        ("1h", -3_200, 1, 2, 0),
    ]
    market.trade(5, 60_000)  # the day ends with the late trade in it
    assert market.rows("1d") == [("1d", -32_000, 0, 4, 0)]


def test_windows_out_of_memory_are_named_stale(kit: Any) -> None:
    market = Market(kit, retention_seconds=60)
    market.trade(3, 0.5)
    market.trade(4, 100)
    market.trade(5, 130)
    market.rows()
    for identifier in (1, 2):
        market.trade(identifier, 0.7, received=131)
    market.tick(131)
    market.tick(132)
    assert [(start - kit.START) // kit.SECOND for start in market.state[4][2][0][1][3][0]] == [100]
    assert market.rows("1s", "1m") == [("1s", 0, "stale"), ("1m", -20, "stale")]


def test_the_number_of_windows_is_bounded(kit: Any) -> None:
    market = Market(kit, windows_max=20)
    for one in range(100):
        market.trade(2 * one + 1, one)
    market.rows()
    book = market.state[4][2][0][1]
    assert len(book[3][0]) <= 20
    kept = min(book[3][0])
    market.trade(4, 1.5, received=100)
    market.trade(180, (kept - kit.START) / 1_000_000 + 0.5, received=100)
    market.tick(100)
    rows = [row for row in market.rows() if row[1] in (1, (kept - kit.START) / 1_000_000)]
    assert rows == [("1s", 1, "stale"), ("1s", (kept - kit.START) / 1_000_000, 1, 2, 2)]


def test_bars_say_how_many_ids_they_may_miss(market: Market) -> None:
    market.trade(1, 0.5)
    market.trade(5, 2.5)  # 2, 3 and 4 are missing between them
    market.trade(6, 3.5)
    market.trade(7, 9)
    assert market.rows() == [("1s", 0, 0, 1, 3), ("1s", 2, 0, 1, 3), ("1s", 3, 0, 1, 0)]
    market.trade(3, 1.5, received=10, kind="repair")
    market.tick(10)
    assert market.rows() == [("1s", 1, 0, 1, 3)]
    market.tape.outcome(market.kit.START + 11_000_000, 2, 2, "empty")
    market.tick(11)  # 2 is lost, 3 in, 4 still to come
    assert market.rows() == [("1s", 0, 1, 1, 2), ("1s", 1, 1, 1, 2), ("1s", 2, 1, 1, 2)]
    market.trade(4, 2.1, received=12, kind="repair")
    market.tick(12)
    assert market.rows() == [("1s", 0, 2, 1, 1), ("1s", 1, 2, 1, 1), ("1s", 2, 2, 2, 1)]
    market.trade(2, 0.6, received=13)
    market.tick(13)
    assert market.rows() == [("1s", 0, 3, 2, 0), ("1s", 1, 3, 1, 0), ("1s", 2, 3, 2, 0)]


def test_a_gap_over_closed_windows_changes_them_once(market: Market) -> None:
    market.trade(1, 0.5)
    market.trade(2, 1.5)
    market.tick(30)
    assert market.rows() == [("1s", 0, 0, 1, 0), ("1s", 1, 0, 1, 0)]
    market.trade(4, 40)
    market.tick(41)
    market.tick(42)
    assert market.rows() == [("1s", 1, 1, 1, 1)]
    market.trade(5, 50)
    assert market.rows() == [("1s", 40, 0, 1, 1)]


def test_a_gap_at_the_end_reaches_to_the_next_trade(market: Market, kit: Any) -> None:
    market.trade(1, 0.5)
    market.tape.frame(kit.START + kit.SECOND, "control", [["h", "BTC-USDT", 2]])
    market.tick(5)
    market.tick(30)
    assert market.rows() == [("1s", 0, 0, 1, 1)]
    market.trade(3, 40)
    market.tick(41)  # where the gap ends is known now, which changes no bar
    market.trade(4, 50)
    assert market.rows() == [("1s", 40, 0, 1, 1)]
    market.trade(5, 60)
    assert market.rows() == [("1s", 50, 0, 1, 0)]


def test_a_gap_at_the_end_reaches_to_the_first_trade_of_the_next_series(market: Market, kit: Any) -> None:
    market.trade(1_000, 0.5)
    market.tape.frame(kit.START + kit.SECOND, "control", [["h", "BTC-USDT", 1_004]])
    market.tick(5)
    market.tape.outcome(kit.START + 6_000_000, 1_001, 1_004, "not_in_history")
    market.tick(30)
    assert market.rows() == [("1s", 0, 0, 1, 4)]
    for identifier, seconds in ((1, 40), (2, 50), (3, 60)):
        market.trade(identifier, seconds)
    assert market.rows() == [("1s", 40, 0, 1, 4), ("1s", 50, 0, 1, 0)]


def test_parts_of_a_forgotten_gap_are_not_missing_from_new_bars(market: Market) -> None:
    market.trade(1, 0.5)
    market.trade(20, 1.5)
    new = 21
    for seconds, part in ((3, 2), (100_000, 10), (200_000, 5)):  # each time a part of what is lost comes
        market.trade(part, 1, received=seconds, kind="repair")
        market.tape.outcome(market.kit.START + (seconds + 1) * market.kit.SECOND, 2, 19, "empty")
        for number in range(3):
            market.trade(new + number, seconds + 10 * number + 5)
        new += 3
        rows = market.rows()
    assert rows[-2:] == [("1s", 200_005, 0, 1, 0), ("1s", 200_015, 0, 1, 0)]


def test_the_windows_before_a_silence_say_what_they_miss(market: Market) -> None:
    market.trade(1, 0.5)
    market.trade(5, 1.5)
    market.trade(6, 2 * DAY / 1_000_000)
    assert {row[-1] for row in market.rows(*NAMES)} == {3}


def test_where_ids_prove_nothing_completeness_is_not_known(market: Market, kit: Any) -> None:
    step = Aggregate(None, continuity="none")
    market.trade(1, 0.5)
    market.trade(9, 20)
    chain = kit.Chain()
    records = step.step(chain.validate.step(chain.decode.step(batch_of(market.tape.frames)))).records
    bars = [one for one in records if isinstance(one, Bar)]
    assert [(bar.window_start, bar.missing) for bar in bars] == [(kit.START, None)]
