"""A glance at the markets says what the rows say."""

from collections import Counter
from decimal import Decimal
from statistics import median

import pytest

from query.files import Scope
from query.markets import GAPS, RATE, markets
from query.surface import as_text
from tests.campaigns.kept import Kept

SECOND = 1_000_000


def test_a_glance_says_of_each_market_what_its_rows_say(kept: Kept) -> None:
    trades, gaps = kept.rows["Trade"], kept.rows["Gap"]
    now = max(row["timestamp"] for row in trades) + SECOND
    seen = {row["symbol"]: row for row in as_text(markets(kept.reader, Scope(), now).rows).to_pylist()}
    assert seen.keys() == {row["symbol"] for row in trades}
    stands = {row["gap_id"]: row for row in gaps if row["found"] >= now - GAPS and row["status"] != "split"}
    gone = {row["gap_id"] for row in gaps if row["status"] == "split"}
    for symbol, row in seen.items():
        own = [one for one in trades if one["symbol"] == symbol]
        last = max(own, key=lambda one: (one["timestamp"], one["series"], one["source_sequence"]))
        recent = [one for one in own if one["timestamp"] >= now - RATE and one["origin"] == "live"]
        holes = [one for key, one in stands.items() if one["symbol"] == symbol and key not in gone]
        ids: Counter[str] = Counter()
        for one in holes:
            ids[one["status"]] += one["last_missing"] - one["first_missing"] + 1
        assert (Decimal(row["price"]), row["side"]) == (Decimal(last["price"]), last["side"])
        assert row["age_seconds"] == pytest.approx((now - last["timestamp"]) / SECOND)
        assert row["trades_per_second"] == pytest.approx(len(recent) * SECOND / RATE, abs=0.051)
        if recent:
            lag = median(one["ingestion_timestamp"] - one["timestamp"] for one in recent) / SECOND
            assert row["lag_seconds"] == pytest.approx(lag, abs=0.001)
        assert (row["gaps"], row["open_ids"], row["lost_ids"]) == (len(holes), ids["open"], ids["lost"])
    assert sum(row["trades_per_second"] for row in seen.values()) > 0
    assert sum(row["gaps"] for row in seen.values()) > 0


def test_a_glance_at_one_market_is_of_that_one(kept: Kept) -> None:
    rows = markets(kept.reader, Scope("binance", "BTC0-USDT"), 0).rows
    assert rows.column("symbol").to_pylist() == ["BTC0-USDT"]
    assert not markets(kept.reader, Scope("kraken"), 0).rows.num_rows
