"""Whether data that one Avro schema wrote can be read by another, and if not which field breaks which rule.

Avro's own rules of schema resolution, for what our schemas are made of; a registry's words differ from one to
the next and name no field.
"""

from collections.abc import Mapping
from typing import Any

# By what other words of Avro a reader may call what was written.
PROMOTED: Mapping[str, frozenset[str]] = {
    "int": frozenset({"int", "long", "float", "double"}),
    "long": frozenset({"long", "float", "double"}),
    "float": frozenset({"float", "double"}),
    "string": frozenset({"string", "bytes"}),
    "bytes": frozenset({"bytes", "string"}),
}


def unreadable(reader: Any, writer: Any, path: str = "") -> list[str]:
    """Why a reader with one schema cannot read what another wrote, a line a field; empty where it can."""
    if isinstance(writer, list):
        # Any of them may have been written.
        return [line for branch in writer for line in unreadable(reader, branch, path)]
    was = kind(writer)
    if isinstance(reader, list):
        if any(not unreadable(branch, writer, path) for branch in reader):
            return []
        return [f"{place(path)}: {was} was written, and none of {', '.join(map(kind, reader))} reads it"]
    if (now := kind(reader)) not in PROMOTED.get(was, frozenset({was})):
        return [f"{place(path)}: {was} was written, and {now} does not read it"]
    return RULES.get(was, logical)(reader, writer, path)


def fields(reader: Any, writer: Any, path: str) -> list[str]:
    """What differs in the fields of two records; one that only the writer had is left out by the reader."""
    if other := names(reader, writer, path):
        return other
    written = {field["name"]: field for field in writer.get("fields", ())}
    found = []
    for field in reader.get("fields", ()):
        below = f"{path}.{field['name']}" if path else str(field["name"])
        before = next(
            (written[name] for name in (field["name"], *field.get("aliases", ())) if name in written), None
        )
        if before is not None:
            found += unreadable(field["type"], before["type"], below)
        elif "default" not in field:
            found.append(f"{below}: a new field needs a default, as what was written does not have it")
    return found


def names(reader: Any, writer: Any, path: str) -> list[str]:
    """Whether both are called the same, or the reader knows the other's name as its own."""
    known = {last(name) for name in (reader["name"], *reader.get("aliases", ()))}
    if last(writer["name"]) in known:
        return []
    return [f"{place(path)}: {writer['name']} was written, and {reader['name']} is another name"]


def symbols(reader: Any, writer: Any, path: str) -> list[str]:
    """Words of a closed list that the reader does not know and has no default for."""
    if other := names(reader, writer, path):
        return other
    gone = [word for word in writer["symbols"] if word not in reader["symbols"]]
    if not gone or "default" in reader:
        return []
    return [
        f"{place(path)}: {', '.join(gone)} may have been written, and is no word of {reader['name']} any more"
    ]


def items(reader: Any, writer: Any, path: str) -> list[str]:
    """What differs in what lists have."""
    return unreadable(reader["items"], writer["items"], f"{path}[]")


def values(reader: Any, writer: Any, path: str) -> list[str]:
    """What differs in what maps have."""
    return unreadable(reader["values"], writer["values"], f"{path}{{}}")


def logical(reader: Any, writer: Any, path: str) -> list[str]:
    """Whether the same bytes mean the same: scale and precision, or what a number counts."""
    means, meant = meaning(reader), meaning(writer)
    if means == meant:
        return []
    return [f"{place(path)}: {shown(meant)} was written, and would be taken for {shown(means)}"]


# For what is the same word of Avro; what is not named here is all that it is.
RULES = {"record": fields, "enum": symbols, "array": items, "map": values}


def meaning(schema: Any) -> tuple[Any, ...]:
    """What lies behind a plain type; nothing for one that is only itself."""
    if not isinstance(schema, dict) or "logicalType" not in schema:
        return ()
    return tuple(schema.get(key, 0) for key in ("logicalType", "precision", "scale"))


def shown(meant: tuple[Any, ...]) -> str:
    """The same for a person."""
    if not meant:
        return "a plain value"
    return f"{meant[0]}({meant[1]},{meant[2]})" if meant[0] == "decimal" else str(meant[0])


def kind(schema: Any) -> str:
    """The word of Avro for it."""
    if isinstance(schema, dict):
        return kind(schema["type"])
    return "union" if isinstance(schema, list) else str(schema)


def last(name: str) -> str:
    """A name without its namespace, which Avro does not compare."""
    return name.rpartition(".")[2]


def place(path: str) -> str:
    """Where; the record itself has no field's name."""
    return path or "the record"
