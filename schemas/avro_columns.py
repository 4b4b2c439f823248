"""Avro bytes of many records of one type at once, column by column: quick enough for a bus.

The law: byte for byte what `schemas.avro.encode` writes for each record, and ValueError where that raises it.
Nothing is remembered between calls. What a column says again and again is encoded once, and what is the same
in every record is joined to its neighbours: of a live market most columns say one word, and times and ids
have their high digits in common.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from schemas.avro import covered, map_of
from schemas.columns import Column
from schemas.fields import MONEY_SCALE
from schemas.money import PLAIN, units

# A piece of every record: the same bytes in all of them, or bytes for each.
Part = bytes | Sequence[bytes]
Encode = Callable[[Sequence[Any]], list[Part]]


def encode_many(records: Sequence[Struct], version: int, prefix: bytes = b"") -> list[bytes]:
    """The Avro bytes of records of one type, each behind the prefix; ValueError as `schemas.avro.encode`."""
    if not records:
        return []
    (record_type,) = set(map(type, records))
    return encode_columns(record_type, version, list(zip(*map(astuple, records), strict=True)), prefix)


def encode_columns(
    record_type: type[Struct], version: int, columns: Sequence[Sequence[Any]], prefix: bytes = b""
) -> list[bytes]:
    """The same of records that are already columns, all as long as the first."""
    parts: list[Part] = [prefix]
    numbers: dict[tuple[bool, Sequence[int]], list[Part]] = {}  # one id is in several columns
    # An older version has fewer fields.
    for column, values in zip(covered(record_type, version), columns, strict=False):
        if column.kind != "integer":
            parts += column_parts(column, values)
            continue
        same = column.nullable, tuple(values)
        if same not in numbers:
            numbers[same] = column_parts(column, values)
        parts += numbers[same]
    return whole(parts, len(columns[0]))


def whole(parts: Sequence[Part], count: int) -> list[bytes]:
    """Each record's bytes, of so many."""
    pieces: list[Any] = []
    same = b""
    for part in parts:
        if isinstance(part, bytes):
            same += part
        else:
            pieces += [repeat(same), part] if same else [part]
            same = b""
    if len(pieces) == 1 and not same:
        return list(pieces[0])
    return list(map(b"".join, zip(*pieces, repeat(same, count), strict=False)))


def column_parts(column: Column, values: Sequence[Any]) -> list[Part]:
    """One column: whether each is there, where it may be absent, and what it is."""
    encode = enum_of(column) if column.kind == "enum" else ENCODE[column.kind]
    if not column.nullable:
        return repeated(encode, values)
    if None not in values:
        return [PRESENT, *repeated(encode, values)]
    there = [value for value in values if value is not None]
    each = iter(whole([PRESENT, *repeated(encode, there)], len(there)) if there else ())
    return [[ABSENT if value is None else next(each) for value in values]] if there else [ABSENT]


# Which of the two types of a nullable column follows.
ABSENT, PRESENT = b"\x00", b"\x02"


def repeated(encode: Encode, values: Sequence[Any]) -> list[Part]:
    """Each different value encoded once, where that is less work."""
    different = list(set(values))
    if len(different) == 1:
        return [b"".join([part if isinstance(part, bytes) else part[0] for part in encode(different)])]
    if 2 * len(different) > len(values):
        return encode(values)
    table = dict(zip(different, whole(encode(different), len(different)), strict=True))
    return [[table[value] for value in values]]


# --- numbers: the low bits first, seven in a byte, whose highest bit says that more follow


def unsigned(number: int) -> bytes:
    """One number of any size, at least zero."""
    return LAST[number] if number < GROUP else MORE[number & MASK] + unsigned(number >> BITS)


def all_unsigned(numbers: Sequence[int]) -> list[Part]:
    """Many of them."""
    if max(numbers) < GROUP:
        return [[LAST[number] for number in numbers]]
    if min(numbers) >= GROUP:
        low = [MORE[number & MASK] for number in numbers]
        return [low, *repeated(all_unsigned, [number >> BITS for number in numbers])]
    return [list(map(unsigned, numbers))]


