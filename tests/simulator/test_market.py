"""The market is the same for the same seed, however it is advanced, and its history answers questions."""

from itertools import pairwise

import pytest

from simulator.frames import frames
from simulator.market import Listing, Market, Moment, Series
from simulator.venues import FACES

START = 1_767_225_600_000_000
LISTINGS = (
    Listing("BTCUSDT", "BTC", "USDT", "87000.00", 2, 5, 1_001, 5),
    Listing("QUIET", "Q", "USDT", "0.00000123", 8, 0, 1, 0.01, ("OTHER",)),
)


def market(rate: float = 1_000, *, seed: str = "1", history_max: int = 200_000) -> Market:
    return Market(LISTINGS, seed=seed, start=START, rate=rate, history_max=history_max)


def happened(moments: list[Moment]) -> list[object]:
    return [(one.market.listing.native, one.trades, one.first_aggregate, one.quote) for one in moments]


def test_the_same_seed_makes_the_same_market_however_it_is_cut(seed: int) -> None:
    whole, cut, other = market(seed=f"{seed}"), market(seed=f"{seed}"), market(seed=f"{seed}+")
    moments = happened(whole.advance(START + 3_000_000))
    pieces = [one for step in range(1, 301) for one in happened(cut.advance(START + step * 10_000))]
    assert pieces == moments
    assert happened(other.advance(START + 3_000_000)) != moments


def test_steps_bounded_in_trades_lose_nothing() -> None:
    whole, stepped = market(), market()
    moments: list[Moment] = []
    while step := stepped.advance(START + 3_000_000, 50):
        moments += step
    assert happened(moments) == happened(whole.advance(START + 3_000_000))


def test_ids_are_contiguous_and_times_rise() -> None:
    one = market()
    moments = one.advance(START + 5_000_000)
    for native, first in (("BTCUSDT", 1_001), ("QUIET", 1)):
        trades = [trade for each in moments if each.market.listing.native == native for trade in each.trades]
        assert [trade.id for trade in trades] == list(range(first, first + len(trades)))
        assert all(after.time > before.time for before, after in pairwise(trades))
        assert all(trade.price > 0 and trade.quantity > 0 for trade in trades)


def test_the_bid_is_below_the_ask_and_updates_rise() -> None:
    quotes = [
        one.quote for one in market().advance(START + 5_000_000) if one.market.listing.native == "BTCUSDT"
    ]
    assert all(0 < one.bid < one.ask for one in quotes)
    assert all(after.update > before.update for before, after in pairwise(quotes))


@pytest.mark.no_cover
def test_the_rate_is_what_was_asked_for_with_bursts_and_a_quiet_symbol() -> None:
    one, seconds = market(rate=100), 1_800
    counts = [
        sum(len(each.trades) for each in one.advance(START + second * 1_000_000))
        for second in range(1, seconds)
    ]
    assert 85 < sum(counts) / seconds < 115
    assert max(counts) > 500
    assert 0 < one.symbols["QUIET"].last_id() < sum(counts) / 100


def test_a_rate_of_nothing_waits_for_orders() -> None:
    one = market(rate=0)
    assert one.advance(START + 60_000_000) == []
    moments = one.trades_now("Q-USDT", 3, START + 60_000_000)
    assert [trade.id for each in moments for trade in each.trades] == [1, 2, 3]
    assert one.names["OTHER"].last_id() == 3


def test_history_from_an_id_below_an_id_and_since_a_time() -> None:
    symbol = market(rate=0).symbols["BTCUSDT"]
    for second in range(10):
        symbol.trade(START + second * 1_000_000, 1)
    assert [one.id for one in symbol.from_id(1_004, 3)] == [1_004, 1_005, 1_006]
    assert [one.id for one in symbol.from_id(1, 2)] == [1_001, 1_002]
    assert symbol.from_id(1_011, 5) == []
    assert [one.id for one in symbol.newest(2)] == [1_009, 1_010]
    assert [one.id for one in symbol.newest(2, below=1_004)] == [1_002, 1_003]
    assert symbol.newest(2, below=1_001) == []
    fifth = symbol.find(1_005)
    assert fifth is not None
    assert [one.id for one in symbol.since(fifth.time, 2)] == [1_006, 1_007]
    assert [one.id for one in symbol.since(fifth.time - 1, 1)] == [1_005]


def test_history_forgets_the_oldest() -> None:
    symbol = market(rate=0, history_max=100).symbols["BTCUSDT"]
    for _ in range(1_000):
        symbol.trade(START, 1)
    assert symbol.last_id() == 2_000
    assert 100 <= len(symbol.series[0].times) <= 125
    assert symbol.find(1_500) is None
    assert symbol.from_id(1_500, 1)[0].id == symbol.series[0].first
    assert symbol.series[0].made_first == 1_001


def test_a_reset_begins_again_at_one_and_keeps_what_was() -> None:
    symbol = market(rate=0).symbols["BTCUSDT"]
    symbol.trade(START, 3)
    symbol.reset()
    symbol.trade(START, 2)
    assert [(one.made_first, one.last) for one in symbol.series] == [(1_001, 1_003), (1, 2)]
    assert [one.id for one in symbol.from_id(1_002, 5)] == [1_002, 1_003]
    assert [one.id for one in symbol.from_id(1, 5)] == [1, 2]
    assert [one.id for one in symbol.newest(5, below=1_003)] == [1_001, 1_002]
    assert [one.id for one in symbol.since(0, 9)] == [1_001, 1_002, 1_003, 1, 2]


def test_less_may_be_shown_than_there_is() -> None:
    symbol = market(rate=0).symbols["BTCUSDT"]
    symbol.trade(START, 9)
    symbol.shown_max = 3
    assert [one.id for one in symbol.from_id(1_001, 5)] == [1_007, 1_008, 1_009]
    assert [one.id for one in symbol.newest(5)] == [1_007, 1_008, 1_009]
    assert symbol.newest(5, below=1_006) == []
    assert [one.id for one in symbol.since(0, 5)] == [1_007, 1_008, 1_009]
    assert symbol.find(1_001) is not None


def test_an_empty_series_ends_before_it_begins() -> None:
    assert Series(7, 7).last == 6


@pytest.mark.parametrize("venue", list(FACES))
def test_frames_without_a_client_repeat_byte_for_byte(venue: str, seed: int) -> None:
    written = frames(venue, seed, 2_000, quotes=True)
    assert len(written) == 2_000
    assert frames(venue, seed, 2_000, quotes=True) == written
    assert frames(venue, seed + 1, 2_000, quotes=True) != written
    assert len(set(frames(venue, seed, 2_000))) == 2_000
