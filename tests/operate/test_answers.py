"""How answers are shown: facts in a line, and a store without tables."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.errors import TapeError
from connectors.slots import open_store
from operate.answers import SHOWN_ROWS, Form, reader_of, said, show
from operate.cli import Session
from query.answer import Answer, Completeness


def test_one_line_says_what_an_answer_rests_on() -> None:
    answer = Answer(pa.table({}), True, 7, 0, Completeness(1, 1_000))
    assert said(answer) == (
        "SIMULATED · snapshot 7 · provisional from 1970-01-01T00:00:00.000000Z · 1 of 1,000 ids missing"
    )
    assert said(Answer(pa.table({}), False)) == "live"


def test_parquet_carries_what_it_rests_on(tmp_path: Path) -> None:
    answer = Answer(pa.table({"a": [1]}), True, 7, None, Completeness(0, 1))
    show(answer, Form(False, False, tmp_path / "x.parquet"))
    facts = json.loads(pq.read_schema(tmp_path / "x.parquet").metadata[b"tape"])
    assert facts["snapshot_id"] == "7"
    assert facts["completeness"] == {"missing": 0, "expected": 1, "share": 1.0}


def test_a_table_is_a_screen_and_a_file_is_everything() -> None:
    assert Form(False, False, None).rows == SHOWN_ROWS
    assert Form(True, False, None).rows > 100_000


def test_a_store_without_tables_is_told_and_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPE_DATA_DIR", str(tmp_path))
    open_store(tmp_path / "simulated", "simulated", ("binance-0",))
    with pytest.raises(TapeError, match="has no tables yet") as told:
        reader_of(Session())
    assert "make run" in told.value.hint
    assert not (tmp_path / "simulated" / "catalog.db").exists()
