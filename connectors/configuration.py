"""Reading the settings: tape.toml, the environment on top. Every problem is told at once, with its place.

Secrets come from the environment or from a file that `…_FILE` names, never from tape.toml, which is shown,
copied and committed.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from connectors.errors import TapeError, nearest
from connectors.settings import Settings
from connectors.symbols import SYMBOLS, suggest_symbol

Key = tuple[str, ...]

FILE = Path("tape.toml")
PREFIX = "TAPE_"
# Where the file is (--config), and where a test strikes: not settings.
NOT_A_SETTING = {"TAPE_CONFIG", "TAPE_FAILPOINTS"}
# What a cluster adds to the environment of every program next to a service called tape-something.
# Its names have no two underscores in a row, our settings below the first step do.
CLUSTER = re.compile(r"TAPE_(?!\w*__)(\w+_)?(SERVICE_(HOST|PORT)|PORT)(_\w+)?")
SOUNDS_SECRET = re.compile(
    r"secret|password|passphrase|token|credential|api_?key|private_?key", re.IGNORECASE
)


class SettingsError(TapeError):
    """The configuration cannot be used; the message names every problem."""


@dataclass(frozen=True)
class Loaded:
    """The settings and where each value came from: file:line or variable; a key not listed is a default."""

    settings: Settings
    origins: Mapping[Key, str]

    def rows(self) -> Iterator[tuple[str, object, str]]:
        """Every key with its value and origin, secrets as ***."""
        for key, value in leaves(self.settings.model_dump(mode="json")):
            shown = "***" if is_secret(annotation_at(type(self.settings), key)) and value else value
            yield ".".join(key), shown, self.origins.get(key, "default")


def load(
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    model: type[Settings] = Settings,
) -> Loaded:
    """The settings of this process, or SettingsError with every problem."""
    reading = Reading(model)
    path = file or FILE
    if file or path.exists():
        reading.read_file(path)
    reading.read_environment(os.environ if environment is None else environment)
    try:
        settings = model(**reading.values)
    except ValidationError as error:
        # A list that had only wrong items is told once, for the items.
        details = [
            each
            for each in error.errors(include_url=False)
            if each["type"] != "too_short" or not each["input"]
        ]
        reading.problems += [reading.worded(each, path) for each in details]
    if reading.problems:
        raise SettingsError(
            "\n".join(reading.problems),
            hint="`tape config schema` describes every key, `tape init` writes an example",
        )
    given = {key: reading.place(key, path) for key, _ in leaves(reading.values)}
    return Loaded(settings, given)


class Reading:
    """Values, their origins and the problems, gathered from both sources."""

    def __init__(self, model: type[Settings]) -> None:
        self.model = model
        self.values: dict[str, Any] = {}
        self.origins: dict[Key, str] = {}
        self.problems: list[str] = []

    def read_file(self, path: Path) -> None:
        """Take the values of tape.toml."""
        try:
            text = path.read_text(encoding="utf-8-sig")
            values = tomllib.loads(text)
        except FileNotFoundError:
            self.problems.append(f"{path}: no such file")
            return
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            self.problems.append(f"{path}: {error}")
            return
        self.origins |= {key: f"{path}:{line}" for key, line in lines_of(text).items()}
        for key, _ in list(leaves(values)):
            why = refused_secret(self.model, key)
            if why:
                self.problems.append(f"{self.place(key, path)}: {'.'.join(key)}: {why}")
                remove(values, key)
        self.values = values

    def read_environment(self, environment: Mapping[str, str]) -> None:
        """Put the TAPE_… variables on top."""
        for variable in sorted(environment):
            if not is_ours(variable):
                continue
            key = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            text = environment[variable]
            held = (*key[:-1], key[-1].removesuffix("_file"))
            if held != key and is_secret(annotation_at(self.model, held)):
                if variable.removesuffix("_FILE") in environment:
                    self.problems.append(f"{variable}: {'.'.join(held)}: set twice, here and without _FILE")
                    continue
                key = held
                try:
                    text = Path(text).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    self.problems.append(f"{variable}: {'.'.join(key)}: cannot read the file: {error}")
                    continue
            given = converted(annotation_at(self.model, key), text)
            for each, value in each_named(self.model, key, given):
                if put(self.values, each, value):
                    self.origins[each] = variable
                else:
                    self.problems.append(f"{variable}: {'.'.join(each)}: {each[-1]} is not inside a table")

    def place(self, key: Key, path: Path) -> str:
        """Where a key was set."""
        return origin(self.origins, key) or str(path)

    def worded(self, error: ErrorDetails, path: Path) -> str:
        """One problem as a person reads it: place, key, reason, nearest valid value."""
        key = tuple(str(part) for part in error["loc"] if isinstance(part, str) and part != "[key]")
        return f"{self.place(key, path)}: {'.'.join(key)}: {reason(error, key, self.model)}"


def is_ours(variable: str) -> bool:
    """Whether an environment variable is meant as a setting."""
    return variable.startswith(PREFIX) and variable not in NOT_A_SETTING and not CLUSTER.fullmatch(variable)


def refused_secret(model: type[Settings], key: Key) -> str | None:
    """Why a key of tape.toml is refused for being a secret; None for any other key."""
    annotation = annotation_at(model, key)
    if is_secret(annotation):
        variable = PREFIX + "__".join(key).upper()
        return (
            "a secret does not belong in a file that is shown and copied "
            f"(set {variable}, or {variable}_FILE to a file that holds it)"
        )
    if annotation is None and SOUNDS_SECRET.search(key[-1]):
        return "unknown key, and a secret does not belong in a file that is shown and copied"
    return None


def reason(error: ErrorDetails, key: Key, model: type[Settings]) -> str:
    """What is wrong with a value, and the nearest valid one."""
    kind, context = error["type"], error.get("ctx", {})
    got = "" if is_secret(annotation_at(model, key)) else f", got {written(error['input'])}"
    if kind == "extra_forbidden":
        return unknown_key(key, model)
    if kind == "tuple_type":
        return f"expected a list{got} (try {json.dumps([suggested_item(key, error['input'])])})"
    if kind == "literal_error":
        known = [str(value) for value in get_args(annotation_at(model, key))]
        meant = nearest(str(error["input"]), known)
        return f"expected one of {', '.join(known)}{got}" + (f' (try "{meant}")' if meant else "")
    if kind == "value_error":
        return str(context["error"])
    expected, nearest_valid = EXPECTED.get(kind, error["msg"]), default_at(model, key)
    if kind == "path_type" and isinstance(error["input"], int | float):
        nearest_valid = str(error["input"])
    for bound, words in BOUNDS.items():
        if bound in context:
            expected = f"{words} {context[bound]:.12g}"
            nearest_valid = context[bound] if bound in ("ge", "le") else nearest_valid
    return f"expected {expected}{got}" + ("" if nearest_valid is None else f" (try {written(nearest_valid)})")


EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "dict_type": "a table",
    "model_type": "a table",
    "too_short": "at least one",
}
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def unknown_key(key: Key, model: type[Settings]) -> str:
    """What to say about a key that does not exist."""
    table = annotation_at(model, key[:-1]) if key[:-1] else model
    known = list(table.model_fields) if isinstance(table, type) and issubclass(table, BaseModel) else []
    if meant := nearest(key[-1], known):
        return f"unknown key (did you mean {meant}?)"
    # TAPE_LOG_LEVEL for TAPE_LOG__LEVEL.
    flat = {"_".join(each): each for each, _ in leaves(model().model_dump())} if len(key) == 1 else {}
    if meant := nearest(key[-1], flat):
        found = flat[meant]
        variable = PREFIX + "__".join(found).upper()
        return f"unknown key (did you mean {'.'.join(found)}, as a variable {variable}?)"
    return f"unknown key (known: {', '.join(known)})"


def suggested_item(key: Key, value: object) -> str:
    """The list item that was most likely meant where a single value was given."""
    if key[-1] == "symbols":
        return suggest_symbol(str(value), SYMBOLS.get(key[-2], ()))
    return str(value)


def written(value: object) -> str:
    """A value as tape.toml would have it, cut to what helps."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


