"""The database: it reads the folders that it was given and cannot be talked out of that."""

from pathlib import Path

import duckdb
import pytest

from query.database import SqlError, listed, open_database, read_only


def test_it_reads_its_folders_and_no_others(tmp_path: Path) -> None:
    for name in ("mine", "mine's", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("x\n1\n")
    database = open_database([str(tmp_path / "mine"), str(tmp_path / "mine's")])
    read = "select * from read_csv('{}')"
    assert database.execute(read.format(tmp_path / "mine" / "a.csv")).fetchall() == [(1,)]
    for path in (tmp_path / "other" / "a.csv", tmp_path / "mine" / ".." / "other" / "a.csv"):
        with pytest.raises(duckdb.PermissionException):
            database.execute(read.format(path))
    for text in (
        "set enable_external_access = true",
        "set memory_limit = '1GB'",
        "reset allowed_directories",
    ):
        with pytest.raises(duckdb.Error):
            database.execute(text)


def test_it_keeps_to_its_memory() -> None:
    with pytest.raises(duckdb.OutOfMemoryException):
        open_database([], 64 * 1024 * 1024).execute("select list(range) from range(100000000)").fetchall()


def test_only_what_reads_is_let_through() -> None:
    assert len(read_only("select 1; explain select 2; from range(3)")) == 3
    with pytest.raises(SqlError, match="DROP is refused") as told:
        read_only("select 1; drop table x")
    assert "SELECT" in told.value.hint


def test_places_are_quoted() -> None:
    assert listed(["file:///a'b", "/c"]) == "['/a''b', '/c']"
