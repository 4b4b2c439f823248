"""Reading while others write."""

from pathlib import Path

import pyarrow as pa
import pytest

from connectors.catalog import open_catalog
from operate.auditing.auditor import steady
from operate.auditing.reading import Changed, batches, between, journal, opened
from schemas import Trade


def test_a_file_that_has_left_its_table_is_no_damage(store: Path) -> None:
    catalog = open_catalog(store)
    found = opened(catalog)[Trade]
    assert found is not None
    file = found.files[0]
    catalog.load_table("silver.trades").delete(f"platform_sequence <= {file.upper}")
    Path(file.path.removeprefix("file://")).unlink()
    with pytest.raises(Changed):
        list(batches(catalog, found, file, ("symbol",)))


def test_it_begins_again_when_a_table_changes() -> None:
    attempts = iter([Changed("once"), FileNotFoundError("twice"), None])

    def attempt() -> str:
        error = next(attempts)
        if error:
            raise error
        return "done"

    assert steady(attempt) == "done"


def test_a_column_that_a_file_does_not_have_is_null(store: Path) -> None:
    catalog = open_catalog(store)
    found = opened(catalog)[Trade]
    assert found is not None
    with found.table.update_schema() as change:
        change.add_column("later", change._schema.find_type("symbol"))
    again = opened(catalog)[Trade]
    assert again is not None
    rows = next(batches(catalog, again, again.files[0], ("symbol", "later")))
    assert rows["later"].null_count == rows.num_rows > 0


def test_rows_of_some_positions() -> None:
    rows = pa.table({"position": [3, 1, 7]})
    assert between(rows, 1, 3)["position"].to_pylist() == [3]
    assert between(rows, 0, None).num_rows == 3
    assert between(rows, 7, None).num_rows == 0
    assert between(rows.slice(0, 0), 0, 9).num_rows == 0


def test_a_journal_that_is_elsewhere(tmp_path: Path) -> None:
    assert journal(tmp_path, "none", []) is None
