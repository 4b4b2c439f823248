"""What no damage of a store shows: checks over facts that are written down here."""

import msgspec
import pyarrow as pa

from connectors.closing import Closing, Life
from connectors.tokens import Token
from operate.auditing.checks import (
    GAP_SECONDS_MAX,
    frames_counted,
    frames_kept,
    gaps_ended,
    ids_complete,
    messages_accounted,
    metrics_agree,
)
from operate.auditing.collecting import GapRow
from operate.auditing.facts import ORDER, Facts, JournalFacts
from schemas import DeadLetter, Frame, Quote, Trade
from tests.operate.auditing.conftest import SHARD, made, nothing, token


def frames(first: int, count: int, kind: str = "tick") -> pa.Table:
    numbers = list(range(first, first + count))
    return pa.table(
        {"position": numbers, "connection": [1] * count, "number": numbers, "kind": [kind] * count}
    )


def gap(position: int, status: str, first: int = 5) -> GapRow:
    return GapRow(SHARD, position, f"gap-{first}", status, (SHARD, "binance", "BTC-USDT", 0), first, first)


def test_a_gap_that_nobody_repairs_is_told() -> None:
    facts = nothing()
    facts.rows.frames.take(SHARD, frames(1, GAP_SECONDS_MAX + 10))
    facts.rows.gaps.rows += [gap(3, "open"), gap(3, "open", 6), gap(9, "repaired", 6), gap(100, "open", 7)]
    found = gaps_ended(facts)
    assert (found.violations, found.counted) == (1, 3)
    assert found.offenders == (f"gap-5 open for {GAP_SECONDS_MAX + 7:,} seconds of capture",)
    assert found.note == "2 open, being repaired"


def test_only_the_newest_life_of_capture_counts() -> None:
    facts = nothing()
    facts.rows.frames.take(SHARD, frames(1, GAP_SECONDS_MAX + 10))
    later = frames(GAP_SECONDS_MAX + 11, 5)
    field = later.schema.get_field_index("connection")
    facts.rows.frames.take(SHARD, later.set_column(field, "connection", pa.array([2] * 5)))
    facts.rows.gaps.rows.append(gap(3, "open"))
    assert not gaps_ended(facts).violations


def test_metrics_are_compared_with_the_ledger_of_their_life() -> None:
    facts = nothing()
    life = {SHARD: Life(20, {"frames_tick": 3, "gaps_open": 1})}
    facts.closings.append(Closing(life, {"binance": {"frames_tick": 2, "frames_data": 9}, "kraken": {}}))
    assert metrics_agree(facts).verdict == "not checked"
    said = Token("store", 1, "writer", 20, {"frames_tick": 5, "gaps_open": 1})
    facts.table(Frame).commits.append(made(1, said, 0))
    assert (metrics_agree(facts).verdict, metrics_agree(facts).counted) == ("holds", 2)
    facts.table(Frame).commits[0].tokens[SHARD].counts["gaps_open"] = 4
    assert metrics_agree(facts).offenders == ("binance gaps_open: 0 in metrics, 3 in the ledger",)


def test_what_a_disk_has_lost_and_retention_has_taken_is_not_missing() -> None:
    facts = nothing()
    bronze = facts.table(Frame)
    bronze.tokens[SHARD] = token(20, 13, "bronze.frames", removed=4)
    facts.rows.frames.take(SHARD, frames(5, 6))
    facts.rows.frames.take(SHARD, frames(14, 7))
    facts.journals[SHARD] = JournalFacts(25, [(11, 13)], [])
    found = frames_kept(facts)
    lost = "3 frames of binance-0 are recorded as lost with its disk: 11-13"
    assert (found.violations, found.note) == (0, f"{lost}; 5 newer frames wait to be published")
    facts.journals[SHARD] = JournalFacts(25, [], [])
    assert frames_kept(facts).offenders == (
        "binance-0 1-4 missing in bronze",
        "binance-0 11-13 missing in bronze",
    )
    facts.journals[SHARD] = None
    assert frames_kept(facts).note == "the journal of binance-0 is not on this host"


