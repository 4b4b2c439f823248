"""What is kept of rows."""

import pyarrow as pa

from operate.auditing.collecting import Frames, Trades


def trades(*rows: tuple[int, str, int | None, int | None]) -> pa.Table:
    names = ("position", "symbol", "series", "first_sequence")
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    table = table.append_column("exchange", pa.array(["binance"] * len(rows)))
    return table.append_column("last_sequence", table["first_sequence"])


def test_ids_are_kept_by_series_and_the_first_is_that_of_the_journal() -> None:
    found = Trades()
    found.take(
        "binance-0", trades((7, "A", None, 12), (6, "A", None, 13), (7, "A", 1, 5), (8, "A", None, None))
    )
    found.take("binance-0", trades((9, "A", None, 14), (3, "A", 1, 6)))
    series = "binance-0", "binance", "A", 0
    assert found.ids.account(series).ranges == [(12, 14)]
    assert found.begin(series) == 13
    assert found.begin((*series[:3], 1)) == 6


def test_seconds_are_counted_in_the_newest_life() -> None:
    found = Frames()
    for connection, first in ((5, 1), (9, 4), (5, 7)):  # files come in any order
        rows = {
            "position": [first, first + 1, first + 2],
            "connection": [connection] * 3,
            "number": [1, 2, 3],
        }
        found.take("s", pa.table(rows | {"kind": ["tick", "data", "tick"]}))
    assert found.ticks_after("s", 0) == 2
    assert found.ticks_after("s", 4) == 1
    assert found.ticks_after("s", 0, upto=5) == 1
    assert found.kinds["s", "tick"] == 6
    assert found.ticks_after("other", 0) == 0
