"""Anybody's SQL: the tables as they are now, and no way to anything else."""

from pathlib import Path

import pytest

from query.database import SqlError
from query.sql import Sql
from schemas import Trade
from tests.campaigns.kept import Kept

REFUSED = [
    "copy trades to '{place}/stolen.csv'",
    "copy (select 1) to '{lake}/silver/trades/data/evil.parquet'",
    "attach '{place}/other.db'",
    "create table mine as select 1",
    "drop view trades",
    "insert into trades select * from trades",
    "set enable_external_access = true",
    "pragma database_list",
    "install httpfs",
    "load httpfs",
    "call pragma_version()",
    "export database '{place}'",
    "select 1; drop view trades",
    "prepare p as select 1",
    "vacuum",
]
UNREACHABLE = [
    "select * from read_text('{place}/secret')",
    "select * from read_csv('{place}/secret')",
    "select * from '{place}/secret'",
    "select * from read_parquet('http://127.0.0.1:9/x.parquet')",
    "select * from glob('{place}/*')",
    "select getenv('HOME')",
]


@pytest.fixture(scope="module")
def sql(kept: Kept) -> Sql:
    return Sql(kept.reader)


def test_every_table_is_a_view_with_exact_prices(kept: Kept, sql: Sql) -> None:
    rows = sql.run("select count(*) as n, sum(quantity) as s, any_value(typeof(price)) as t from trades")
    assert rows["n"].to_pylist() == [len(kept.rows["Trade"])]
    assert rows["t"].to_pylist() == ["DECIMAL(38,18)"]
    for view, kind in (("quotes", "Quote"), ("bars", "Bar"), ("gaps", "Gap"), ("dead_letters", "DeadLetter")):
        assert sql.run(f"select count(*) as n from {view}")["n"].to_pylist() == [len(kept.rows[kind])]
    assert sql.run("from frames limit 1").num_rows == 1
    assert sql.run("describe trades").num_rows == len(kept.reader.at(Trade).columns)
    assert sql.run("with a as (from trades) select * from a limit 2; show tables").num_rows >= 6
    assert sql.run("").num_rows == 0


@pytest.mark.parametrize("text", REFUSED)
def test_what_changes_something_is_refused(kept: Kept, sql: Sql, text: str, tmp_path: Path) -> None:
    with pytest.raises(SqlError):
        sql.run(text.format(place=tmp_path, lake=kept.directory / "lake"))
    assert not list(tmp_path.iterdir())
    assert not list(kept.directory.glob("lake/**/evil*"))
    assert sql.run("select count(*) as n from trades")["n"].to_pylist() == [len(kept.rows["Trade"])]


@pytest.mark.parametrize("text", UNREACHABLE)
def test_nothing_but_the_tables_can_be_reached(sql: Sql, text: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with pytest.raises(SqlError):
        sql.run(text.format(place=tmp_path))


def test_a_mistake_is_told_in_the_words_of_the_database(sql: Sql) -> None:
    with pytest.raises(SqlError, match="prise"):
        sql.run("select prise from trades")
