"""Which schema reads what another wrote: the pairs of Avro's specification that can happen to us."""

import io
import json
from collections.abc import Callable
from typing import Any

import fastavro
import pytest

from schemas import Quote, Trade
from schemas.avro import avro_schema
from schemas.resolution import unreadable
from tests.schemas.anything import EVERY_VERSION, TRADE

Change = Callable[[dict[str, dict[str, Any]], list[dict[str, Any]]], object]


def changed(change: Change) -> dict[str, Any]:
    schema = json.loads(json.dumps(avro_schema(Trade, 2)))  # nothing shared
    change({field["name"]: field for field in schema["fields"]}, schema["fields"])
    return schema


def set_type(name: str, form: Any) -> Change:
    return lambda by_name, _: by_name[name].update(type=form)


def add(**field: Any) -> Change:
    return lambda _, fields: fields.append(field)


def rename(old: str, new: str, **more: Any) -> Change:
    return lambda by_name, _: by_name[old].update(name=new, **more)


def drop(name: str) -> Change:
    return lambda by_name, fields: fields.remove(by_name[name])


def words(change: Callable[[list[str]], object]) -> Change:
    return lambda by_name, _: change(by_name["side"]["type"]["symbols"])


def decimal(**change: int) -> Change:
    return lambda by_name, _: by_name["price"]["type"].update(change)


COMPATIBLE = {
    "a field with a default": add(name="venue", type=["null", "string"], default=None),
    "a field less": drop("currency"),
    "what may now be absent": set_type("currency", ["null", "string"]),
    "a longer number": set_type("source_sequence", ["null", "double"]),
    "text as bytes": set_type("currency", "bytes"),
    "an alias": rename("currency", "paid_in", aliases=["currency"]),
    "types of a union in another order": set_type("source_sequence", ["long", "null"]),
    "one more word": words(lambda known: known.append("CROSS")),
    "words in another order": words(lambda known: known.reverse()),
}

INCOMPATIBLE = {
    "a field without default": (
        add(name="venue", type="string"),
        "venue: a new field needs a default, as what was written does not have it",
    ),
    "another name": (
        rename("currency", "paid_in"),
        "paid_in: a new field needs a default, as what was written does not have it",
    ),
    "no longer absent": (
        set_type("source_sequence", "long"),
        "source_sequence: null was written, and long does not read it",
    ),
    "a shorter number": (
        set_type("source_sequence", ["null", "int"]),
        "source_sequence: long was written, and none of null, int reads it",
    ),
    "another type": (set_type("currency", "long"), "currency: string was written, and long does not read it"),
    "a word less": (
        words(lambda known: known.remove("SELL_SHORT")),
        "side: SELL_SHORT may have been written, and is no word of TradeSide any more",
    ),
    "another scale": (
        decimal(scale=8),
        "price: decimal(38,18) was written, and would be taken for decimal(38,8)",
    ),
    "another precision": (
        decimal(precision=20),
        "price: decimal(38,18) was written, and would be taken for decimal(20,18)",
    ),
    "another unit": (
        set_type("timestamp", {"type": "long", "logicalType": "timestamp-millis"}),
        "timestamp: timestamp-micros was written, and would be taken for timestamp-millis",
    ),
    "no unit": (
        set_type("timestamp", "long"),
        "timestamp: timestamp-micros was written, and would be taken for a plain value",
    ),
    "other things in a list": (
        set_type("trade_conditions", {"type": "array", "items": "long"}),
        "trade_conditions[]: string was written, and long does not read it",
    ),
    "other things in a map": (
        set_type("vendor_data", {"type": "map", "values": "string"}),
        "vendor_data: null was written, and map does not read it",
    ),
    "another enumeration": (
        lambda by_name, _: by_name["side"]["type"].update(name="Side"),
        "side: TradeSide was written, and Side is another name",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COMPATIBLE)
def test_what_can_be_read_is_and_others_read_it_too(case: str) -> None:
    reader, writer = changed(COMPATIBLE[case]), avro_schema(Trade, 2)
    assert unreadable(reader, writer) == []
    out = io.BytesIO()
    row = {field["name"]: VALUES.get(field["name"], "x") for field in writer["fields"]}
    fastavro.schemaless_writer(out, fastavro.parse_schema(plain(writer)), row)
    out.seek(0)
    parsed = [fastavro.parse_schema(plain(schema), named_schemas={}) for schema in (writer, reader)]
    assert fastavro.schemaless_reader(out, *parsed)


VALUES: dict[str, Any] = {
    "asset_class": "crypto", "timestamp": 1, "price": b"\1", "quantity": b"\1", "side": "BUY",
    "trade_conditions": [],
    "source_sequence": 1, "ingestion_timestamp": 1, "platform_sequence": None, "vendor_data": None,
}  # fmt: skip


def plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: plain(value) for key, value in schema.items() if key != "logicalType"}
    return [plain(each) for each in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("case", INCOMPATIBLE)
def test_what_cannot_be_read_is_told_with_field_and_rule(case: str) -> None:
    change, said = INCOMPATIBLE[case]
    assert unreadable(changed(change), avro_schema(Trade, 2)) == [said]


def test_every_field_is_told() -> None:
    schema = changed(set_type("currency", "long"))
    add(name="venue", type="string")({}, schema["fields"])
    assert [line.partition(":")[0] for line in unreadable(schema, avro_schema(Trade, 3))] == [
        "currency",
        "venue",
    ]


def test_another_record_is_another_record() -> None:
    assert unreadable(avro_schema(Quote, 3), avro_schema(Trade, 3)) == [
        "the record: Trade was written, and Quote is another name"
    ]
    assert unreadable(avro_schema(Trade, 3), "string") == [
        "the record: string was written, and record does not read it"
    ]


@pytest.mark.parametrize(
    ("record_type", "version"),
    EVERY_VERSION,
    ids=[f"{one.__name__}-{number}" for one, number in EVERY_VERSION],
)
def test_all_our_versions_read_each_other(record_type: Any, version: int) -> None:
    for one, other in EVERY_VERSION:
        if one is record_type:
            assert unreadable(avro_schema(record_type, version), avro_schema(record_type, other)) == []


def test_the_usual_record_is_what_the_pairs_are_about() -> None:
    assert [field["name"] for field in avro_schema(Trade, 3)["fields"]] == list(TRADE.__struct_fields__)
