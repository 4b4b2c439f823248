"""Anybody's SQL over the tables, as views: it reads them and nothing else, and changes nothing."""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from connectors.errors import TapeError
from query.reader import DUCKDB, SETTINGS, Reader
from query.view import LOCAL
from schemas.iceberg import TABLES

# Without what the schemas are called: `silver.trades` is `trades`.
VIEWS = {table.name.rpartition(".")[2]: record_type for record_type, table in TABLES.items()}
READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class SqlError(TapeError):
    """A statement that cannot be run."""


class Sql:
    """A database in which every table is a view, and nothing else can be reached."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        places = [reader.load(table.name).location() for table in TABLES.values()]
        database = duckdb.connect(":memory:", config=DUCKDB)
        database.execute(SETTINGS)
        database.execute(f"set allowed_directories = {listed(f'{place}/' for place in places)}")
        database.execute("set enable_external_access = false; set lock_configuration = true")
        self._cursor = database.cursor()

    def run(self, text: str) -> pa.Table:
        """The rows of the last of some statements that only read, on the tables as they are now."""
        rows = pa.table({})
        try:
            statements = duckdb.extract_statements(text)
            for statement in statements:
                if statement.type not in READING:
                    raise SqlError(
                        f"{statement.type.name} is refused: the tables are only read here",
                        hint="ask with SELECT, FROM, SHOW, DESCRIBE, SUMMARIZE or EXPLAIN",
                    )
            if statements:
                self._refresh()
            for statement in statements:
                rows = self._cursor.sql(statement.query).to_arrow_table()
        except duckdb.Error as error:
            raise SqlError(str(error).strip()) from error
        return rows

    def _refresh(self) -> None:
        """Point the views at what the tables are now."""
        for name, record_type in VIEWS.items():
            part = self._reader.at(record_type).part({})
            for source, rows in part.sources.items():
                self._cursor.register(source, rows)
            sql = part.sql
            for parameter, files in part.parameters.items():
                # A view keeps no values; these are names of files that the catalog gave us.
                sql = sql.replace(f"${parameter}", listed(files))
            self._cursor.execute(f"create or replace view {name} as {sql}")


def listed(paths: Iterable[str]) -> str:
    """Places on a disk as a list in SQL."""
    quoted = ("'" + path.removeprefix(LOCAL).replace("'", "''") + "'" for path in paths)
    return f"[{', '.join(quoted)}]"
