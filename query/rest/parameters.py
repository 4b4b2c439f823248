"""What a question can be told over HTTP: its parameters as a model that refuses whatever it does not know."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from connectors.venues import VENUES
from query.lake import LIMIT, Place
from query.questions import Parameter, Question
from query.reader import AsOf
from query.rest.forms import FORMS

START = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Whatever is later than this has not happened; and what is added to it still is a time.
TIME_MAX = (datetime(2200, 1, 1, tzinfo=UTC) - START) // MICROSECOND
TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,12})?([Zz]|[+\- ]\d\d:\d\d)", re.ASCII)
MILLISECONDS = re.compile(r"\d{1,16}", re.ASCII)
SNAPSHOT = re.compile(r"\d{1,19}", re.ASCII)
# Longer than any symbol, id or tag.
TEXT_MAX = 100
# Some pages.
STATEMENT_MAX = 20_000


def time_of(text: Any) -> int:
    """Microseconds of an RFC 3339 time or of milliseconds; before 1970 nothing has happened."""
    if MILLISECONDS.fullmatch(str(text)):
        return min(int(text) * 1_000, TIME_MAX)
    if not TIME.fullmatch(str(text)):
        raise ValueError("is neither a time like 2026-11-21T09:30:00Z nor milliseconds since 1970")
    # A plus that nobody escaped arrives as a blank.
    moment = datetime.fromisoformat(str(text).upper().replace(" ", "+"))
    return max(0, min((moment - START) // MICROSECOND, TIME_MAX))


def past_of(text: Any) -> AsOf:
    """Which past is meant: a moment, a snapshot's number, or a tag."""
    if SNAPSHOT.fullmatch(str(text)):
        return AsOf(snapshot=int(text))
    return AsOf(received=time_of(text)) if TIME.fullmatch(str(text)) else AsOf(tag=str(text))


def place_of(text: Any) -> Place:
    """Where a page begins."""
    try:
        time, rest = msgspec.json.decode(urlsafe_b64decode(str(text) + "=" * (-len(text) % 4)), type=Place)
    except (ValueError, msgspec.DecodeError):
        raise ValueError("is no `next` of an answer") from None
    if not 0 <= time <= TIME_MAX:
        raise ValueError("is no `next` of an answer")
    return time, rest


def behind(rows: pa.Table, place: Sequence[str]) -> str:
    """What names the place of the last row."""
    last = rows.slice(rows.num_rows - 1)
    time = last.column(place[0]).cast(pa.int64())[0].as_py()
    rest = "\0".join(last.column(column)[0].as_py() for column in place[1:])
    return urlsafe_b64encode(msgspec.json.encode((time, rest))).rstrip(b"=").decode()


def read(how: Any, **described: Any) -> Any:
    """A type that is read from text by a function, and described so."""
    return Annotated[Any, BeforeValidator(how), WithJsonSchema(described)]


MOMENT = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer", "minimum": 0}]}
TEXT = Annotated[str, Field(min_length=1, max_length=TEXT_MAX, pattern=r"^[^\x00-\x1f]+$")]
INTERVAL = Annotated[str, Field(pattern="^[1-9][0-9]{0,3}[smhd]$")]
KINDS: dict[str, Any] = {
    "text": TEXT,
    "interval": INTERVAL,
    "time": read(time_of, **MOMENT),
    "past": read(past_of, type="string", minLength=1, maxLength=TEXT_MAX),
    "place": read(place_of, type="string", minLength=1),
}


def field(kind: Any, about: str, default: Any = None, example: Any = None) -> tuple[Any, Any]:
    """A field of a model; what was not told is None or its default."""
    return kind, Field(default, description=about, examples=None if example is None else [example])


SCOPE = {
    "venue": field(Annotated[TEXT, Field(json_schema_extra={"enum": list(VENUES)})], "Only this venue."),
    "symbol": field(TEXT, "Only this symbol.", example="BTC-USDT"),
    "since": field(KINDS["time"], "Only from then on: RFC 3339, or milliseconds since 1970."),
    "until": field(KINDS["time"], "Only before then."),
}


def model_of(question: Question, rows_max: int) -> type[BaseModel]:
    """All that one question can be told."""
    fields = {name: SCOPE[name] for name in question.scope}
    fields |= {name: of_parameter(parameter, rows_max) for name, parameter in question.told().items()}
    if question.place:
        fields["after"] = field(KINDS["place"], "Only behind there: `next` of the page before.")
    fields["format"] = field(Literal[tuple(FORMS)], "The form of the answer; else what `Accept` says.")
    return model(question.name, fields)


class Asked(BaseModel):
    """A statement."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"statement": "select symbol, sum(quantity) as volume from trades group by 1"}
        },
    )

    statement: Annotated[str, Field(min_length=1, max_length=STATEMENT_MAX)]


class SqlTold(BaseModel):
    """What can be told beside it."""

    model_config = ConfigDict(extra="forbid")

    format: Literal[tuple(FORMS)] = None  # type: ignore[valid-type]


def stream_model(events: Sequence[str]) -> type[BaseModel]:
    """All that a stream can be told."""
    words = "|".join(events)
    some = Annotated[str, Field(pattern=f"^({words})(,({words}))*$")]
    return model(
        "stream",
        {
            "venue": SCOPE["venue"],
            "symbol": SCOPE["symbol"],
            "interval": field(INTERVAL, "Of bars, such as 1s, 3m, 2h or 1d.", "1m"),
            "events": field(some, "Only these.", ",".join(events)),
        },
    )


def model(name: str, fields: dict[str, tuple[Any, Any]]) -> type[BaseModel]:
    """A model that refuses all else."""
    made: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)  # type: ignore[call-overload]
    return made


def of_parameter(parameter: Parameter, rows_max: int) -> tuple[Any, Any]:
    """One parameter of a question."""
    if parameter.choices:
        return field(Literal[parameter.choices], parameter.about)
    if parameter.kind == "count":
        default = parameter.default or (LIMIT if parameter.name == "limit" else None)
        return field(Annotated[int, Field(ge=1, le=rows_max)], parameter.about, default)
    return field(KINDS[parameter.kind], parameter.about, parameter.default)
