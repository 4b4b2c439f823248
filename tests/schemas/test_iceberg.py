"""Tables: ids that stay, exact values from a Struct through a catalog and back, and new columns."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pyarrow import parquet
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField, StringType

from schemas import Bar, DeadLetter, Frame, Gap, Quote, StaleWindow, Trade, notional
from schemas.columns import Column
from schemas.iceberg import (
    TABLES,
    arrow_schema,
    iceberg_schema,
    partition_spec,
    sort_order,
    table_columns,
    to_arrow,
)
from schemas.money import plain, units

NOON = 1_700_049_600_000_000
every_table = pytest.mark.parametrize("record_type", TABLES, ids=lambda record_type: record_type.__name__)


def trade(number: int, **changes: Any) -> Trade:
    made = Trade(
        f"binance:spot:BTC-USDT:0:{number}", str(number), "BTC-USDT", "binance", "crypto", NOON + number,
        "43250.10000000", "0.00200000", "USDT", "BUY", ("A", "B"), number, NOON + number + 500, number,
        '{"native_symbol":"BTCUSDT"}', "spot", "BTC", "USDT", "BTCUSDT", number, number, 0, "live",
        "binance-0",
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


RECORDS: dict[type[Struct], list[Struct]] = {
    Trade: [trade(1), trade(2, trade_conditions=(), source_sequence=None, vendor_data=None, side="UNKNOWN")],
    Quote: [
        Quote(
            "kraken:spot:BTC-USD:kraken-0.9.0", "kraken-0.9.0", "BTC-USD", "kraken", "crypto", NOON, None,
            None, "99999999999999999999.999999999999999999", "0.000000000000000001", "USD", None, NOON + 1, 9,
            None,
        )
    ],
    Bar: [
        Bar(
            "binance:spot:BTC-USDT:1s:1700049600000000:0", "BTC-USDT", "binance", "crypto", "1s", NOON,
            NOON + 1_000_000, "1", "2", "0.5", "1.5", "10", "12.5", "1.25", 4, "6", 2, "1", "4", None, 0,
            "USDT", "spot", "BTC", "USDT", "binance-0", 77,
        )
    ],
    Gap: [
        Gap(
            "binance:spot:BTC-USDT:0:5-9:open", "binance:spot:BTC-USDT:0:5-9", "binance", "crypto", "spot",
            "BTC-USDT", 0, 5, 9, "open", "ids", NOON, None, "binance-0", 12,
        )
    ],
    DeadLetter: [
        DeadLetter(
            "binance:binance-0:3:0", "binance", "decode", "malformed", "no", None, "binance-0", 3, NOON, 2, 0,
            NOON + 9, b"\x00\xff",
        )
    ],
    Frame: [Frame("binance", "binance-0", 3, NOON, 2, NOON + 9, "data", b'{"e":"trade"}')],
    StaleWindow: [StaleWindow("binance", "spot", "BTC-USDT", "1m", NOON, "binance-0", 78)],
}  # fmt: skip


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=tmp_path.as_uri())
    for namespace in ("bronze", "silver", "gold"):
        made.create_namespace(namespace)
    yield made
    made.close()


def add(table: Table, batch: pa.RecordBatch) -> None:
    """Publish one file, as writers of day partitions do that do not use the catalog's own append."""
    path = Path(table.location().removeprefix("file://")) / "data" / "one.parquet"
    path.parent.mkdir(parents=True)
    # Without our field ids: the catalog finds columns by name in files that it did not write.
    names = pa.schema([field.remove_metadata() for field in batch.schema])
    parquet.write_table(pa.Table.from_batches([batch]).cast(names), path)
    table.add_files([path.as_uri()])


def ids(schema: Schema) -> dict[str, int]:
    return {name: schema.find_field(name).field_id for name in schema.column_names}


