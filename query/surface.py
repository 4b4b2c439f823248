"""Answers as programs and people read them: prices as plain text, times as ISO, bytes as text or base64."""

import csv
import io
from base64 import b64encode
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from query.answer import Answer

ISO = "%Y-%m-%dT%H:%M:%SZ"  # seconds come with their fraction


def as_text(rows: pa.Table) -> pa.Table:
    """The rows with everything as text that JSON or CSV would round or could not say."""
    columns: dict[str, Any] = {}
    for name in rows.column_names:
        column = rows.column(name)
        if pa.types.is_decimal(column.type):
            columns[name] = pa.array([plain(each) for each in column.to_pylist()], pa.string())
        elif pa.types.is_timestamp(column.type):
            columns[name] = pc.strftime(column.cast(pa.timestamp("us", "UTC")), ISO)
        elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            texts = [text_of(each) for each in column.to_pylist()]
            columns[name] = pa.array([text for text, _ in texts], pa.string())
            columns[f"{name}_base64"] = pa.array([base64 for _, base64 in texts], pa.string())
        else:
            columns[name] = column
    return pa.table(columns)


def facts(answer: Answer) -> dict[str, object]:
    """What holds for all rows of an answer."""
    found = answer.completeness
    return {
        "simulated": answer.simulated,
        "snapshot_id": None if answer.snapshot_id is None else str(answer.snapshot_id),
        "provisional_from": None if answer.provisional_from is None else iso(answer.provisional_from),
        "completeness": {"missing": found.missing, "expected": found.expected, "share": found.share},
    }


def with_facts(answer: Answer) -> pa.Table:
    """The rows, and what holds for them in the metadata of their schema."""
    known = {b"tape": msgspec.json.encode(facts(answer))}
    return answer.rows.replace_schema_metadata({**(answer.rows.schema.metadata or {}), **known})


def csv_of(rows: pa.Table) -> str:
    """Rows as CSV with a header; lists as text with blanks between."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.column_names)
    for row in zip(*(column.to_pylist() for column in rows.columns), strict=True):
        writer.writerow(" ".join(each) if isinstance(each, list) else each for each in row)
    return text.getvalue()


def iso(time: int) -> str:
    """Microseconds as ISO text."""
    text: str = pc.strftime(pa.scalar(time, pa.timestamp("us", "UTC")), ISO).as_py()
    return text


def plain(amount: Decimal | None) -> str | None:
    """The shortest plain text of an amount."""
    if amount is None:
        return None
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def text_of(data: bytes | None) -> tuple[str | None, str | None]:
    """Bytes as text, else as base64."""
    if data is None:
        return None, None
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, b64encode(data).decode()
