"""What can be told over HTTP: times in three spellings, pasts, places; all else is refused."""

import pyarrow as pa
import pytest
from pydantic import ValidationError

from query.questions import QUESTIONS
from query.reader import AsOf
from query.rest.parameters import TIME_MAX, behind, model_of, past_of, place_of, stream_model, time_of

NINE = 1_795_251_600_000_000


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-21T09:00:00Z", NINE),
        ("2026-11-21t09:00:00z", NINE),
        ("2026-11-21T10:00:00+01:00", NINE),
        ("2026-11-21T10:00:00 01:00", NINE),  # a plus that nobody escaped
        ("2026-11-21T04:30:00.5-04:30", NINE + 500_000),
        ("2026-11-21T09:00:00.123456789Z", NINE + 123_456),
        (str(NINE // 1_000), NINE),
        ("0", 0),
        ("1969-12-31T23:59:59Z", 0),
        ("0001-01-01T00:00:00+23:59", 0),
        ("9999-12-31T23:59:59Z", TIME_MAX),
        ("9999999999999999", TIME_MAX),
    ],
)
def test_a_time_is_read(text: str, time: int) -> None:
    assert time_of(text) == time


@pytest.mark.parametrize(
    "text",
    ["", "-1", "1.5", "1e3", "2026-11-21", "2026-11-21T09:00:00", "2026-13-01T00:00:00Z",
     "2026-02-30T00:00:00Z",
     "2026-11-21T25:00:00Z", "now", "\uff11\uff12", "12345678901234567", "2026-11-21T09:00:00Z\n"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # a person is told by pydantic
        time_of(text)


def test_a_past_is_a_snapshot_a_moment_or_a_tag() -> None:
    assert past_of("4151863211446424432") == AsOf(snapshot=4151863211446424432)
    assert past_of("2026-11-21T09:00:00Z") == AsOf(received=NINE)
    assert past_of("day-2026-11-21") == AsOf(tag="day-2026-11-21")


def test_a_place_comes_back_as_it_was_said() -> None:
    rows = pa.table({
        "found": pa.array([1, 5], pa.timestamp("us", "UTC")), "gap_id": ["a", "b:é"], "other": [1, 2],
    })  # fmt: skip
    assert place_of(behind(rows, ("found", "gap_id"))) == (5, "b:é")
    assert place_of(behind(rows.append_column("c", pa.array(["x", "y"])), ("found", "gap_id", "c"))) == (
        5,
        "b:é\0y",
    )


@pytest.mark.parametrize(
    "text", ["", "a", "W10", "WzFd", "Wy0xLCJhIl0", "WzEsMl0", "WzEsImEiLDNd", "%", "é", "e30"]
)
def test_a_place_that_we_never_said_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no `next`"):
        place_of(text)


def test_what_is_not_said_is_none_or_its_default() -> None:
    told = model_of(QUESTIONS["bars"], 5_000)()
    assert told.model_dump() == {
        "venue": None, "symbol": None, "since": None, "until": None, "limit": 1_000, "as_of": None,
        "interval": "1m", "after": None, "format": None,
    }  # fmt: skip
    assert stream_model(("a", "b"))().model_dump()["events"] == "a,b"


@pytest.mark.parametrize(
    "told",
    [{"limit": "5001"}, {"limit": "0"}, {"interval": "0s"}, {"interval": "10000d"}, {"symbol": ""},
     {"symbol": "a\0"},
     {"symbol": "x" * 101}, {"other": "1"}, {"format": "JSON"}, {"since": ""}],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(told: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        model_of(QUESTIONS["bars"], 5_000).model_validate(told)
