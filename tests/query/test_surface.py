"""Answers as text: nothing is rounded, and nothing is lost."""

from decimal import Decimal

import pyarrow as pa
import pytest

from query.answer import Answer, Completeness
from query.surface import as_text, csv_of, facts, iso, plain
from schemas import Trade
from schemas.iceberg import arrow_schema


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0.000000000000000001", "0.000000000000000001"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("100.000000000000000000", "100"),
        ("0E-18", "0"),
        ("-1.50", "-1.5"),
        ("1E+3", "1000"),
    ],
)
def test_prices_are_the_shortest_plain_text(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text
    column = pa.array([Decimal(amount), None], arrow_schema(Trade).field("price").type)
    assert as_text(pa.table({"price": column}))["price"].to_pylist() == [text, None]


def test_times_are_iso_and_bytes_are_text_or_base64() -> None:
    rows = pa.table({
        "time": pa.array([1_795_274_164_000_001, 0, None], pa.timestamp("us", "UTC")),
        "payload": pa.array([b"{}", b"\xff\x00", None], pa.binary()),
    })  # fmt: skip
    assert as_text(rows).to_pydict() == {
        "time": ["2026-11-21T15:16:04.000001Z", "1970-01-01T00:00:00.000000Z", None],
        "payload": ["{}", None, None],
        "payload_base64": [None, "/wA=", None],
    }


def test_facts_say_what_an_answer_rests_on() -> None:
    answer = Answer(pa.table({}), True, 2**62 + 1, 1_795_274_164_000_000, Completeness(1, 4))
    assert facts(answer) == {
        "simulated": True,
        "snapshot_id": str(2**62 + 1),
        "provisional_from": iso(1_795_274_164_000_000),
        "completeness": {"missing": 1, "expected": 4, "share": 0.75},
    }
    assert facts(Answer(pa.table({}), False))["provisional_from"] is None


def test_lists_and_odd_text_survive_csv() -> None:
    rows = pa.table({"conditions": [["a", "b"], []], "text": ['x,"y"\n', None]})
    assert csv_of(rows) == 'conditions,text\na b,"x,""y""\n"\n,\n'
