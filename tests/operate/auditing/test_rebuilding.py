"""Bars and their trades, a day of a symbol at a time."""

import msgspec

from connectors.tokens import Token
from dataflows.steps.windows import bars_of
from operate.auditing.facts import ORDER, Facts, TableFacts
from operate.auditing.findings import Offences
from operate.auditing.rebuilding import Day, judge, some
from schemas import Bar, Trade
from schemas.iceberg import TABLES
from tests.campaigns.lake_driver import rows_of

SHARD = "binance-0"


def trades() -> list[Trade]:
    return [row for position in range(3, 600, 3) for row in rows_of(SHARD, position) if type(row) is Trade]


def day(bars: list[Bar], made: list[Trade]) -> Day:
    one = Day()
    for bar in bars:
        one.take_bar(bar)
    for group in some(made, 17):
        one.take_trades(group)
    return one


def facts() -> Facts:
    found = Facts({each: TableFacts(TABLES[each].name) for each in ORDER}, {}, {})
    found.table(Bar).tokens[SHARD] = Token("store", 1, "writer", 10_000, {})
    return found


def test_bars_are_their_trades_in_any_order() -> None:
    made = trades()
    bars = bars_of(made, "1s")
    offences = Offences()
    assert judge(facts(), day(bars, made[::-1]), set(), offences) == 0
    assert not offences.count
    assert len(bars) > 3


def test_a_bar_that_says_something_else_is_told_with_what() -> None:
    made = trades()
    bars = bars_of(made, "1s")
    bars[1] = msgspec.structs.replace(bars[1], trade_count=99)
    offences = Offences()
    judge(facts(), day(bars, made), set(), offences)
    count = bars_of(made, "1s")[1].trade_count
    assert offences.first == [f"{bars[1].message_id}: trade_count 99 instead of {count}"]


def test_a_trade_that_came_later_waits_for_the_tick() -> None:
    made = trades()
    bars = bars_of(made[:-1], "1d")
    offences = Offences()
    late = msgspec.structs.replace(made[-1], platform_sequence=9_000)
    assert judge(facts(), day(bars, [*made[:-1], late]), set(), offences) == 1
    assert not offences.count


def test_a_window_before_the_last_that_was_closed_has_a_bar() -> None:
    made = trades()
    bars = bars_of(made, "1s")
    offences = Offences()
    judge(facts(), day([*bars[:2], *bars[3:]], made), set(), offences)
    assert offences.first == [f"{bars[2].message_id.rpartition(':')[0]} has no bar"]
