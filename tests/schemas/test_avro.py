"""Avro: the contract as agreed, bytes that any reader understands, and versions that read each other."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import Struct

from schemas import Bar, DeadLetter, Frame, Gap, Quote, Trade
from schemas.avro import VERSIONS, avro_schema, decode, encode, newest
from schemas.columns import Column, columns
from schemas.money import units
from tests.schemas.anything import EVERY_VERSION, TRADE, records

every_version = pytest.mark.parametrize(
    ("record_type", "version"),
    EVERY_VERSION,
    ids=[f"{one.__name__}-{number}" for one, number in EVERY_VERSION],
)

STRINGS = "string"
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}
TIME = {"type": "long", "logicalType": "timestamp-micros"}
ASSET_CLASS = {
    "type": "enum",
    "name": "AssetClass",
    "symbols": ["equities", "crypto", "futures", "options"],
}
SIDE = {"type": "enum", "name": "TradeSide", "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]}
WORDS = {"type": "map", "values": "string"}

TRADE_CONTRACT = {
    "message_id": STRINGS,
    "trade_id": STRINGS,
    "symbol": STRINGS,
    "exchange": STRINGS,
    "asset_class": ASSET_CLASS,
    "timestamp": TIME,
    "price": MONEY,
    "quantity": MONEY,
    "currency": STRINGS,
    "side": SIDE,
    "trade_conditions": {"type": "array", "items": "string"},
    "source_sequence": ["null", "long"],
    "ingestion_timestamp": TIME,
    "platform_sequence": ["null", "long"],
    "vendor_data": ["null", WORDS],
}
QUOTE_CONTRACT = {
    "message_id": STRINGS,
    "quote_id": STRINGS,
    "symbol": STRINGS,
    "exchange": STRINGS,
    "asset_class": ASSET_CLASS,
    "timestamp": TIME,
    "bid_price": ["null", MONEY],
    "bid_quantity": ["null", MONEY],
    "ask_price": ["null", MONEY],
    "ask_quantity": ["null", MONEY],
    "currency": STRINGS,
    "source_sequence": ["null", "long"],
    "ingestion_timestamp": TIME,
    "platform_sequence": ["null", "long"],
    "vendor_data": ["null", WORDS],
}


@pytest.mark.parametrize(("record_type", "contract"), [(Trade, TRADE_CONTRACT), (Quote, QUOTE_CONTRACT)])
def test_version_2_is_the_contract(record_type: type[Struct], contract: dict[str, Any]) -> None:
    schema = avro_schema(record_type, 2)
    assert (schema["namespace"], schema["name"]) == ("tapekeeper.market", record_type.__name__)
    assert [(field["name"], field["type"]) for field in schema["fields"]] == list(contract.items())


@pytest.mark.parametrize("record_type", [Trade, Quote])
def test_version_3_adds_only_what_may_be_null(record_type: type[Struct]) -> None:
    second, third = avro_schema(record_type, 2)["fields"], avro_schema(record_type, 3)["fields"]
    assert third[:15] == second
    assert [field["name"] for field in third] == list(record_type.__struct_fields__)
    assert [field["default"] for field in third[15:]] == [None] * (len(third) - 15)
    assert {field["type"][0] for field in third[15:]} == {"null"}


def fields_of(record_type: type[Struct], version: int) -> list[str]:
    return [field["name"] for field in avro_schema(record_type, version)["fields"]]


def known_to(version: int, record: Struct) -> Struct:
    """The record as a writer of that version leaves it."""
    known = fields_of(type(record), version)
    return type(record)(**{name: getattr(record, name) for name in known})


def read_by_anybody(record_type: type[Struct], written: int, read: int, data: bytes) -> dict[str, Any]:
    """What a reader has that knows only the public schemas and Avro's own rules."""
    with_schema, as_schema = avro_schema(record_type, written), avro_schema(record_type, read)
    row: Any = fastavro.schemaless_reader(io.BytesIO(data), with_schema, as_schema)
    return dict(row)


def public_value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == "decimal":
        return units(value)
    if column.kind == "time":
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    if column.kind == "map":
        return msgspec.json.decode(value)
    return list(value) if column.kind == "words" else value


def public_row(record: Struct, version: int) -> dict[str, Any]:
    known = fields_of(type(record), version)
    return {
        c.name: public_value(c, getattr(record, c.name)) for c in columns(type(record)) if c.name in known
    }


def counted(row: dict[str, Any]) -> dict[str, Any]:
    """Decimals as counts of units, by fractions, as a decimal context would round."""
    return {
        name: Fraction(value) * 10**18 if isinstance(value, Decimal) else value for name, value in row.items()
    }


@every_version
def test_a_round_trip_keeps_every_value(record_type: type[Struct], version: int) -> None:
    @settings(max_examples=200, deadline=None)
    @given(records(record_type))
    def keeps(record: Struct) -> None:
        assert decode(record_type, version, encode(record, version)) == known_to(version, record)

    keeps()


@every_version
def test_every_version_is_read_as_every_other_by_avro_rules(record_type: type[Struct], version: int) -> None:
    @settings(max_examples=100, deadline=None)
    @given(records(record_type))
    def reads(record: Struct) -> None:
        data = encode(record, version)
        for other in VERSIONS[record_type]:
            row = counted(read_by_anybody(record_type, version, other, data))
            expected = public_row(known_to(version, record), other)
            assert row == expected

    reads()


def test_version_2_bytes_read_as_3_have_nulls_and_3_read_as_2_lose_only_what_is_new() -> None:
    old = read_by_anybody(Trade, 2, 3, encode(TRADE, 2))
    assert [old[name] for name in Trade.__struct_fields__[15:]] == [None] * 9
    assert (old["price"], old["side"], old["trade_conditions"]) == (Decimal("43250.1"), "SELL", ["A", "B"])
    new = read_by_anybody(Trade, 3, 2, encode(TRADE, 3))
    assert list(new) == list(TRADE_CONTRACT)
    assert new["vendor_data"] == {"base_asset": "BTC", "quote_asset": "USDT", "native_symbol": "BTCUSDT"}
    assert new == {name: old[name] for name in new}


def test_what_others_write_by_the_public_schema_is_what_we_write() -> None:
    row = public_row(TRADE, 3) | {"price": Decimal("43250.10"), "quantity": Decimal("0.002")}
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(avro_schema(Trade, 3)), row)
    assert out.getvalue() == encode(TRADE, 3)


def test_the_value_of_money_is_kept_and_its_last_zeros_are_not() -> None:
    back = decode(Trade, 3, encode(TRADE, 3))
    assert back == msgspec.structs.replace(TRADE, price="43250.1")


def test_a_one_sided_quote_keeps_its_null() -> None:
    quote = Quote(
        "kraken:spot:BTC-USD:kraken-0.9.0", "kraken-0.9.0", "BTC-USD", "kraken", "crypto", 1, None, None,
        "43251", "1", "USD", None, 2, 9, None, "spot", "BTC", "USD", "BTC/USD", "live", "kraken-0",
    )  # fmt: skip
    assert decode(Quote, 3, encode(quote, 3)) == quote
    assert read_by_anybody(Quote, 3, 2, encode(quote, 3))["bid_price"] is None


@pytest.mark.parametrize(
    ("record_type", "version"), [(Trade, 3), (Quote, 3), (Bar, 1), (Gap, 1), (DeadLetter, 1), (Frame, 1)]
)
def test_the_newest_version_has_all_fields(record_type: type[Struct], version: int) -> None:
    assert newest(record_type) == version
    assert fields_of(record_type, version) == list(record_type.__struct_fields__)
