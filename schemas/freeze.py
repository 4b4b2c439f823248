"""Writes derived Avro schemas into `schemas/history`, once and for ever: `python -m schemas.freeze`.

What was frozen is in other people's registries and files, so it is never written a second time.
"""

import re
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from schemas.avro import VERSIONS, avro_schema

HISTORY = Path(__file__).parent / "history"


class Frozen(Exception):
    """A derived schema is no longer what was frozen under its version."""


def frozen_name(record_type: type[Struct], version: int) -> str:
    """The file of a version, such as dead_letter.1.avsc."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", record_type.__name__).lower()
    return f"{words}.{version}.avsc"


def frozen_text(record_type: type[Struct], version: int) -> bytes:
    """The bytes of that file: one property a line, so that a difference is read with ease."""
    return msgspec.json.format(msgspec.json.encode(avro_schema(record_type, version)), indent=2) + b"\n"


def freeze(history: Path) -> list[Path]:
    """Write what is not frozen yet and return it; Frozen, and nothing written, if a file would change."""
    derived = {
        history / frozen_name(record_type, version): frozen_text(record_type, version)
        for record_type, versions in VERSIONS.items()
        for version in versions
    }
    changed = [path.name for path, text in derived.items() if path.exists() and path.read_bytes() != text]
    if changed:
        raise Frozen(f"{', '.join(changed)}: frozen. Add a version in schemas/avro.py instead.")
    new = [path for path in derived if not path.exists()]
    for path in new:
        path.write_bytes(derived[path])
    return new


if __name__ == "__main__":
    try:
        for written in freeze(HISTORY):
            sys.stdout.write(f"{written.name}\n")
    except Frozen as error:
        sys.exit(str(error))
