"""Records as tables: which table keeps which record, in what columns and order; and records as Arrow.

Pure: no catalog and no file. Text becomes decimal(38,18) in bulk, inside Arrow, never through float.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DecimalType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestamptzType,
)

from schemas.columns import Column, columns
from schemas.fields import MONEY_PRECISION, MONEY_SCALE
from schemas.health import DeadLetter, Frame, Gap, StaleWindow
from schemas.market import Bar, Quote, Trade, notional
from schemas.money import PLAIN


class Derived(Struct, frozen=True):
    """Columns that are worked out of the records of a table when they are stored."""

    after: str  # the field that was the last when they were added: later fields come behind them
    columns: tuple[Column, ...]
    # One array or sequence a column, of the records and the arrays of their fields.
    values: Callable[[Sequence[Any], Mapping[str, pa.Array]], tuple[Any, ...]]


class Table(Struct, frozen=True):
    """Where records of one type are kept. Partitioned by the day of `time` and by exchange."""

    name: str
    time: str
    sort: tuple[str, ...]
    derived: Derived | None = None
    position: str = "platform_sequence"  # the column that says which frame of its shard caused a row


# What decimal(38,18) holds has at most so many digits before the point.
_WHOLE_DIGITS_MAX = MONEY_PRECISION - MONEY_SCALE


# What nearly all that is traded fits in: Arrow multiplies two such numbers exactly.
_NARROW = pa.decimal128(18, 8)


def _notionals(trades: Sequence[Trade], fields: Mapping[str, pa.Array]) -> tuple[Any, Any]:
    """Price times quantity of each trade; null where decimal(38,18) does not hold it."""
    try:
        product = pc.multiply(fields["price"].cast(_NARROW), fields["quantity"].cast(_NARROW))
    except pa.ArrowInvalid:
        return _wide_notionals(trades)
    return product.cast(pa.decimal128(MONEY_PRECISION, MONEY_SCALE)), pa.repeat(True, len(trades))


def _wide_notionals(trades: Sequence[Trade]) -> tuple[Sequence[Decimal | None], Sequence[bool]]:
    """The same for numbers of any size, some twenty times slower."""
    amounts: list[Decimal | None] = []
    exact: list[bool] = []
    for trade in trades:
        amount, is_exact = notional(Decimal(trade.price), Decimal(trade.quantity))
        fits = amount.adjusted() < _WHOLE_DIGITS_MAX
        amounts.append(amount if fits else None)
        exact.append(is_exact and fits)
    return amounts, exact


TABLES: Mapping[type[Struct], Table] = {
    Frame: Table("bronze.frames", "received", ("shard", "position"), position="position"),
    Trade: Table(
        "silver.trades",
        "timestamp",
        ("symbol", "timestamp"),
        Derived(
            "shard",
            (
                Column("notional", "decimal", "price times quantity, rounded half-even at 18 places", True),
                Column("notional_exact", "boolean", "whether notional is the exact product"),
            ),
            _notionals,
        ),
    ),
    Quote: Table("silver.quotes", "timestamp", ("symbol", "timestamp")),
    DeadLetter: Table("silver.dead_letters", "received", ("symbol", "received")),
    Gap: Table("silver.gaps", "found", ("symbol", "found")),
    Bar: Table("gold.bars", "window_start", ("symbol", "interval", "window_start")),
    # Behind the trades and bars that it is about: what is marked here is there already.
    StaleWindow: Table("gold.stale_windows", "window_start", ("symbol", "interval", "window_start")),
}

_TYPES: Mapping[str, IcebergType] = {
    "text": StringType(),
    "integer": LongType(),
    "boolean": BooleanType(),
    "time": TimestamptzType(),
    "decimal": DecimalType(MONEY_PRECISION, MONEY_SCALE),
    "map": StringType(),  # JSON text: a map would cost every reader of every row
    "enum": StringType(),
    "bytes": BinaryType(),
}


@cache
def table_columns(record_type: type[Struct]) -> tuple[Column, ...]:
    """The columns of a record's table, in the order in which they came to it."""
    own, derived = columns(record_type), TABLES[record_type].derived
    if derived is None:
        return own
    end = [column.name for column in own].index(derived.after) + 1
    return (*own[:end], *derived.columns, *own[end:])


