"""The forms of an answer: which one somebody wants, and its bytes. Facts go inside where there is room."""

import io
from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.errors import TapeError
from query.answer import Answer
from query.surface import as_text, csv_of, facts, with_facts


class NotAcceptable(TapeError):
    """We have no such form."""

    code = "not_acceptable"


class Form(NamedTuple):
    """One form: what HTTP calls it, and how it is written."""

    media_type: str
    write: Callable[[Answer, str | None], bytes]


def as_json(answer: Answer, following: str | None) -> bytes:
    """One object: the facts, where the next page begins, and the rows."""
    rows = as_text(answer.rows).to_pylist()
    return msgspec.json.encode({**facts(answer), "next": following, "rows": rows})


def as_lines(answer: Answer, _: str | None) -> bytes:
    """An object a line."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in as_text(answer.rows).to_pylist())


def as_csv(answer: Answer, _: str | None) -> bytes:
    """Rows with a header."""
    return csv_of(as_text(answer.rows)).encode()


def as_arrow(answer: Answer, _: str | None) -> bytes:
    """A stream of Arrow's; the facts are in the metadata of its schema."""
    sink = io.BytesIO()
    rows = with_facts(answer)
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_table(rows)
    return sink.getvalue()


def as_parquet(answer: Answer, _: str | None) -> bytes:
    """A Parquet file, likewise."""
    sink = io.BytesIO()
    pq.write_table(with_facts(answer), sink, compression="zstd")
    return sink.getvalue()


FORMS = {
    "json": Form("application/json", as_json),
    "csv": Form("text/csv", as_csv),
    "ndjson": Form("application/x-ndjson", as_lines),
    "arrow": Form("application/vnd.apache.arrow.stream", as_arrow),
    "parquet": Form("application/vnd.apache.parquet", as_parquet),
}


def chosen(named: str | None, accepted: str) -> Form:
    """The form that was named, else the one that is accepted most gladly."""
    if named is not None:
        return FORMS[named]
    ranges = [wanted(each) for each in accepted.split(",") if each.strip()] or [(1.0, "*/*")]
    for weight, kind in sorted(ranges, key=lambda each: -each[0]):
        for form in FORMS.values() if weight > 0 else ():
            if kind in (form.media_type, "*/*", f"{form.media_type.partition('/')[0]}/*"):
                return form
    known = ", ".join(form.media_type for form in FORMS.values())
    raise NotAcceptable("none of the accepted forms is known here", hint=f"there are {known}")


def wanted(text: str) -> tuple[float, str]:
    """How gladly, and what."""
    kind, *options = (each.strip().lower() for each in text.split(";"))
    for option in options:
        if option.startswith("q="):
            try:
                return min(float(option[2:]), 1.0), kind
            except ValueError:
                return 0.0, kind
    return 1.0, kind