def test_frames_that_are_nowhere_do_not_wait() -> None:
    facts = nothing()
    facts.rows.frames.take(SHARD, frames(1, 20))
    facts.table(Frame).tokens[SHARD] = token(20, 20, "bronze.frames")
    facts.journals[SHARD] = JournalFacts(40, [(38, 39)], [], trimmed=[(1, 10), (11, 25)], expected=42)
    found = frames_kept(facts)
    assert found.offenders == (
        "binance-0 21-25 neither in bronze nor in a segment",
        "binance-0 41-42 missing in the journal",
    )
    assert found.note.endswith("; 13 newer frames wait to be published")
    # A shard that an old catalog does not know at all.
    facts.journals["kraken-0"] = JournalFacts(9, [], [], trimmed=[(1, 7)])
    assert "kraken-0 1-7 neither in bronze nor in a segment" in frames_kept(facts).offenders


def retired() -> Facts:
    """Five quotes and four trades were decoded, one was refused; retention took three quotes."""
    facts = nothing()
    counts = {"trades": 4, "quotes": 5, "rows_silver.quotes": 5, "rows_silver.trades": 3, "frames": 9}
    counts |= {"rows_silver.dead_letters": 1, "dead_letters_price": 1}
    for each in ORDER:
        facts.table(each).tokens[SHARD] = Token("store", 1, "writer", 9, counts, removed=3 * (each is Quote))
    facts.table(Quote).rows_at_cut[SHARD] = 2
    facts.table(Trade).rows_at_cut[SHARD] = 3
    facts.rows.frames.take(SHARD, frames(1, 9, "data"))
    facts.rows.dead_letters.stages[SHARD, "validate"] = 1
    facts.rows.dead_letters.reasons[SHARD, "price"] = 1
    return facts


def test_retention_of_quotes_leaves_the_other_checks_as_they_are() -> None:
    facts = retired()
    assert not messages_accounted(facts).violations
    told = f"retention took silver.quotes of {SHARD}: those as the ledger counted them"
    assert messages_accounted(facts).note == told
    facts.table(Trade).rows_at_cut[SHARD] = 2
    facts.rows.dead_letters.reasons[SHARD, "price"] = 0
    assert messages_accounted(facts).violations == 1
    assert (frames_counted(facts).violations, frames_counted(facts).note) == (1, "")


def test_what_retention_has_taken_may_be_missing_and_no_more_and_is_told() -> None:
    facts = retired()
    for each in (Frame, DeadLetter, Trade):
        tokens = facts.table(each).tokens
        tokens[SHARD] = msgspec.structs.replace(tokens[SHARD], removed=1)
    facts.rows.dead_letters.stages.clear()
    facts.rows.dead_letters.reasons.clear()
    facts.rows.frames.kinds[SHARD, "data"] = 8
    assert not messages_accounted(facts).violations
    assert not frames_counted(facts).violations
    took = f"retention took frames of {SHARD}, dead letters of {SHARD}: only that there are not too many"
    assert frames_counted(facts).note == took
    facts.rows.dead_letters.reasons[SHARD, "side"] = 1
    facts.rows.frames.kinds[SHARD, "data"] = 7
    assert frames_counted(facts).offenders == (
        f"{SHARD} data or control: 7 frames, 9 counted",
        f"{SHARD} dead_letters_side: 1 rows, 0 counted",
    )
    facts.rows.dead_letters.stages[SHARD, "validate"] = 2
    assert messages_accounted(facts).violations == 1


def test_ids_of_which_retention_took_some_are_not_judged_and_that_is_said() -> None:
    facts = retired()
    tokens = facts.table(Trade).tokens
    tokens[SHARD] = msgspec.structs.replace(tokens[SHARD], removed=1)
    row = {"exchange": "binance", "symbol": "BTC-USDT", "series": 0, "first_sequence": 5, "last_sequence": 5}
    facts.rows.trades.take(SHARD, pa.Table.from_pylist([row | {"position": 7}]))
    found = ids_complete(facts)
    assert (found.verdict, found.note) == (
        "not checked",
        f"not {SHARD}, of which retention took trades or gaps",
    )
