"""Records that may be anything their schema allows, and one that is as usual."""

from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import Struct

from schemas import Trade
from schemas.avro import VERSIONS
from schemas.columns import Column, columns
from schemas.money import plain

EVERY_VERSION = [(record_type, version) for record_type, versions in VERSIONS.items() for version in versions]

TRADE = Trade(
    message_id="binance:spot:BTC-USDT:0:28457",
    trade_id="28457",
    symbol="BTC-USDT",
    exchange="binance",
    asset_class="crypto",
    timestamp=1_700_000_000_123_456,
    price="43250.10000000",
    quantity="0.002",
    currency="USDT",
    side="SELL",
    trade_conditions=("A", "B"),
    source_sequence=28457,
    ingestion_timestamp=1_700_000_000_200_000,
    platform_sequence=7,
    vendor_data='{"base_asset":"BTC","quote_asset":"USDT","native_symbol":"BTCUSDT"}',
    market="spot",
    base_asset="BTC",
    quote_asset="USDT",
    native_symbol="BTCUSDT",
    first_sequence=28457,
    last_sequence=28457,
    series=0,
    origin="live",
    shard="binance-0",
)

BIGGEST = 10**38 - 1
TEXT = st.text(max_size=20)
# What any reader can show as a date.
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
KINDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "words": st.lists(TEXT, max_size=3).map(tuple),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "time": TIMES,
    "decimal": st.integers(-BIGGEST, BIGGEST).map(plain),
    "map": st.dictionaries(TEXT, TEXT, max_size=3).map(lambda words: msgspec.json.encode(words).decode()),
    "bytes": st.binary(max_size=30),
}


def values(column: Column) -> st.SearchStrategy[Any]:
    one = st.sampled_from(column.words) if column.kind == "enum" else KINDS[column.kind]
    return st.none() | one if column.nullable else one


def records(record_type: type[Struct]) -> st.SearchStrategy[Struct]:
    return st.builds(record_type, **{column.name: values(column) for column in columns(record_type)})
