"""Records as messages of a bus: one byte, the id of the schema that wrote it, the Avro bytes.

This is Confluent's wire format, so that everybody's consumers read it. Pure: who knows schemas by their ids
is an argument. What cannot be decoded raises Unreadable with the reason, whatever the bytes are.
"""

import io
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic

from msgspec import Struct

from schemas.avro import AnyRecord, avro_schema, newest, reader_of
from schemas.avro_columns import encode_many
from schemas.resolution import unreadable

MAGIC = 0
ID_MAX = 2**31 - 1  # as registries count
_HEADER = struct.Struct(">bI")
HEADER_BYTES = _HEADER.size

# What fastavro raises on bytes that its schema did not write.
BROKEN = (EOFError, IndexError, KeyError, MemoryError, OverflowError, StopIteration, TypeError, ValueError)


class Unreadable(ValueError):
    """Bytes that are not a message of that type of record; says why."""


def header(identifier: int) -> bytes:
    """What stands before the Avro bytes."""
    return _HEADER.pack(MAGIC, identifier)


def framed(identifier: int, records: Sequence[Struct], version: int) -> list[bytes]:
    """The messages of records of one type; the id is that of the schema of the version."""
    return encode_many(records, version, header(identifier))


def identifier_of(message: bytes) -> int:
    """The id of the schema that wrote it."""
    if len(message) < HEADER_BYTES:
        raise Unreadable(f"{len(message)} bytes, shorter than the header of {HEADER_BYTES}")
    magic, identifier = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise Unreadable(f"begins with {magic}, not with {MAGIC}")
    if identifier > ID_MAX:
        raise Unreadable(f"no schema has the id {identifier}")
    return int(identifier)


# The Avro schema of an id; its errors are its own.
Schemas = Callable[[int], Mapping[str, Any]]


class Reader(Generic[AnyRecord]):
    """Reads messages of one type of record, whatever version wrote each."""

    def __init__(self, record_type: type[AnyRecord], schemas: Schemas) -> None:
        self._type, self._schemas = record_type, schemas
        self._readers: dict[int, Callable[[io.BytesIO], AnyRecord]] = {}

    def record(self, message: bytes) -> AnyRecord:
        """The record of a message, as the newest version has it."""
        identifier = identifier_of(message)
        read = self._readers.get(identifier) or self._reader(identifier)
        stream = io.BytesIO(message)
        stream.seek(HEADER_BYTES)
        try:
            found = read(stream)
        except BROKEN as error:
            raise Unreadable(f"not what schema {identifier} writes: {str(error)[:100]}") from error
        if left := len(message) - stream.tell():
            raise Unreadable(f"{left} bytes behind what schema {identifier} writes")
        return found

    def _reader(self, identifier: int) -> Callable[[io.BytesIO], AnyRecord]:
        writer = self._schemas(identifier)
        if broken := unreadable(avro_schema(self._type, newest(self._type)), writer):
            raise Unreadable(f"schema {identifier} is not one of a {self._type.__name__}: {broken[0]}")
        if len(self._readers) >= READERS_MAX:
            self._readers.clear()
        self._readers[identifier] = reader_of(self._type, writer)
        return self._readers[identifier]


# A topic has a handful of versions; ids that somebody makes up must not fill the memory.
READERS_MAX = 100
