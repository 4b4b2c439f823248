"""Bars that the flow had forgotten: the same as it would have made, once, with the next revision."""

from typing import Any

import msgspec
import pytest

from connectors import failpoints
from connectors.failpoints import Failed
from connectors.tokens import tokens_of
from dataflows.steps.windows import NAMES, bars_of
from operate.maintenance import bars
from operate.maintenance.bars import jobs, marks, missing, records, through
from schemas import Bar, Gap, StaleWindow, Trade
from schemas.iceberg import TABLES

SHARD = "binance-0"
START = 1_700_006_400_000_000  # the beginning of a day
MINUTE = 60_000_000


def trade(number: int, **changes: Any) -> Trade:
    """One trade a second."""
    made = Trade(
        message_id=f"binance:spot:BTC-USDT:0:{number}",
        trade_id=str(number),
        symbol="BTC-USDT",
        exchange="binance",
        asset_class="crypto",
        timestamp=START + number * 1_000_000 + number,
        price=f"{100 + number % 7}.000000000000000001",
        quantity="0.5",
        currency="USDT",
        side="BUY" if number % 3 else "SELL",
        trade_conditions=(),
        source_sequence=number,
        ingestion_timestamp=START + number * 1_000_000,
        platform_sequence=number,
        vendor_data=None,
        market="spot",
        base_asset="BTC",
        quote_asset="USDT",
        native_symbol="BTCUSDT",
        first_sequence=number,
        last_sequence=number,
        series=0,
        origin="live",
        shard=SHARD,
    )
    return msgspec.structs.replace(made, **changes)


TRADES = [trade(number) for number in range(1, 150) if number not in (58, 59, 90)]


def gap(first: int, last: int, status: str, position: int = 100) -> Gap:
    gap_id = f"binance:spot:BTC-USDT:0:{first}-{last}"
    return Gap(
        f"{gap_id}:{status}", gap_id, "binance", "crypto", "spot", "BTC-USDT", 0, first, last, status, "ids",
        START, None, SHARD, position,
    )  # type: ignore[arg-type]  # fmt: skip


def mark(interval: str, start: int, position: int) -> StaleWindow:
    return StaleWindow("binance", "spot", "BTC-USDT", interval, start, SHARD, position)


MARKS = [
    mark("1m", START, 200),
    mark("1m", START + MINUTE, 200),
    mark("1h", START, 201),
    mark("1s", START, 201),
]


@pytest.fixture
def lake(filled: Any) -> Any:
    filled.put(Trade, TRADES, 150)
    filled.put(Gap, [gap(58, 59, "open"), gap(90, 90, "open"), gap(90, 90, "repaired", 120)], 150)
    filled.put(Bar, [bar for name in NAMES[:2] for bar in bars_of(TRADES[:20], name)], 150)
    filled.put(StaleWindow, MARKS, 201)
    return filled


def wanted(interval: str, start: int, revision: int, missing: int) -> Bar:
    """The bar as the flow would have made it, caused by what the table of bars has."""
    [bar] = [
        bar
        for bar in bars_of(TRADES, interval, missing=missing, revision=revision)
        if bar.window_start == start
    ]
    return msgspec.structs.replace(bar, platform_sequence=150)


def stored(lake: Any) -> dict[str, Bar]:
    """All bars by their ids, which no two share."""
    found = list(records(Bar, lake.catalog.load_table("gold.bars").scan().to_arrow()))
    assert len({bar.message_id for bar in found}) == len(found)
    return {bar.message_id: bar for bar in found}


def test_each_marked_window_is_summed_up_again_as_the_flow_would(lake: Any) -> None:
    [job] = jobs(lake.catalog)
    assert job.rows == len(MARKS)
    before, bars_before = tokens_of(lake.catalog.load_table("gold.bars"))[SHARD], stored(lake)
    assert job.do() == "3 bars are added"  # no trade is in the first second
    bars_after = stored(lake)
    added = [bars_after[name] for name in sorted(bars_after.keys() - bars_before.keys())]
    assert {name: bars_after[name] for name in bars_before} == bars_before
    assert added == [
        wanted("1h", START, 0, 2),
        wanted("1m", START, 1, 2),
        wanted("1m", START + MINUTE, 0, 2),
    ]
    after = tokens_of(lake.catalog.load_table("gold.bars"))[SHARD]
    assert after == msgspec.structs.replace(before, added=3)
    assert list(jobs(lake.catalog)) == []


def test_a_later_mark_brings_the_next_revision(lake: Any) -> None:
    next(jobs(lake.catalog)).do()
    lake.put(Trade, [trade(58, platform_sequence=210, ingestion_timestamp=START)], 210)
    lake.put(StaleWindow, [mark("1m", START, 211)], 211)
    [job] = jobs(lake.catalog)
    assert job.rows == 1
    assert job.do() == "1 bars are added"
    newest = max(
        (
            bar
            for bar in records(Bar, lake.catalog.load_table("gold.bars").scan().to_arrow())
            if bar.interval == "1m" and bar.window_start == START
        ),
        key=lambda bar: bar.revision,
    )
    assert (newest.revision, newest.trade_count) == (2, 58)


@pytest.mark.parametrize("place", ["maintain.before_catalog", "maintain.after_catalog"])
def test_a_crash_at_any_moment_adds_no_bar_twice(
    lake: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{place}:error"))
    with pytest.raises(Failed):
        next(jobs(lake.catalog)).do()
    for job in jobs(lake.catalog):
        assert job.do() == "3 bars are added"
    assert lake.catalog.load_table("gold.bars").scan().to_arrow().num_rows == 21 + 3
    assert through(lake.catalog.load_table("gold.bars")) == {SHARD: 201}


def test_who_comes_second_adds_nothing(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change = bars.change

    def overtaken(*arguments: Any) -> bool:
        monkeypatch.setattr(bars, "change", change)
        assert next(jobs(lake.catalog)).do() == "3 bars are added"
        return change(*arguments)

    monkeypatch.setattr(bars, "change", overtaken)
    assert next(jobs(lake.catalog)).do() == "somebody else has done it"
    assert lake.catalog.load_table("gold.bars").scan().to_arrow().num_rows == 21 + 3


def test_all_marks_of_a_frame_are_dealt_with_together(lake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "WINDOWS_MAX", 3)
    table = lake.catalog.load_table(TABLES[StaleWindow].name)
    assert [one.platform_sequence for one in marks(table, {})] == [200, 200]
    assert [one.platform_sequence for one in marks(table, {SHARD: 200})] == [201, 201]
    assert marks(table, {SHARD: 201}) == []


def test_a_gap_overlaps_the_windows_whose_ids_it_touches() -> None:
    ids = {0: (10, 20)}
    for first, last, count in ((1, 8, 0), (1, 9, 9), (12, 13, 2), (21, 25, 5), (22, 25, 0)):
        assert missing(ids, [gap(first, last, "open")]) == count
    assert missing({1: (10, 20)}, [gap(12, 13, "open")]) == 0


def test_records_come_back_as_they_were(lake: Any) -> None:
    rows = lake.catalog.load_table("silver.trades").scan().to_arrow()
    found = sorted(records(Trade, rows), key=lambda one: one.timestamp)
    assert [msgspec.structs.replace(one, trade_conditions=()) for one in found] == TRADES
