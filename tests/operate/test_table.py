"""Rows for people and for programs."""

import json

import pytest

from operate.table import cell, print_rows

ROWS = [
    {"venue": "binance", "frames": 12_345, "seen": None, "open": True},
    {"venue": "[red]kraken\x1b[2J\n", "frames": 6, "seen": ["a", "b"], "open": False},
]


def test_a_table_has_a_row_a_line_and_obeys_no_venue(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "venue                 frames  seen  open",
        "binance               12,345  -      yes",
        "[red]kraken\\x1b[2J\\n       6  a, b    no",
    ]


def test_programs_get_every_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, as_json=True)
    assert json.loads(capsys.readouterr().out) == ROWS


def test_columns_are_named_where_there_are_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], as_json=False, columns=["venue", "last_frame"])
    assert capsys.readouterr().out == "venue  last frame\n"
    print_rows([], as_json=True, columns=["venue"])
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(1.5, "1.5"), (1_000, "1,000"), ((), ""), ("é…", "é…"), ("\u202etxt", "\\u202etxt")]
)
def test_one_cell(value: object, shown: str) -> None:
    assert cell(value) == shown
