"""Every question about rows, against what the steps make of the same journals."""

from collections import Counter
from decimal import Decimal

import pyarrow as pa
import pytest

from connectors.errors import TapeError
from query import lake
from query.answer import Answer
from query.files import Scope
from query.reader import AsOf
from schemas import Trade
from tests.campaigns.kept import Kept, Row, folded

HOSTILE = [
    "' or 1=1 --",
    '"; drop view trades; --',
    "$silver_trades_0",
    "BTC0-USDT' union select '",
    "\x00",
    "%",
]


def ids(answer: Answer | pa.Table) -> list[str]:
    rows = answer.rows if isinstance(answer, Answer) else answer
    return list(rows.column("message_id").to_pylist())


def in_order(rows: list[Row], time: str = "timestamp") -> list[str]:
    return [row["message_id"] for row in sorted(rows, key=lambda row: (row[time], row["message_id"]))]


def test_trades_are_exactly_those_that_the_steps_made(kept: Kept) -> None:
    answer = lake.trades(kept.reader, Scope(), limit=100_000)
    assert ids(answer) == in_order(kept.rows["Trade"])
    wanted = {row["message_id"]: row for row in kept.rows["Trade"]}
    for row in answer.rows.to_pylist():
        made = wanted[row["message_id"]]
        assert row["price"] == Decimal(made["price"])
        assert row["quantity"] == Decimal(made["quantity"])
        assert {
            name: row[name] for name in ("symbol", "side", "trade_id", "origin", "platform_sequence")
        } == {name: made[name] for name in ("symbol", "side", "trade_id", "origin", "platform_sequence")}
    assert answer.simulated
    assert answer.provisional_from is None
    assert answer.snapshot_id == kept.reader.load("silver.trades").current_snapshot().snapshot_id


def test_quotes_and_dead_letters_too(kept: Kept) -> None:
    assert ids(lake.quotes(kept.reader, Scope(), limit=100_000)) == in_order(kept.rows["Quote"])
    letters = lake.dead_letters(kept.reader, Scope(), limit=100_000)
    assert ids(letters) == in_order(kept.rows["DeadLetter"], "received")
    refused = lake.dead_letters(kept.reader, Scope(), reason="not_positive", limit=100_000)
    wanted = [row for row in kept.rows["DeadLetter"] if row["reason"] == "not_positive"]
    assert ids(refused) == in_order(wanted, "received")
    assert wanted


def test_pages_are_the_whole_whatever_their_length(kept: Kept) -> None:
    wanted = in_order(kept.rows["Trade"])
    for limit in (7, 500, len(wanted), len(wanted) + 1):
        found: list[str] = []
        after = None
        while True:
            page = lake.trades(kept.reader, Scope(), after=after, limit=limit).rows
            if not page.num_rows or (limit == 7 and len(found) > 70):
                break
            found += ids(page)
            after = page.column("timestamp").cast(pa.int64())[-1].as_py(), found[-1]
        assert found == wanted[: len(found)]
        assert limit == 7 or len(found) == len(wanted)


def test_the_newest_come_last(kept: Kept) -> None:
    wanted = in_order(kept.rows["Trade"])
    for limit in (1, 20, 10_000):
        assert ids(lake.trades(kept.reader, Scope(), newest=True, limit=limit)) == wanted[-limit:]


