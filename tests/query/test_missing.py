"""What is missing, where ids can prove it."""

from msgspec.structs import replace

from query.answer import Completeness
from query.files import Scope
from query.missing import PROVABLE, completeness, gaps_of
from schemas import Gap
from tests.campaigns.kept import Kept


def test_only_ids_that_prove_something_are_counted(kept: Kept) -> None:
    assert {"binance", "kraken", "coinbase"} <= PROVABLE
    assert completeness(kept.reader, Scope("nobody"), None, 5) == Completeness()
    assert completeness(kept.reader, Scope("kraken"), None, 5) == Completeness(0, 5)
    whole = completeness(kept.reader, Scope("binance"), None, 5)
    assert whole.missing
    assert whole.expected == whole.missing + 5


def test_gaps_count_where_they_were_found(kept: Kept) -> None:
    found = sorted({row["found"] for row in kept.rows["Gap"]})
    middle = found[len(found) // 2]
    before = completeness(kept.reader, Scope(until=middle), None, 0).missing
    after = completeness(kept.reader, Scope(since=middle), None, 0).missing
    assert before is not None
    assert after is not None
    assert before + after == completeness(kept.reader, Scope(), None, 0).missing


def test_a_gap_is_told_once_by_its_last_row(kept: Kept) -> None:
    view = kept.reader.at(Gap)
    sql, part = gaps_of(view, replace(Scope(), exchange="binance"))
    rows = kept.reader.ask(f"from ({sql})", part).to_pylist()
    assert len({row["gap_id"] for row in rows}) == len(rows)
    assert all(row["ids"] == row["last_missing"] - row["first_missing"] + 1 for row in rows)
    assert {row["status"] for row in rows} <= {"open", "lost", "repaired"}
