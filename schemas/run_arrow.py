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

_MONEY = pa.decimal128(MONEY_PRECISION, MONEY_SCALE)
# Nanos as whole numbers of it have the digits that MONEY has for as many nanos.
_SHIFTED = pa.decimal128(MONEY_PRECISION, 9)
# Two whole numbers below this have a product that decimal(38) holds. Any 64 bits hold a digit more.
_FACTOR_MAX = 10**18
_FACTOR, _ANY = pa.decimal128(18, 0), pa.decimal128(19, 0)


def run_to_arrow(run: Run) -> pa.RecordBatch:
    """A run as one batch of the table of trades."""
    if max(run.price_nanos) >= _FACTOR_MAX or max(run.quantity_nanos) >= _FACTOR_MAX:
        return to_arrow(Trade, run.trades())
    rows, schema = len(run), arrow_schema(Trade)
    instruments = dict(zip(run.symbols, run.listed, strict=True))  # a symbol has one in a shard
    places = {symbol: place for place, symbol in enumerate(instruments)}
    place = pa.array([places[symbol] for symbol in run.symbols], pa.int32())

    def said(what: str) -> pa.Array:
        return pa.array([getattr(one, what) for one in instruments.values()]).take(place)

    ids = pa.array(run.ids, pa.int64())
    trade_id = ids.cast(pa.string())
    prices, quantities = pa.array(run.price_nanos, pa.int64()), pa.array(run.quantity_nanos, pa.int64())
    quote, received = said("quote"), pa.array(run.received, pa.int64())
    columns: dict[str, Any] = {
        "message_id": pc.binary_join_element_wise(said("trade_prefix"), trade_id, ""),
        "trade_id": trade_id,
        "symbol": said("symbol"),
        "exchange": said("exchange"),
        "asset_class": pa.repeat("crypto", rows),
        "timestamp": pa.array(run.times, pa.int64()),
        "price": read_as(_MONEY, prices.cast(_SHIFTED)),
        "quantity": read_as(_MONEY, quantities.cast(_SHIFTED)),
        "currency": quote,
        "side": pa.array(run.sides, pa.string()),
        "trade_conditions": pa.ListArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), rows + 1), pa.array([], pa.string())
        ),
        "source_sequence": ids,
        "ingestion_timestamp": received,
        "platform_sequence": pa.array([frame.position for frame in run.frames], pa.int64()),
        "vendor_data": pa.array(run.words(run.listed, run.wires), pa.string()),
        "market": pa.repeat("spot", rows),
        "base_asset": said("base"),
        "quote_asset": quote,
        "native_symbol": said("native"),
        "first_sequence": ids,
        "last_sequence": ids,
        "series": pa.repeat(pa.scalar(0, pa.int64()), rows),
        "origin": pa.repeat("live", rows),
        "shard": pa.repeat(run.frames[0].shard, rows),
        # A product of nanos is one of whole units of 10**-18.
        "notional": read_as(
            _MONEY, pc.multiply(*[read_as(_FACTOR, one.cast(_ANY)) for one in (prices, quantities)])
        ),
        "notional_exact": pa.repeat(True, rows),
    }
    arrays = [columns[field.name].cast(field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def read_as(money: pa.DataType, counts: pa.Array) -> pa.Array:
    """Decimals with the same digits, whose point stands elsewhere."""
    return pa.Array.from_buffers(money, len(counts), counts.buffers(), offset=counts.offset)
