"""DuckDB as we use it: what it must not do by itself, and what strangers must not do with it.

Imports nothing heavy: a child that runs one statement begins with it.
"""

from collections.abc import Iterable

import duckdb

from connectors.errors import TapeError

DUCKDB: dict[str, str | bool | int | float | list[str]] = {
    # What is missing must be said at once, not looked for on a network.
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    # A name in a query means a table, never a variable of ours.
    "python_enable_replacements": "false",
}
SETTINGS = "set global parquet_metadata_cache = true; set global TimeZone = 'UTC'"

LOCAL = "file://"
READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)


class SqlError(TapeError):
    """A statement that cannot be run."""


def open_database(folders: Iterable[str], memory_bytes: int | None = None) -> duckdb.DuckDBPyConnection:
    """A database that reads these folders, and neither leaves them nor grows beyond its memory."""
    database = duckdb.connect(":memory:", config=DUCKDB)
    database.execute(SETTINGS)
    if memory_bytes is not None:
        database.execute(
            f"set memory_limit = '{memory_bytes} bytes'; set threads = 2; set temp_directory = ''"
        )
    database.execute(f"set allowed_directories = {listed(f'{folder}/' for folder in folders)}")
    database.execute("set enable_external_access = false; set lock_configuration = true")
    return database


def read_only(text: str) -> list[duckdb.Statement]:
    """The statements of a text, none of which changes anything."""
    statements: list[duckdb.Statement] = duckdb.extract_statements(text)
    for statement in statements:
        if statement.type not in READING:
            raise SqlError(
                f"{statement.type.name} is refused: the tables are only read here",
                hint="ask with SELECT, FROM, SHOW, DESCRIBE, SUMMARIZE or EXPLAIN",
            )
    return statements


def listed(paths: Iterable[str]) -> str:
    """Places on a disk as a list in SQL."""
    quoted = ("'" + path.removeprefix(LOCAL).replace("'", "''") + "'" for path in paths)
    return f"[{', '.join(quoted)}]"
