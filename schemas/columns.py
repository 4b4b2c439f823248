"""What the columns of a record are, read from its Struct. Only this file knows how types carry their marks;
what a column becomes in Avro or Iceberg is said there.
"""

from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

Kind = Literal["text", "words", "integer", "boolean", "time", "decimal", "map", "enum", "bytes"]

_KINDS: dict[Any, Kind] = {
    str: "text",
    tuple[str, ...]: "words",
    int: "integer",
    bool: "boolean",
    bytes: "bytes",
}


class Column(Struct, frozen=True):
    """One field of a record, apart from how anything stores it."""

    name: str
    kind: Kind
    meaning: str
    nullable: bool = False
    enum: str = ""  # name of the enumeration, where kind is enum
    words: tuple[str, ...] = ()  # of the enumeration, in their order


@cache
def columns(record_type: type[Struct]) -> tuple[Column, ...]:
    """The columns of a record, in field order."""
    hints = get_type_hints(record_type, include_extras=True)
    return tuple(_column(name, hints[name]) for name in record_type.__struct_fields__)


def _column(name: str, hint: Any) -> Column:
    meaning, nullable = "", False
    extra: dict[str, Any] = {}
    while True:
        if get_origin(hint) is Annotated:
            for mark in (mark for mark in hint.__metadata__ if isinstance(mark, Meta)):
                meaning = mark.description or meaning
                extra |= mark.extra or {}
            hint = hint.__origin__
        elif NoneType in get_args(hint):
            nullable = True
            (hint,) = (part for part in get_args(hint) if part is not NoneType)
        else:
            break
    words = get_args(hint) if get_origin(hint) is Literal else ()
    kind: Kind = extra.get("logical") or ("text" if words else _KINDS[hint])
    is_enum = kind == "enum"
    return Column(name, kind, meaning, nullable, extra["name"] if is_enum else "", words if is_enum else ())