@cache
def iceberg_schema(record_type: type[Struct]) -> Schema:
    """The schema with which a new table starts.

    Ids are positions, then those of list elements: what every catalog gives a new table. A table that has
    grown since keeps its own ids, which its catalog knows.
    """
    listed = table_columns(record_type)
    elements = iter(range(len(listed) + 1, 2 * len(listed)))
    return Schema(
        *(
            NestedField(
                field_id=position,
                name=column.name,
                field_type=ListType(next(elements), StringType(), element_required=True)
                if column.kind == "words"
                else _TYPES[column.kind],
                required=not column.nullable,
                doc=column.meaning,
            )
            for position, column in enumerate(listed, 1)
        )
    )


def partition_spec(record_type: type[Struct]) -> PartitionSpec:
    """By day and by exchange."""
    schema, time = iceberg_schema(record_type), TABLES[record_type].time
    day, exchange = schema.find_field(time).field_id, schema.find_field("exchange").field_id
    return PartitionSpec(
        PartitionField(day, PARTITION_FIELD_ID_START, DayTransform(), f"{time}_day"),
        PartitionField(exchange, PARTITION_FIELD_ID_START + 1, IdentityTransform(), "exchange"),
    )


def sort_order(record_type: type[Struct]) -> SortOrder:
    """The order of rows in a file; writers sort, as the catalog only tells other engines."""
    schema = iceberg_schema(record_type)
    return SortOrder(
        *(
            SortField(schema.find_field(name).field_id, IdentityTransform())
            for name in TABLES[record_type].sort
        )
    )


@cache
def arrow_schema(record_type: type[Struct]) -> pa.Schema:
    """The Arrow schema of a new table, field ids included."""
    return iceberg_schema(record_type).as_arrow()


def to_arrow(record_type: type[Struct], records: Sequence[Struct]) -> pa.RecordBatch:
    """Records as one batch of their table; ValueError or OverflowError for what a column cannot hold."""
    schema, derived = arrow_schema(record_type), TABLES[record_type].derived
    arrays = {
        name: _array(schema.field(name), list(map(attrgetter(name), records)))
        for name in record_type.__struct_fields__
    }
    if derived is not None:  # after the fields, which have refused what cannot be reckoned with
        for column, values in zip(derived.columns, derived.values(records, arrays), strict=True):
            arrays[column.name] = pa.array(values, schema.field(column.name).type)
    return pa.RecordBatch.from_arrays([arrays[name] for name in schema.names], schema=schema)


def _array(field: pa.Field, values: list[Any]) -> pa.Array:
    if pa.types.is_decimal(field.type):
        array = _decimals(field, values)
    elif values and type(values[0]) is str and values.count(values[0]) == len(values):
        # Rows of a shard share half of their columns: to see that costs a tenth of building one.
        array = pa.repeat(pa.scalar(values[0], field.type), len(values))
    else:
        array = pa.array(values, field.type)
    if array.null_count and not field.nullable:
        raise ValueError(f"{field.name}: null")
    return array


def _decimals(field: pa.Field, values: list[str | None]) -> pa.Array:
    texts = pa.array(values, pa.string())
    # Arrow's own cast is no judge: it turns 2**128 into zero, and 1e-999999999 ends the process.
    fits = pc.match_substring_regex(texts, rf"\A{PLAIN}\z")
    if not pc.all(fits, min_count=0).as_py():
        bad = texts.filter(pc.invert(fits))[0].as_py()
        raise ValueError(
            f"{field.name}: {bad[: MONEY_PRECISION + 2]!r} is not a plain number within decimal(38,18)"
        )
    return texts.cast(field.type)
