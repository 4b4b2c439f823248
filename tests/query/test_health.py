"""How a venue is: by what was heard of it last, and what is missing."""

from query.files import Scope
from query.health import HEARD, STALE_SECONDS, health
from tests.campaigns.kept import Kept


def test_a_venue_is_in_the_state_that_its_frames_and_gaps_show(kept: Kept) -> None:
    last = max(row["ingestion_timestamp"] for row in kept.rows["Trade"])
    (now,) = health(kept.reader, Scope(), last + 1_000_000).rows.to_pylist()
    assert now["exchange"] == "binance"
    assert now["state"] == "repairing"
    assert 0 <= now["age_seconds"] <= 1
    assert now["trades_per_second"] > 0
    newest = {row["gap_id"]: row for row in kept.rows["Gap"]}
    ids = {"open": 0, "lost": 0}
    for row in newest.values():
        if row["status"] in ids:
            ids[row["status"]] += row["last_missing"] - row["first_missing"] + 1
    assert (now["open_ids"], now["lost_ids"]) == (ids["open"], ids["lost"])
    (later,) = health(kept.reader, Scope("binance"), last + (STALE_SECONDS + 2) * 1_000_000).rows.to_pylist()
    assert later["state"] == "stale"
    (long_after,) = health(kept.reader, Scope(), last + 2 * HEARD).rows.to_pylist()
    assert (long_after["state"], long_after["last_received"]) == ("stale", None)
    assert health(kept.reader, Scope("kraken"), last).rows.num_rows == 0
