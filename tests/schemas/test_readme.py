"""Every field of every record is explained, under its record, in its order."""

import re
from pathlib import Path

import pytest
from msgspec import Struct

from schemas import Trade, health, market
from schemas.columns import columns
from schemas.iceberg import TABLES

README = (Path(market.__file__).parent / "README.md").read_text(encoding="utf-8")

RECORDS: list[type[Struct]] = [
    found
    for module in (market, health)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, Struct) and found.__module__ == module.__name__
]
NEVER_ROWS = [record_type for record_type in RECORDS if record_type not in TABLES]


def section(title: str) -> str:
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("record_type", TABLES, ids=lambda record_type: record_type.__name__)
def test_fields_are_told_in_their_order(record_type: type[Struct]) -> None:
    told = rows(record_type.__name__)
    assert [name for name, _ in told] == [f"`{name}`" for name in record_type.__struct_fields__]
    assert all(meaning for _, meaning in told)


def test_records_that_are_never_rows_are_told_with_all_their_fields() -> None:
    told = {name: re.findall(r"`(\w+)`", fields) for name, _, fields in rows("Records that are never rows")}
    assert told == {record_type.__name__: list(record_type.__struct_fields__) for record_type in NEVER_ROWS}


def test_tables_are_told_as_they_are() -> None:
    assert rows("Tables") == [
        [
            table.name,
            record_type.__name__,
            f"day of `{table.time}`, `exchange`",
            ", ".join(f"`{name}`" for name in table.sort),
        ]
        for record_type, table in TABLES.items()
    ]


def test_ids_are_told_as_the_fields_say_them() -> None:
    told = {name: form for name, form, _ in rows("Ids")}
    for record_type in TABLES:
        first = columns(record_type)[0]
        if first.name == "message_id":
            form = first.meaning.replace("gap_id", columns(record_type)[1].meaning)
            assert told[record_type.__name__] == form


def test_the_older_trade_leads_to_every_field_of_the_contract() -> None:
    told = rows("From the older trade")
    assert {new.strip("`") for _, new, _ in told} == set(Trade.__struct_fields__[:15])
    assert [old.strip("`") for old, _, _ in told if old != "none"] == [
        "symbol",
        "exchange",
        "exchange_timestamp",
        "price",
        "volume",
        "qualifiers",
        "sequence_number",
        "ingestion_timestamp",
        "company_id",
        "venue",
        "buyer_id",
    ]
