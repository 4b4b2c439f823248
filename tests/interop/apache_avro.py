"""Apache's own avro-tools takes every schema that was frozen, and reads from our bytes what we meant."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from schemas.avro import VERSIONS, covered, encode
from schemas.columns import Column, columns
from schemas.freeze import HISTORY, frozen_name
from schemas.money import units
from tests.interop.jars import jars
from tests.services.programs import find_java

# Of each kind what goes wrong first: signs, last places, letters that are more than a byte.
VALUES: dict[str, Any] = {
    "text": "ä-1 \U0001f600",
    "words": ("A", ""),
    "integer": -(2**63),
    "time": 1_700_000_000_123_456,
    "decimal": "-43250.000000000000000001",
    "map": '{"k":"v","ä":""}',
    "bytes": b"\x00\xff{",
}
TYPES = {"text": "string", "integer": "long", "time": "long", "decimal": "bytes", "words": "array"}


def run() -> None:
    """Every version of every record: its schema as Java's classes, its bytes as Avro's JSON."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for record_type, version in every_version():
            schema = HISTORY / frozen_name(record_type, version)
            told("compile", "schema", str(schema), str(folder / schema.stem))
            made = {path.name for path in (folder / schema.stem).rglob("*.java")}
            for record in (full(record_type), sparse(record_type)):
                data = folder / "data"
                data.write_bytes(encode(record, version))
                read = json.loads(told("fragtojson", "--schema-file", str(schema), str(data)))
                if read != meant(record, version):
                    raise SystemExit(f"{schema.name}: {read} is not {meant(record, version)}")
            print(f"avro-tools: {schema.name} compiles to {len(made)} classes and reads our bytes")


def every_version() -> Iterator[tuple[type[Struct], int]]:
    """All that was ever frozen."""
    return ((record_type, version) for record_type, versions in VERSIONS.items() for version in versions)


def told(*words: str) -> str:
    """What the tool says."""
    (jar,) = jars("avro-tools")
    command = [str(find_java()), "-XX:TieredStopAtLevel=1", "-jar", str(jar), *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def full(record_type: type[Struct]) -> Struct:
    """A record with everything."""
    return record_type(
        **{one.name: one.words[-1] if one.words else VALUES[one.kind] for one in columns(record_type)}
    )


def sparse(record_type: type[Struct]) -> Struct:
    """One without what may be absent."""
    absent = {one.name: None for one in columns(record_type) if one.nullable}
    return msgspec.structs.replace(full(record_type), **absent)


def meant(record: Struct, version: int) -> dict[str, Any]:
    """The record in Avro's JSON."""
    return {one.name: value_of(one, getattr(record, one.name)) for one in covered(type(record), version)}


def value_of(column: Column, value: Any) -> Any:
    """A value there: bytes as letters, and what may be absent with its type."""
    if value is None:
        return None
    if column.kind == "decimal":
        count = units(value)
        value = count.to_bytes(count.bit_length() // 8 + 1, "big", signed=True)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    elif column.kind == "map":
        value = msgspec.json.decode(value)
    elif column.kind == "words":
        value = list(value)
    return {TYPES.get(column.kind, column.kind): value} if column.nullable else value
