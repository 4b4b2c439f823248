"""Runs as Arrow: the same rows as their trades', for less. What an instrument says is taken once, and what is
made of other fields is made of whole columns.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.fields import MONEY_PRECISION, MONEY_SCALE
from schemas.iceberg import arrow_schema, to_arrow
from schemas.market import Trade
from schemas.run import Run

_TEXT = pa.large_string()  # as the table has it, so that no text is copied twice
_MONEY = pa.decimal128(MONEY_PRECISION, MONEY_SCALE)
# Nanos as whole numbers of it have the digits that MONEY has for as many nanos.
_SHIFTED = pa.decimal128(MONEY_PRECISION, 9)
# Two whole numbers below this have a product that decimal(38) holds. Any 64 bits hold a digit more.
_FACTOR_MAX = 10**18
_FACTOR, _ANY = pa.decimal128(18, 0), pa.decimal128(19, 0)


def run_to_arrow(run: Run) -> pa.RecordBatch:
    """A run as one batch of the table of trades."""
    assert all(run.price_nanos), "only what is valid is stored"
    if max(run.price_nanos) >= _FACTOR_MAX or max(run.quantity_nanos) >= _FACTOR_MAX:
        return to_arrow(Trade, run.trades())
    rows, schema, ids = len(run), arrow_schema(Trade), pa.array(run.ids, pa.int64())

    def same(value: Any, kind: pa.DataType = _TEXT) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), rows)

    none = pa.repeat(pa.scalar(0, pa.int64()), rows + 1)
    columns: dict[str, Any] = {
        **said_by_instruments(run, ids.cast(_TEXT)),
        **money(run),
        "exchange": same(run.listed[0].exchange),
        "asset_class": same("crypto"),
        "timestamp": pa.array(run.times, pa.int64()),
        "side": pa.array(run.sides, _TEXT),
        "trade_conditions": pa.LargeListArray.from_arrays(none, pa.array([], _TEXT)),
        "source_sequence": ids,
        "ingestion_timestamp": pa.array(run.received, pa.int64()),
        "platform_sequence": pa.array([frame.position for frame in run.frames], pa.int64()),
        "vendor_data": pa.array(run.words(run.listed, run.wires), _TEXT),
        "market": same("spot"),
        "first_sequence": ids,
        "last_sequence": ids,
        "series": same(0, pa.int64()),
        "origin": same("live"),
        "shard": same(run.frames[0].shard),
    }
    return pa.RecordBatch.from_arrays([columns[one.name].cast(one.type) for one in schema], schema=schema)


def said_by_instruments(run: Run, trade_id: pa.Array) -> dict[str, pa.Array]:
    """What each trade has from its instrument, and what begins with that."""
    instruments = {id(one): one for one in run.listed}
    places = {known: place for place, known in enumerate(instruments)}
    place = pa.array([places[id(one)] for one in run.listed], pa.int32())

    def said(what: str) -> pa.Array:
        return pa.array([getattr(one, what) for one in instruments.values()], _TEXT).take(place)

    quote = said("quote")
    return {
        "message_id": pc.binary_join_element_wise(said("trade_prefix"), trade_id, pa.scalar("", _TEXT)),
        "trade_id": trade_id,
        "symbol": said("symbol"),
        "currency": quote,
        "base_asset": said("base"),
        "quote_asset": quote,
        "native_symbol": said("native"),
    }


def money(run: Run) -> dict[str, pa.Array]:
    """Prices, sizes, and their products: those of nanos are whole units of 10**-18, and exact."""
    prices, quantities = (pa.array(one, pa.int64()) for one in (run.price_nanos, run.quantity_nanos))
    factors = [read_as(_FACTOR, one.cast(_ANY)) for one in (prices, quantities)]
    return {
        "price": read_as(_MONEY, prices.cast(_SHIFTED)),
        "quantity": read_as(_MONEY, quantities.cast(_SHIFTED)),
        "notional": read_as(_MONEY, pc.multiply(*factors)),
        "notional_exact": pa.repeat(True, len(run)),
    }


def read_as(money: pa.DataType, counts: pa.Array) -> pa.Array:
    """Decimals with the same digits, whose point stands elsewhere."""
    return pa.Array.from_buffers(money, len(counts), counts.buffers(), offset=counts.offset)
