"""The list of questions: pages that follow each other hold every row once, in order; mistakes are told."""

from typing import Any

import pyarrow as pa
import pytest

from connectors.errors import Unknown
from query import bars, lake
from query.files import Scope
from query.questions import QUESTIONS, refuse_unknown, scope_of
from tests.campaigns.kept import Kept

PAGED = [name for name, question in QUESTIONS.items() if question.place]


def told(name: str, **given: Any) -> dict[str, Any]:
    question = QUESTIONS[name]
    defaults = {public: parameter.default for public, parameter in question.told().items()}
    return question.given({**defaults, **given})


def whole(kept: Kept, name: str) -> list[dict[str, Any]]:
    """All rows of a question, asked at once."""
    if name in ("bars", "completeness"):
        ask = bars.bars if name == "bars" else lake.complete
        found: list[dict[str, Any]] = ask(kept.reader, Scope(), "1m").rows.to_pylist()
        return found
    answer = QUESTIONS[name].ask(kept.reader, Scope(since=0), **told(name, limit=100_000))
    rows: list[dict[str, Any]] = answer.rows.to_pylist()
    return rows


@pytest.mark.parametrize("name", PAGED)
def test_pages_hold_every_row_once_and_in_order(kept: Kept, name: str) -> None:
    question = QUESTIONS[name]
    wanted = whole(kept, name)
    assert wanted
    size = max(1, len(wanted) // 7)
    given = told(name, limit=size) | ({"interval": "1m"} if "interval" in question.parameters else {})
    found: list[dict[str, Any]] = []
    after = None
    while True:
        rows = question.ask(kept.reader, Scope(since=0), after=after, **given).rows
        found += rows.to_pylist()
        if rows.num_rows < size:
            break
        assert rows.num_rows == size
        last = rows.slice(rows.num_rows - 1)
        time = last.column(question.place[0]).cast(pa.int64())[0].as_py()
        after = (time, "\0".join(last.column(column)[0].as_py() for column in question.place[1:]))
    assert found == wanted


@pytest.mark.parametrize("name", [name for name in PAGED if name != "gaps"])
def test_who_names_no_beginning_gets_the_end(kept: Kept, name: str) -> None:
    given = told(name, limit=3) | ({"interval": "1m"} if "interval" in QUESTIONS[name].parameters else {})
    assert QUESTIONS[name].ask(kept.reader, Scope(), **given).rows.to_pylist() == whole(kept, name)[-3:]


def test_a_page_of_windows_speaks_of_its_own_interval(kept: Kept) -> None:
    symbol = Scope("binance", "BTC0-USDT")
    every = bars.bars(kept.reader, symbol, "1s")
    answer = QUESTIONS["bars"].ask(
        kept.reader, Scope("binance", since=0), **told("bars", limit=5, interval="1s")
    )
    assert answer.completeness.expected < every.completeness.expected  # type: ignore[operator]


def test_what_does_not_exist_is_told_with_what_was_meant(kept: Kept) -> None:
    with pytest.raises(Unknown, match="unknown venue 'krakn'") as venue:
        scope_of("krakn", None, None, None)
    assert (venue.value.code, venue.value.hint) == ("unknown_venue", "did you mean kraken?")
    with pytest.raises(Unknown, match="unknown symbol 'BTC0USDT'") as symbol:
        refuse_unknown(kept.reader, scope_of(None, "btc0usdt", None, None))
    assert (symbol.value.code, symbol.value.hint) == ("unknown_symbol", "did you mean BTC0-USDT?")
    refuse_unknown(kept.reader, scope_of("binance", "BTC0-USDT", None, None))
