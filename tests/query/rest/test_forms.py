"""Which form somebody gets: the one that is named, else the one that he takes most gladly."""

import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from query.answer import Answer, Completeness
from query.rest.forms import FORMS, NotAcceptable, chosen

ANSWER = Answer(
    pa.table({"price": pa.array([Decimal("1.50")], pa.decimal128(38, 18)), "text": ["a,b"]}),
    True,
    7,
    1_000_000,
    Completeness(1, 4),
)


@pytest.mark.parametrize(
    ("named", "accepted", "form"),
    [
        (None, "", "json"),
        (None, "*/*", "json"),
        (None, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        (None, "text/csv", "csv"),
        (None, "text/*", "csv"),
        (None, "application/json;q=0.1, application/vnd.apache.parquet", "parquet"),
        (None, "application/x-ndjson; charset=utf-8", "ndjson"),
        (None, "APPLICATION/VND.APACHE.ARROW.STREAM", "arrow"),
        (None, "image/png, application/*;q=0.2", "json"),
        ("csv", "application/json", "csv"),
    ],
)
def test_the_form_that_is_wanted_most_is_chosen(named: str | None, accepted: str, form: str) -> None:
    assert chosen(named, accepted) is FORMS[form]


@pytest.mark.parametrize("accepted", ["image/png", "application/json;q=0", "text/csv;q=x", ";;", "a/b;q=-1"])
def test_a_form_that_we_do_not_have_is_told(accepted: str) -> None:
    with pytest.raises(NotAcceptable) as told:
        chosen(None, accepted)
    assert "application/json" in told.value.hint


def test_every_form_is_exact() -> None:
    assert json.loads(FORMS["json"].write(ANSWER, "there")) == {
        "simulated": True,
        "snapshot_id": "7",
        "provisional_from": "1970-01-01T00:00:01.000000Z",
        "completeness": {"missing": 1, "expected": 4, "share": 0.75},
        "next": "there",
        "rows": [{"price": "1.5", "text": "a,b"}],
    }
    assert FORMS["ndjson"].write(ANSWER, None) == b'{"price":"1.5","text":"a,b"}\n'
    assert FORMS["csv"].write(ANSWER, None) == b'price,text\n1.5,"a,b"\n'
    stream = pa.ipc.open_stream(FORMS["arrow"].write(ANSWER, None)).read_all()
    parquet = pq.read_table(io.BytesIO(FORMS["parquet"].write(ANSWER, None)))
    assert stream.column("price").to_pylist() == parquet.column("price").to_pylist() == [Decimal("1.5")]
    assert json.loads(parquet.schema.metadata[b"tape"])["completeness"]["missing"] == 1