def moment(microseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def stored(column: Column, value: Any) -> Any:
    """What a reader of the table has for a value of the record."""
    readings: dict[str, Callable[[Any], Any]] = {"decimal": Decimal, "time": moment, "words": list}
    return value if value is None or column.kind not in readings else readings[column.kind](value)


def rows(records: list[Struct]) -> list[dict[str, Any]]:
    return [
        {
            c.name: stored(c, getattr(record, c.name))
            for c in table_columns(type(record))
            if hasattr(record, c.name)
        }
        for record in records
    ]


def amounts(record: Trade) -> dict[str, Any]:
    amount, exact = notional(Decimal(record.price), Decimal(record.quantity))
    return {"notional": amount, "notional_exact": exact}


def test_table_names_times_and_orders() -> None:
    assert {kind.__name__: (table.name, table.time, table.sort) for kind, table in TABLES.items()} == {
        "Frame": ("bronze.frames", "received", ("shard", "position")),
        "Trade": ("silver.trades", "timestamp", ("symbol", "timestamp")),
        "Quote": ("silver.quotes", "timestamp", ("symbol", "timestamp")),
        "DeadLetter": ("silver.dead_letters", "received", ("symbol", "received")),
        "Gap": ("silver.gaps", "found", ("symbol", "found")),
        "Bar": ("gold.bars", "window_start", ("symbol", "interval", "window_start")),
        "StaleWindow": ("gold.stale_windows", "window_start", ("symbol", "interval", "window_start")),
    }


def test_ids_of_trades_are_pinned() -> None:
    names = [*Trade.__struct_fields__, "notional", "notional_exact", "trade_conditions.element"]
    assert ids(iceberg_schema(Trade)) == {name: position for position, name in enumerate(names, 1)}
    assert names.index("timestamp") == 5
    assert names.index("shard") == 23


@every_table
def test_ids_are_positions_and_what_a_new_table_gets(record_type: type[Struct], catalog: Catalog) -> None:
    declared = iceberg_schema(record_type)
    assert [field.field_id for field in declared.fields] == list(range(1, len(declared.fields) + 1))
    assert [field.name for field in declared.fields][: len(record_type.__struct_fields__)] == list(
        record_type.__struct_fields__
    )
    table = catalog.create_table(
        TABLES[record_type].name,
        declared,
        partition_spec=partition_spec(record_type),
        sort_order=sort_order(record_type),
    )
    assert ids(table.schema()) == ids(declared)
    assert table.schema().as_arrow() == arrow_schema(record_type)
    assert [field.doc for field in table.schema().fields] == [c.meaning for c in table_columns(record_type)]


def test_types_of_trades() -> None:
    types = {field.name: (str(field.field_type), field.required) for field in iceberg_schema(Trade).fields}
    assert types["price"] == ("decimal(38, 18)", True)
    assert types["notional"] == ("decimal(38, 18)", False)
    assert types["notional_exact"] == ("boolean", True)
    assert types["timestamp"] == ("timestamptz", True)
    assert types["trade_conditions"] == ("list<string>", True)
    assert types["vendor_data"] == ("string", False)
    assert types["source_sequence"] == ("long", False)
    assert types["side"] == ("string", True)
    assert str(iceberg_schema(Frame).find_field("payload").field_type) == "binary"


@every_table
def test_values_come_back_from_the_catalog_unchanged(record_type: type[Struct], catalog: Catalog) -> None:
    records = RECORDS[record_type]
    table = catalog.create_table(
        TABLES[record_type].name,
        iceberg_schema(record_type),
        partition_spec=partition_spec(record_type),
        sort_order=sort_order(record_type),
    )
    add(table, to_arrow(record_type, records))
    expected = [
        row | (amounts(record) if isinstance(record, Trade) else {})
        for record, row in zip(records, rows(records), strict=True)
    ]
    assert table.scan().to_arrow().to_pylist() == expected
    (task,) = table.scan().plan_files()
    day_number, exchange = NOON // 86_400_000_000, getattr(records[0], "exchange", None)
    assert [task.file.partition[0], task.file.partition[1]] == [day_number, exchange]


def test_an_added_field_leaves_all_ids_as_they_were(catalog: Catalog) -> None:
    table = catalog.create_table("silver.trades", iceberg_schema(Trade), partition_spec=partition_spec(Trade))
    add(table, to_arrow(Trade, [trade(1)]))
    before = ids(table.schema())
    with table.update_schema() as update:
        update.union_by_name(
            Schema(
                *iceberg_schema(Trade).fields, NestedField(999, "venue_flag", StringType(), required=False)
            )
        )
    assert ids(table.schema()) == before | {"venue_flag": max(before.values()) + 1}
    (row,) = table.scan().to_arrow().to_pylist()
    assert (row["price"], row["venue_flag"]) == (Decimal("43250.1"), None)


def test_a_field_added_to_the_record_comes_behind_the_derived_columns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = msgspec.defstruct(
        "Trade",
        [*((c, t) for c, t in Trade.__annotations__.items()), ("venue_flag", str | None, None)],
        kw_only=True,
        frozen=True,
    )
    monkeypatch.setitem(TABLES, later, TABLES[Trade])
    assert [column.name for column in table_columns(later)][-4:] == [
        "shard", "notional", "notional_exact", "venue_flag",
    ]  # fmt: skip


@every_table
def test_no_records_make_an_empty_batch(record_type: type[Struct]) -> None:
    batch = to_arrow(record_type, [])
    assert (batch.num_rows, batch.schema) == (0, arrow_schema(record_type))


# Arrow's own cast makes zero of the sixth, and the eighth ends the process.
HOSTILE = [
    "",
    " 1",
    "NaN",
    "1e-8",
    "0.1234567890123456789",
    "340282366920938463463374607431768211456",
    "100000000000000000000",
    "1e-999999999",
    "1\n",
    "\u0661",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    ("record_type", "field"), [(Quote, "bid_price"), (Trade, "price"), (Trade, "quantity")]
)
def test_a_number_that_does_not_fit_is_refused_by_name(
    record_type: type[Struct], field: str, text: str
) -> None:
    good = RECORDS[record_type][0]
    bad = msgspec.structs.replace(good, **{field: text})
    with pytest.raises(ValueError, match=f"{field}: .*not a plain number"):
        to_arrow(record_type, [good, bad, good])


@pytest.mark.parametrize(
    "wrong", [{"timestamp": 2**63}, {"source_sequence": -(2**63) - 1}, {"message_id": None}], ids=str
)
def test_what_its_column_cannot_hold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        to_arrow(Trade, [trade(1, **wrong)])


@settings(deadline=None)
@given(st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=1, max_size=20))
def test_every_number_that_fits_arrives_exactly(counts: list[int]) -> None:
    quote = RECORDS[Quote][0]
    batch = to_arrow(Quote, [msgspec.structs.replace(quote, bid_price=plain(count)) for count in counts])
    assert [units(f"{value:f}") for value in batch.column("bid_price").to_pylist()] == counts