# Longer values would hide the reason behind them.
SHOWN_MAX = 60


def annotation_at(model: Any, key: Key) -> Any:
    """The type of a setting; None where there is no such setting."""
    for part in key:
        if get_origin(model) is dict:
            model = get_args(model)[1]
        elif isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = model.model_fields[part].annotation
        else:
            return None
    return model


def default_at(model: Any, key: Key) -> Any:
    """The default of a setting; None where it has none."""
    table = annotation_at(model, key[:-1]) if key[:-1] else model
    if isinstance(table, type) and issubclass(table, BaseModel) and key[-1] in table.model_fields:
        default = table.model_fields[key[-1]].default
        return default if isinstance(default, bool | int | float | str) else None
    return None


def is_secret(annotation: Any) -> bool:
    """Whether a setting of that type must not be shown."""
    return annotation is SecretStr or SecretStr in get_args(annotation)


def each_named(model: Any, key: Key, value: Any) -> Iterator[tuple[Key, Any]]:
    """What a variable sets: its own key, or all that a table of settings in JSON names."""
    if isinstance(value, dict) and holds_settings(annotation_at(model, key)):
        for name, inner in value.items():
            yield from each_named(model, (*key, name), inner)
    else:
        yield key, value


def holds_settings(annotation: Any) -> bool:
    """Whether it is a table of settings, or of such tables."""
    inside = get_args(annotation)[1] if get_origin(annotation) is dict else annotation
    return isinstance(inside, type) and issubclass(inside, BaseModel)


def converted(annotation: Any, text: str) -> Any:
    """The text of a variable as tape.toml would type it; what does not fit stays text, to be refused."""
    if get_origin(annotation) is tuple and not text.lstrip().startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    is_json = annotation in (bool, int, float) or get_origin(annotation) in (tuple, dict)
    if is_json or holds_settings(annotation):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def put(values: dict[str, Any], key: Key, value: Any) -> bool:
    """Set a nested value; False where something on the way is not a table."""
    for part in key[:-1]:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            return False
    values[key[-1]] = value
    return True


def remove(values: dict[str, Any], key: Key) -> None:
    """Take a nested value out."""
    for part in key[:-1]:
        values = values[part]
    del values[key[-1]]


def leaves(values: Mapping[str, Any], key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every value that is not a table, with its key."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*key, name))
        else:
            yield (*key, name), value


def origin(origins: Mapping[Key, str], key: Key) -> str | None:
    """Where a key was set: itself, the inline table around it, or what is inside it."""
    around = (origins[key[:size]] for size in range(len(key), 0, -1) if key[:size] in origins)
    inside = (place for other, place in origins.items() if other[: len(key)] == key)
    return next(around, None) or next(inside, None)


HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
ASSIGNMENT = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def lines_of(text: str) -> dict[Key, int]:
    """The line of each key; the parser of the standard library does not tell."""
    table: Key = ()
    lines: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if header := HEADER.match(line):
            table = split_key(header[1])
            lines.setdefault(table, number)
        elif assignment := ASSIGNMENT.match(line):
            lines.setdefault((*table, *split_key(assignment[1])), number)
    return lines


def split_key(dotted: str) -> Key:
    """The parts of a dotted key, unquoted."""
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
