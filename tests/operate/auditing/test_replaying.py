"""Rows as bytes, and frames in parts."""

from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa

from operate.auditing.replaying import Sums, cut_up, lines
from schemas import Frame, StaleWindow
from schemas.iceberg import arrow_schema


def test_only_equal_rows_are_the_same_bytes() -> None:
    kinds = {"text": ["a", "ab", None], "list": [["x", "y"], ["x"], []], "number": [1, 2, None]}
    kinds |= {
        "price": [Decimal("1.5"), Decimal("1E-9"), None],
        "time": [datetime(2026, 1, 1, tzinfo=UTC)] * 3,
    }
    kinds |= {"bytes": [b"\xff", b"", None], "flag": [True, False, None]}
    rows = pa.table(kinds)
    assert len(set(lines(rows))) == 3
    assert lines(rows) == lines(rows.slice(0, 2)) + lines(rows.slice(2))
    other = rows.cast(
        pa.schema([f.with_type(pa.large_string()) if f.name == "text" else f for f in rows.schema])
    )
    assert lines(other) == lines(rows)


def test_sums_need_no_order() -> None:
    schema = arrow_schema(StaleWindow)
    row = {"exchange": "b", "market": "spot", "symbol": "A", "interval": "1m", "shard": "b-0"}
    time = datetime(2026, 1, 1, tzinfo=UTC)
    made = [row | {"window_start": time, "platform_sequence": number} for number in (5, 7, 1_002)]
    one, other = Sums(), Sums()
    one.add(StaleWindow, "b-0", pa.Table.from_pylist(made, schema=schema))
    for each in reversed(made):
        other.add(StaleWindow, "b-0", pa.Table.from_pylist([each], schema=schema))
    assert one == other
    assert one.rows == {("gold.stale_windows", "b-0", 0): 2, ("gold.stale_windows", "b-0", 1): 1}


def test_frames_are_cut_at_tokens_and_where_some_are_missing() -> None:
    frames = [Frame("b", "b-0", position, 1, position, 0, "data", b"") for position in (1, 2, 3, 5, 6, 7)]
    parts = [[frame.position for frame in part] for part in cut_up(iter(frames), {2, 6})]
    assert parts == [[1, 2], [3], [5, 6], [7]]
