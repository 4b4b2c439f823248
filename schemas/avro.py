"""Records as Avro: schemas derived from the Structs, and their bytes. Pure: `schemas.freeze` writes files.

A version is the first so many fields of a record. Fields are only ever added, last and nullable, so that each
version reads what any other wrote.
"""

import io
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import fastavro
import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from schemas.columns import Column, columns
from schemas.fields import MONEY_PRECISION, MONEY_SCALE
from schemas.health import DeadLetter, Frame, Gap
from schemas.market import Bar, Quote, Trade
from schemas.money import plain, units

AnyRecord = TypeVar("AnyRecord", bound=Struct)

NAMESPACE = "tapekeeper.market"

# How many fields each version has; None: all of today's. A new field closes the last entry, opens the next.
VERSIONS: Mapping[type[Struct], Mapping[int, int | None]] = {
    Trade: {2: 15, 3: None},
    Quote: {2: 15, 3: None},
    Bar: {1: None},
    Gap: {1: None},
    DeadLetter: {1: None},
    Frame: {1: None},
}

_TYPES: Mapping[str, Any] = {
    "text": "string",
    "words": {"type": "array", "items": "string"},
    "integer": "long",
    "time": {"type": "long", "logicalType": "timestamp-micros"},
    "decimal": {
        "type": "bytes",
        "logicalType": "decimal",
        "precision": MONEY_PRECISION,
        "scale": MONEY_SCALE,
    },
    "map": {"type": "map", "values": "string"},
    "bytes": "bytes",
}


def newest(record_type: type[Struct]) -> int:
    """The version that has all fields."""
    return max(VERSIONS[record_type])


def avro_schema(record_type: type[Struct], version: int) -> dict[str, Any]:
    """The Avro schema of a version of a record, as it is frozen and registered."""
    return _schema(record_type, version, _TYPES)


def encode(record: Struct, version: int) -> bytes:
    """The Avro bytes of a record, without any header; ValueError for what the schema cannot hold exactly."""
    wire = _wire(type(record), version)
    row = dict(zip(wire.names, astuple(record), strict=False))  # an older version has fewer fields
    for name, give in wire.given:
        if row[name] is not None:
            row[name] = give(row[name])
    out = io.BytesIO()
    try:
        fastavro.schemaless_writer(out, wire.schema, row)
    except OverflowError as error:
        raise ValueError(f"a number of {type(record).__name__} is beyond 64 bits") from error
    return out.getvalue()


def decode(record_type: type[AnyRecord], version: int, data: bytes) -> AnyRecord:
    """The record of bytes that `version` wrote; what it did not know is null, money in its shortest form."""
    return _read(record_type, _wire(record_type, version), io.BytesIO(data))


def reader_of(record_type: type[AnyRecord], writer: Mapping[str, Any]) -> Callable[[io.BytesIO], AnyRecord]:
    """Reads what a schema wrote that `schemas.resolution` finds readable, as the newest version has it."""
    for version in VERSIONS[record_type]:
        if avro_schema(record_type, version) == writer:
            return partial(_read, record_type, _wire(record_type, version))
    wire = _wire(record_type, newest(record_type))
    written = fastavro.parse_schema(_plain(writer), named_schemas={})
    return partial(_read, record_type, wire._replace(schema=written), reader=wire.schema)


def _read(record_type: type[AnyRecord], wire: "_Wire", data: io.BytesIO, reader: Any = None) -> AnyRecord:
    row: Any = fastavro.schemaless_reader(data, wire.schema, reader)
    for name, take in wire.taken:
        if row[name] is not None:
            row[name] = take(row[name])
    return record_type(**row)


def _plain(schema: Any) -> Any:
    """A schema without logical types, as below."""
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def covered(record_type: type[Struct], version: int) -> tuple[Column, ...]:
    """The columns that a version has."""
    return columns(record_type)[: VERSIONS[record_type][version]]


def _schema(record_type: type[Struct], version: int, types: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "record",
        "name": record_type.__name__,
        "namespace": NAMESPACE,
        "doc": record_type.__doc__,
        "fields": [_field(column, types) for column in covered(record_type, version)],
    }


def _field(column: Column, types: Mapping[str, Any]) -> dict[str, Any]:
    enum = {"type": "enum", "name": column.enum, "symbols": list(column.words)}
    form = enum if column.kind == "enum" else types[column.kind]
    if column.nullable:
        return {"name": column.name, "type": ["null", form], "default": None, "doc": column.meaning}
    return {"name": column.name, "type": form, "doc": column.meaning}


def _decimal_bytes(text: str) -> bytes:
    count = units(text)
    return count.to_bytes(count.bit_length() // 8 + 1, "big", signed=True)


def _decimal_text(data: bytes) -> str:
    count = int.from_bytes(data[: _DECIMAL_BYTES_MAX + 1], "big", signed=True)
    if len(data) > _DECIMAL_BYTES_MAX or abs(count) >= _DECIMAL_END:
        raise ValueError(f"a number of more than {MONEY_PRECISION} digits")
    return plain(count)


# Others may write what we never would.
_DECIMAL_END = 10**MONEY_PRECISION
_DECIMAL_BYTES_MAX = _DECIMAL_END.bit_length() // 8 + 1


def _map_text(words: Mapping[str, str]) -> str:
    return msgspec.json.encode(words).decode()


map_of = msgspec.json.Decoder(dict[str, str]).decode  # its error is a ValueError

Convert = Callable[[Any], Any]

# How a value that is not null becomes what that schema names, and the way back; other kinds are as they are.
_GIVEN: Mapping[str, Convert] = {"decimal": _decimal_bytes, "map": map_of}
_TAKEN: Mapping[str, Convert] = {"decimal": _decimal_text, "map": _map_text, "words": tuple}


class _Wire(NamedTuple):
    schema: Any
    names: tuple[str, ...]
    given: tuple[tuple[str, Convert], ...]
    taken: tuple[tuple[str, Convert], ...]


@cache
def _wire(record_type: type[Struct], version: int) -> _Wire:
    # The same bytes by the same schema without its logical types: fastavro then makes no datetime and no
    # Decimal, which nobody here wants, and no number can be rounded by anybody's context.
    types = dict(_TYPES) | {"time": "long", "decimal": "bytes"}
    known = covered(record_type, version)
    return _Wire(
        fastavro.parse_schema(_schema(record_type, version, types)),
        tuple(column.name for column in known),
        tuple((column.name, _GIVEN[column.kind]) for column in known if column.kind in _GIVEN),
        tuple((column.name, _TAKEN[column.kind]) for column in known if column.kind in _TAKEN),
    )
