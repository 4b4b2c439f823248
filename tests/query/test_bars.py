"""Bars as the flow's fold makes them: any length, closed or open, of a store that ended or one that died."""

from collections import defaultdict
from decimal import Decimal
from typing import Any

import pytest

from connectors.errors import TapeError
from query.bars import SECOND, bars, quotient, size_of
from query.files import Scope
from query.reader import AsOf
from schemas import Bar, Trade
from tests.campaigns.kept import Kept, Row, filled, folded

MONEY = ("open", "high", "low", "close", "volume", "notional", "vwap", "taker_buy_volume")
OTHERS = ("trade_count", "taker_buy_count", "first_trade_id", "last_trade_id")


def content(row: Row) -> tuple[Any, ...]:
    return (*(Decimal(row[name]) for name in MONEY), *(row[name] for name in OTHERS))


def told(rows: list[Row]) -> dict[tuple[str, int], Row]:
    found = {(row["symbol"], micros(row["window_start"])): row for row in rows}
    assert len(found) == len(rows)
    return found


def micros(time: Any) -> int:
    return round(time.timestamp() * SECOND)


def newest_revisions(kept: Kept, interval: str, marks: dict[str, int]) -> dict[tuple[str, int], Row]:
    """The bars that were issued, each as it was issued last."""
    found: dict[tuple[str, int], Row] = {}
    for row in kept.until("Bar", marks):
        if row["interval"] == interval:
            key = row["symbol"], row["window_start"]
            if key not in found or row["revision"] > found[key]["revision"]:
                found[key] = row
    return found


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "15m", "1h", "1d"])
def test_every_stored_length_is_what_its_trades_amount_to(kept: Kept, interval: str) -> None:
    answer = bars(kept.reader, Scope(), interval)
    found = told(answer.rows.to_pylist())
    wanted = folded(kept.rows["Trade"], interval)
    assert found.keys() == wanted.keys()
    assert {key: content(row) for key, row in found.items()} == {
        key: content(row) for key, row in wanted.items()
    }
    stored = newest_revisions(kept, interval, kept.reader.at(Bar).marks())
    for key, row in found.items():
        if row["is_closed"]:
            assert (row["revision"], row["missing"]) == (stored[key]["revision"], stored[key]["missing"])
    assert any(row["revision"] for row in stored.values()) or interval != "1s"


@pytest.mark.parametrize("interval", ["3s", "30s", "2m", "45m", "7d"])
def test_any_multiple_is_the_sum_of_what_it_is_made_of(kept: Kept, interval: str) -> None:
    size = size_of(interval)
    seconds = folded(kept.rows["Trade"], "1s")
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for (symbol, start), row in sorted(seconds.items()):
        groups[symbol, start - start % size].append(row)
    found = told(bars(kept.reader, Scope(), interval).rows.to_pylist())
    assert found.keys() == groups.keys()
    for key, parts in groups.items():
        row = found[key]
        assert row["open"] == Decimal(parts[0]["open"])
        assert row["close"] == Decimal(parts[-1]["close"])
        assert row["high"] == max(Decimal(part["high"]) for part in parts)
        assert row["volume"] == sum(Decimal(part["volume"]) for part in parts)
        assert row["notional"] == sum(Decimal(part["notional"]) for part in parts)
        assert row["trade_count"] == sum(part["trade_count"] for part in parts)
        assert row["first_trade_id"] == parts[0]["first_trade_id"]
        assert row["last_trade_id"] == parts[-1]["last_trade_id"]
        assert row["vwap"] == quotient(row["notional"], row["volume"])


def test_one_symbol_in_an_interval_is_a_part_of_all(kept: Kept) -> None:
    whole = told(bars(kept.reader, Scope(), "1s").rows.to_pylist())
    starts = sorted({start for _, start in whole})
    since, until = starts[len(starts) // 4] + 1, starts[len(starts) // 2] + 1
    for symbol in sorted({symbol for symbol, _ in whole}):
        found = told(bars(kept.reader, Scope("binance", symbol, since, until), "1s").rows.to_pylist())
        assert found == {
            key: row for key, row in whole.items() if key[0] == symbol and since <= key[1] < until
        }
        assert found


@pytest.mark.long
def test_of_a_store_whose_flow_was_killed_no_trade_is_lost_or_counted_twice(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    kept = filled(tmp_path_factory.mktemp("killed") / "simulated", seed, killed=True)
    assert kept.reader.at(Trade).tail.num_rows
    trades = kept.until("Trade", kept.reader.at(Trade).marks())
    assert len(trades) < len(kept.rows["Trade"])
    for interval in ("1s", "1m", "1h"):
        found = told(bars(kept.reader, Scope(), interval).rows.to_pylist())
        issued = newest_revisions(kept, interval, kept.reader.at(Bar).marks())
        wanted = folded(trades, interval)
        assert found.keys() == wanted.keys()
        for key, row in found.items():
            assert content(row) == content(issued[key] if row["is_closed"] else wanted[key])
            assert not row["is_closed"] or key in issued


def test_as_of_a_moment_are_the_bars_of_what_was_received_by_then(kept: Kept) -> None:
    received = sorted(row["ingestion_timestamp"] for row in kept.rows["Trade"])
    moment = received[len(received) // 2]
    past = AsOf(received=moment)
    trades = kept.until("Trade", dict(kept.reader.at(Trade, past).cut or {}))
    assert 0 < len(trades) < len(kept.rows["Trade"])
    found = told(bars(kept.reader, Scope(), "1m", as_of=past).rows.to_pylist())
    issued = newest_revisions(kept, "1m", dict(kept.reader.at(Bar, past).cut or {}))
    wanted = folded(trades, "1m")
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert content(row) == content(issued[key] if row["is_closed"] else wanted[key])


@pytest.mark.parametrize("interval", ["", "0m", "1", "m", "1.5h", "1M", "-1m", "1m; drop table x"])
def test_what_is_no_interval_is_refused(kept: Kept, interval: str) -> None:
    with pytest.raises(TapeError, match="is no interval"):
        bars(kept.reader, Scope(), interval)


def test_a_quotient_is_rounded_half_even_at_18_places() -> None:
    one = Decimal("0.000000000000000001")
    assert quotient(one, Decimal(2)) == 0
    assert quotient(3 * one, Decimal(2)) == 2 * one
    assert quotient(Decimal(2), Decimal(3)) == Decimal("0.666666666666666667")
    assert quotient(None, Decimal(3)) is None