# Two bytes at a time, from tables: all that end a number, and all that stand before more of it.
BITS = 14
GROUP = 1 << BITS
MASK = GROUP - 1
LAST = tuple(bytes([low]) if low < 0x80 else bytes([low & 0x7F | 0x80, low >> 7]) for low in range(GROUP))
MORE = tuple(bytes([low & 0x7F | 0x80, low >> 7 | 0x80]) for low in range(GROUP))

LONG_MAX = 2**63 - 1


def longs(values: Sequence[int]) -> list[Part]:
    """Numbers of either sign, doubled, such that those near zero are short."""
    lowest = min(values)
    if lowest < -LONG_MAX - 1 or max(values) > LONG_MAX:
        raise ValueError("a number is beyond 64 bits")
    if lowest >= GROUP:
        low = [MORE[(value << 1) & MASK] for value in values]
        return [low, *repeated(all_unsigned, [value >> (BITS - 1) for value in values])]
    return all_unsigned([value << 1 if value >= 0 else (-value << 1) - 1 for value in values])


# --- everything else is numbers, and bytes behind their length


def sized(values: Sequence[bytes]) -> list[Part]:
    """Bytes behind their length."""
    lengths = set(map(len, values))
    if len(lengths) == 1:
        return [unsigned(lengths.pop() << 1), values]
    if max(lengths) << 1 < GROUP:
        return [[LAST[len(value) << 1] for value in values], values]
    return [[unsigned(len(value) << 1) for value in values], values]


def texts(values: Sequence[str]) -> list[Part]:
    """Text as UTF-8; what is no text raises a ValueError."""
    return sized(list(map(str.encode, values)))


def decimals(values: Sequence[str]) -> list[Part]:
    """Plain numbers as whole units."""
    lines = "\n".join(values) + "\n"
    places = len(values[0].partition(".")[2])
    if lines.count("\n") != len(values) or not 0 < places <= MONEY_SCALE or not with_places(places)(lines):
        counts = [units(value) for value in values]  # says which is none
    else:
        one = 10 ** (MONEY_SCALE - places)
        counts = [int(digits) * one for digits in lines.replace(".", "").split()]
    return sized([count.to_bytes(count.bit_length() // 8 + 1, "big", signed=True) for count in counts])


@cache
def with_places(places: int) -> Callable[[str], object]:
    """Whether every line is a plain number with so many places, as one venue writes all of its own."""
    number = PLAIN.replace(OPTIONAL_PLACES, rf"\.[0-9]{{{places}}}")
    assert number != PLAIN
    return re.compile(rf"(?:{number}\n)+").fullmatch


OPTIONAL_PLACES = rf"(?:\.[0-9]{{1,{MONEY_SCALE}}})?"


def lists(values: Sequence[Sequence[str]]) -> list[Part]:
    """Lists of text."""
    return [[block(words, len(words)) for words in values]]


def maps(values: Sequence[str]) -> list[Part]:
    """JSON objects of text, as maps; those of one venue nearly always have the same keys."""
    rows = [map_of(value) for value in values]
    keys, *others = {tuple(row) for row in rows}
    if others or not keys:
        return [[block([word for pair in row.items() for word in pair], len(row)) for row in rows]]
    parts: list[Part] = [unsigned(len(keys) << 1)]
    for key, words in zip(keys, zip(*map(dict.values, rows), strict=True), strict=True):
        parts += [text(key), *repeated(texts, words)]
    return [*parts, END]


def block(words: Sequence[str], count: int) -> bytes:
    """What one list or map has, behind how many they are, and the end; one without any is its end alone."""
    return b"".join([unsigned(count << 1), *map(text, words), END]) if count else END


def text(word: str) -> bytes:
    """One text behind its length."""
    data = word.encode()
    return unsigned(len(data) << 1) + data


END = b"\x00"


@cache
def enum_of(column: Column) -> Encode:
    """Words of a closed list, as their places in it."""
    places = {word: LAST[place << 1] for place, word in enumerate(column.words)}

    def encode(values: Sequence[str]) -> list[Part]:
        try:
            return [[places[value] for value in values]]
        except KeyError as error:
            raise ValueError(f"{error.args[0]!r} is not one of {', '.join(column.words)}") from None

    return encode


ENCODE: Mapping[str, Encode] = {
    "text": texts,
    "words": lists,
    "integer": longs,
    "time": longs,
    "decimal": decimals,
    "map": maps,
    "bytes": sized,
}
