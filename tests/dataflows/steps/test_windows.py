"""A bar is a function of the set of its trades, exact, whatever their order and their number of places."""

import random
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import pytest

from dataflows.steps.numbers import NANO
from dataflows.steps.windows import INTERVALS, bars_of, fold, key, unpacked, window_of
from schemas import Bar, Trade, notional
from schemas.money import units

EXACT = Context(prec=200, rounding=ROUND_HALF_EVEN)


def test_a_bar_has_every_field(kit: Any) -> None:
    start = kit.START
    trades = [
        kit.trade(3, start + 900_000, "101.50", "2", "SELL", position=7),
        kit.trade(1, start, "100", "0.5", "BUY", position=3),
        kit.trade(2, start + 100, "99.999999999999", "0.25", "UNKNOWN", position=9),
    ]
    assert bars_of(trades, "1m", missing=4, revision=2) == [
        Bar(
            message_id=f"plain:spot:BTC-USDT:1m:{start - start % 60_000_000}:2",
            symbol="BTC-USDT",
            exchange="plain",
            asset_class="crypto",
            interval="1m",
            window_start=start - start % 60_000_000,
            window_end=start - start % 60_000_000 + 60_000_000,
            open="100",
            high="101.5",
            low="99.999999999999",
            close="101.5",
            volume="2.75",
            notional="277.99999999999975",
            vwap="101.090909090909",
            trade_count=3,
            taker_buy_volume="0.5",
            taker_buy_count=1,
            first_trade_id="1",
            last_trade_id="3",
            missing=4,
            revision=2,
            currency="USDT",
            market="spot",
            base_asset="BTC",
            quote_asset="USDT",
            shard="plain-0",
            platform_sequence=9,
        )
    ]


def test_windows_are_whole_intervals_of_utc(kit: Any) -> None:
    trades = [kit.trade(one, kit.START + one * 1_800_000_000, symbol="XRP-EUR") for one in range(60)]
    for name, size in INTERVALS.items():
        starts = [bar.window_start for bar in bars_of(trades, name)]
        assert starts == sorted({one.timestamp // size * size for one in trades})
    assert [bar.window_start % 86_400_000_000 for bar in bars_of(trades, "1d")] == [0, 0]


def test_trades_of_one_moment_are_ordered_by_id(kit: Any) -> None:
    trades = [kit.trade(one, kit.START, str(one)) for one in (5, 9, 3, 7)]
    window = fold(trades)
    assert (window.first[3], window.last[3]) == ("3", "9")
    (bar,) = bars_of(trades, "1s")
    assert (bar.open, bar.close) == ("3", "9")


@pytest.mark.parametrize("places", [(2, 8), (8, 9), (12, 18), (18, 18)])
def test_a_bar_is_what_decimals_say(kit: Any, seed: int, places: tuple[int, int]) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        trades = [some_trade(kit, chance, one, places) for one in range(1, chance.randrange(2, 30))]
        (bar,) = bars_of(trades, "1d")
        ordered = sorted(trades, key=key)
        prices = [Decimal(one.price) for one in trades]
        volume = exact_sum(Decimal(one.quantity) for one in trades)
        amount = exact_sum(notional(Decimal(one.price), Decimal(one.quantity))[0] for one in trades)
        bought = [one for one in trades if one.side == "BUY"]
        vwap = EXACT.divide(amount, volume).quantize(Decimal(1).scaleb(-18), context=EXACT)
        assert Decimal(bar.open) == Decimal(ordered[0].price)
        assert Decimal(bar.close) == Decimal(ordered[-1].price)
        assert (Decimal(bar.high), Decimal(bar.low)) == (max(prices), min(prices))
        assert (Decimal(bar.volume), Decimal(bar.notional), Decimal(bar.vwap)) == (volume, amount, vwap)
        assert Decimal(bar.taker_buy_volume) == exact_sum(Decimal(one.quantity) for one in bought)
        assert (bar.trade_count, bar.taker_buy_count) == (len(trades), len(bought))
        for text in (bar.open, bar.high, bar.volume, bar.notional, bar.vwap, bar.taker_buy_volume):
            assert text.replace(".", "", 1).isdigit()
        chance.shuffle(trades)
        assert bars_of(trades, "1d") == [bar]


def test_any_parts_add_up_to_the_whole(kit: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        trades = [some_trade(kit, chance, one, (6, 12)) for one in range(1, 20)]
        whole = fold(trades)
        chance.shuffle(trades)
        parts = [fold(trades[at : at + 4]) for at in range(0, len(trades), 4)]
        total = parts[0].copy()
        for part in parts[1:]:
            total.merge(unpacked(part.pack()))
        assert total.pack() == whole.pack()


def test_a_trade_of_a_run_is_a_window_as_the_trade_is(kit: Any, seed: int) -> None:
    chance = random.Random(seed)
    for identifier in range(100):
        trade = some_trade(kit, chance, identifier, (6, 9))
        price, quantity = units(trade.price) // NANO, units(trade.quantity) // NANO
        window = window_of(trade.timestamp, identifier, price, quantity, trade.side)
        assert window.pack() == fold([trade]).pack()


def some_trade(kit: Any, chance: random.Random, identifier: int, places: tuple[int, int]) -> Trade:
    price = f"{chance.randrange(1, 10**6)}.{chance.randrange(10**9) % 10 ** places[0]:0{places[0]}d}"
    size = f"{chance.randrange(100)}.{chance.randrange(1, 10 ** places[1]):0{places[1]}d}"
    side = chance.choice(("BUY", "SELL", "UNKNOWN"))
    made: Trade = kit.trade(identifier, kit.START + chance.randrange(5), price, size, side)
    return made


def exact_sum(numbers: Any) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total