@pytest.mark.parametrize(
    ("price", "quantity", "amount", "exact"),
    [
        ("43250.10", "0.002", "86.5002", True),
        ("0.000000000000000003", "0.5", "0.000000000000000002", False),
        ("9999999999", "10000000000.000000000000000001", "99999999990000000000.000000009999999999", True),
        ("10000000000", "10000000000", None, False),  # needs 21 digits before the point
        ("99999999999999999999", "99999999999999999999", None, False),
    ],
)
def test_notional_is_stored_with_its_flag_or_null(
    price: str, quantity: str, amount: str | None, exact: bool
) -> None:
    (row,) = to_arrow(Trade, [trade(1, price=price, quantity=quantity)]).to_pylist()
    assert (row["notional"], row["notional_exact"]) == (amount and Decimal(amount), exact)


@settings(deadline=None)
@given(st.integers(0, 10**38 - 1), st.integers(0, 10**38 - 1))
def test_notional_is_the_shared_product_or_null_where_no_column_holds_it(price: int, quantity: int) -> None:
    record = trade(1, price=plain(price), quantity=plain(quantity))
    (row,) = to_arrow(Trade, [record]).to_pylist()
    amount, exact = notional(Decimal(record.price), Decimal(record.quantity))
    fits = amount < 10**20
    assert (row["notional"], row["notional_exact"]) == ((amount, exact) if fits else (None, False))