def test_a_scope_is_held_in_every_direction(kept: Kept) -> None:
    times = sorted(row["timestamp"] for row in kept.rows["Trade"])
    since, until = times[len(times) // 3], times[2 * len(times) // 3]
    for symbol in ("BTC0-USDT", "SOL1-USDT"):
        answer = lake.trades(kept.reader, Scope("binance", symbol, since, until), limit=100_000)
        wanted = [
            row for row in kept.rows["Trade"] if row["symbol"] == symbol and since <= row["timestamp"] < until
        ]
        assert ids(answer) == in_order(wanted)
        assert wanted
    assert lake.trades(kept.reader, Scope("kraken")).rows.num_rows == 0


def test_one_trade_is_found_by_its_id(kept: Kept) -> None:
    one = kept.rows["Trade"][len(kept.rows["Trade"]) // 2]
    found = lake.trades(kept.reader, Scope(symbol=one["symbol"]), trade_id=one["trade_id"])
    assert ids(found) == [one["message_id"]]
    assert lake.trades(kept.reader, Scope(), trade_id="no such id").rows.num_rows == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_are_only_words(kept: Kept, text: str) -> None:
    assert lake.trades(kept.reader, Scope(symbol=text)).rows.num_rows == 0
    assert lake.trades(kept.reader, Scope(exchange=text)).rows.num_rows == 0
    assert lake.trades(kept.reader, Scope(), trade_id=text).rows.num_rows == 0
    assert lake.dead_letters(kept.reader, Scope(), reason=text).rows.num_rows == 0
    assert lake.gaps(kept.reader, Scope(), status=text).rows.num_rows == 0
    with pytest.raises(TapeError, match="unknown tag"):
        lake.trades(kept.reader, Scope(), as_of=AsOf(tag=text))


def standing(kept: Kept) -> dict[str, Row]:
    """Each gap as its last row says, but for those that were split."""
    last: dict[str, Row] = {}
    for row in kept.rows["Gap"]:
        last[row["gap_id"]] = row
    return {gap_id: row for gap_id, row in last.items() if row["status"] != "split"}


def test_gaps_are_told_as_they_stand(kept: Kept) -> None:
    wanted = standing(kept)
    found = {row["gap_id"]: row for row in lake.gaps(kept.reader, Scope(), limit=100_000).rows.to_pylist()}
    assert {gap_id: row["status"] for gap_id, row in found.items()} == {
        gap_id: row["status"] for gap_id, row in wanted.items()
    }
    statuses = Counter(row["status"] for row in wanted.values())
    assert statuses.keys() >= {"open", "repaired"}
    for status, count in statuses.items():
        assert lake.gaps(kept.reader, Scope(), status=status, limit=100_000).rows.num_rows == count


def test_completeness_is_what_came_beside_what_is_missing(kept: Kept) -> None:
    missing = {
        symbol: sum(
            row["last_missing"] - row["first_missing"] + 1
            for row in standing(kept).values()
            if row["symbol"] == symbol and row["status"] in ("open", "lost")
        )
        for symbol in {row["symbol"] for row in kept.rows["Trade"]}
    }
    came = Counter(row["symbol"] for row in kept.rows["Trade"])
    answer = lake.complete(kept.reader, Scope(), "1d")
    assert {row["symbol"]: (row["received"], row["missing"]) for row in answer.rows.to_pylist()} == {
        symbol: (came[symbol], missing[symbol]) for symbol in came
    }
    found = lake.trades(kept.reader, Scope(), limit=100_000).completeness
    assert (found.missing, found.expected) == (
        sum(missing.values()), sum(missing.values()) + len(kept.rows["Trade"])
    )  # fmt: skip
    assert found.missing
    assert lake.quotes(kept.reader, Scope()).completeness.missing is None


def test_a_summary_and_the_top_are_sums_of_the_same_trades(kept: Kept) -> None:
    day = kept.rows["Trade"][-1]["timestamp"]
    days = folded(kept.rows["Trade"], "1d")
    rows = lake.summary(kept.reader, Scope(), day).rows.to_pylist()
    assert {row["symbol"]: (row["close"], row["vwap"]) for row in rows} == {
        symbol: (Decimal(bar["close"]), Decimal(bar["vwap"])) for (symbol, _), bar in days.items()
    }
    top = [
        (row["symbol"], row["notional"]) for row in lake.top(kept.reader, Scope(), limit=3).rows.to_pylist()
    ]
    totals = sorted(((Decimal(bar["notional"]), symbol) for (symbol, _), bar in days.items()), reverse=True)
    assert top == [(symbol, amount) for amount, symbol in totals[:3]]


def test_a_replay_brings_all_events_in_order_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lake, "REPLAY", 10_000_000)
    parts = list(lake.replay(kept.reader, Scope()))
    assert len(parts) > 2
    found = [(row["timestamp"], row["message_id"]) for part in parts for row in part.to_pylist()]
    assert [time for time, _ in found] == sorted(time for time, _ in found)
    wanted = [row["message_id"] for kind in ("Trade", "Quote") for row in kept.rows[kind]]
    assert Counter(message_id for _, message_id in found) == Counter(wanted)
    assert not list(lake.replay(kept.reader, Scope("kraken")))


def test_stats_and_venues_count_what_is_there(kept: Kept) -> None:
    rows = lake.stats(kept.reader, Scope()).rows.to_pylist()
    counts = {row["table"]: row["rows"] for row in rows}
    assert counts["silver.trades"] == len(kept.rows["Trade"])
    assert counts["silver.gaps"] == len(kept.rows["Gap"])
    assert counts["gold.bars"] == len(kept.rows["Bar"])
    assert lake.venues(kept.reader, Scope()).rows.to_pylist()[0]["trades"] == len(kept.rows["Trade"])
    assert lake.stats(kept.reader, Scope("kraken")).rows.num_rows == 0


def test_every_snapshot_can_be_travelled_to(kept: Kept) -> None:
    listed = [row for row in lake.snapshots(kept.reader).rows.to_pylist() if row["table"] == "silver.trades"]
    assert len(listed) > 3
    table = kept.reader.load("silver.trades")
    for row in listed[:: len(listed) // 3]:
        past = AsOf(snapshot=int(row["snapshot_id"]))
        there = table.scan(snapshot_id=past.snapshot).to_arrow()
        found = lake.trades(kept.reader, Scope(), limit=100_000, as_of=past)
        assert sorted(ids(found)) == sorted(there["message_id"].to_pylist())
        assert found.snapshot_id == past.snapshot
        # Of another table, the one that was there at that time.
        assert lake.quotes(kept.reader, Scope(), as_of=past).rows.num_rows >= 0


def test_as_of_a_moment_is_what_was_received_by_then(kept: Kept) -> None:
    times = sorted(row["ingestion_timestamp"] for row in kept.rows["Trade"])
    moment = times[len(times) // 2]
    found = lake.trades(kept.reader, Scope(), limit=100_000, as_of=AsOf(received=moment))
    wanted = [row for row in kept.rows["Trade"] if row["ingestion_timestamp"] <= moment]
    assert sorted(ids(found)) == sorted(row["message_id"] for row in wanted)


def test_an_unknown_past_is_told(kept: Kept) -> None:
    with pytest.raises(TapeError, match="unknown snapshot '7'"):
        lake.trades(kept.reader, Scope(), as_of=AsOf(snapshot=7))
    with pytest.raises(TapeError, match="unknown tag 'mian'") as told:
        lake.trades(kept.reader, Scope(), as_of=AsOf(tag="mian"))
    assert told.value.hint == "did you mean main?"


def test_last_day_is_that_of_the_newest_trade(kept: Kept) -> None:
    assert lake.last_day(kept.reader) == max(row["timestamp"] for row in kept.rows["Trade"])
    assert kept.reader.at(Trade).oldest({}) == min(row["timestamp"] for row in kept.rows["Trade"])
