"""Anybody's SQL over the tables, as views: it reads them and nothing else, and changes nothing."""

from typing import Any

import duckdb
import pyarrow as pa

from query.database import SqlError, listed, open_database, read_only
from query.reader import Reader
from schemas.iceberg import TABLES

# Without what the schemas are called: `silver.trades` is `trades`.
VIEWS = {table.name.rpartition(".")[2]: record_type for record_type, table in TABLES.items()}


class Sql:
    """A database in which every table is a view, and nothing else can be reached."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cursor = open_database(places(reader)).cursor()

    def run(self, text: str) -> pa.Table:
        """The rows of the last of some statements that only read, on the tables as they are now."""
        rows = pa.table({})
        try:
            statements = read_only(text)
            if statements:
                self._refresh()
            for statement in statements:
                rows = self._cursor.sql(statement.query).to_arrow_table()
        except duckdb.Error as error:
            raise SqlError(str(error).strip()) from error
        return rows

    def _refresh(self) -> None:
        """Point the views at what the tables are now."""
        definitions, sources = views(self._reader)
        for name, rows in sources.items():
            self._cursor.register(name, rows)
        for name, sql in definitions.items():
            self._cursor.execute(f"create or replace view {name} as {sql}")


def places(reader: Reader) -> list[str]:
    """The folders of the tables."""
    return [reader.load(table.name).location() for table in TABLES.values()]


def views(reader: Reader) -> tuple[dict[str, str], dict[str, Any]]:
    """What each table is now, as a query without values, and the rows in it that are in no file."""
    definitions: dict[str, str] = {}
    sources: dict[str, Any] = {}
    for name, record_type in VIEWS.items():
        part = reader.at(record_type).part({})
        sources |= part.sources
        definitions[name] = part.sql
        for parameter, files in part.parameters.items():
            # A view keeps no values; these are names of files that the catalog gave us.
            definitions[name] = definitions[name].replace(f"${parameter}", listed(files))
    return definitions, sources
