"""The documents name what exists, and what they name exists."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from connectors.configuration import leaves
from connectors.settings import Settings
from connectors.symbols import SYMBOLS
from operate.cli import COMMANDS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    path
    for pattern in ("*.md", "docs/**/*.md", "schemas/*.md")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file()
]


@cache
def told() -> str:
    """What a user can read: the README and the documents it leads to."""
    return "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS if path.name != "CHANGELOG.md")


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_verb_is_told(verb: str) -> None:
    assert re.search(rf"\btape {verb}\b", told())


def test_every_setting_is_told_with_its_default() -> None:
    table = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.+?) \|", table, re.MULTILINE))
    defaults = {
        re.sub(r"^venues\.\w+", "venues.NAME", ".".join(key)): default
        for key, default in leaves(Settings().model_dump(mode="json"))
    }
    assert list(rows) == list(defaults)
    shown = {key: text.strip("`") for key, text in rows.items() if text not in ("none", "see below")}
    assert shown == {key: in_toml(defaults[key]) for key in shown}


def in_toml(value: object) -> str:
    """A default as the table shows it."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


@pytest.mark.parametrize("venue", SYMBOLS)
def test_every_venue_is_told(venue: str) -> None:
    assert re.search(rf"\b{venue}\b", told(), re.IGNORECASE)


def code() -> Iterator[str]:
    """Every line of code blocks, and every text in backticks."""
    for block in re.findall(r"^```[a-z]*\n(.*?)^```", told(), re.MULTILINE | re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", told())


def test_every_verb_that_is_told_exists() -> None:
    verbs = {verb for line in code() for verb in re.findall(r"(?:^|[\s/])tape ([a-z][a-z-]*)", line)}
    assert verbs <= set(COMMANDS), verbs - set(COMMANDS)


def test_every_make_verb_that_is_told_exists() -> None:
    known = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    verbs = {verb for line in code() for verb in re.findall(r"(?:^|\s)make ([a-z][a-z-]*)", line)}
    assert {"run", "test"} <= verbs
    assert verbs <= known, verbs - known


def test_where_do_i_add_names_files_that_exist() -> None:
    _, heading, rest = (ROOT / "README.md").read_text(encoding="utf-8").partition("Where do I add")
    assert heading
    section = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    paths = [
        path
        for row in section.splitlines()
        if row.startswith("|")
        for path in re.findall(r"`([\w./-]*/[\w./-]*)`", row)
    ]
    assert paths
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        leads_to = document.parent / path if path else document
        assert leads_to.exists(), target
        if anchor and leads_to.suffix == ".md":
            assert anchor in anchors(leads_to), target


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_view_of_trades_by_hour_is_what_it_says() -> None:
    found = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "operating.md").read_text(), re.DOTALL)
    [view] = [sql for sql in found if "gold.trades" in sql and "tape." not in sql]
    moments = [
        datetime(2023, 11, 14, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2023, 11, 15, 0, 0, tzinfo=UTC),
        datetime(2024, 2, 29, 7, 30, tzinfo=UTC),
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'America/New_York'")  # of whoever looks, not of the venue
        connection.register(
            "trades",
            pa.table(
                {"trade_id": ["1", "2", "3"], "timestamp": pa.array(moments, pa.timestamp("us", "UTC"))}
            ),
        )
        connection.execute(view)
        rows = connection.sql(
            "SELECT trade_id, exchange_date, exchange_hour FROM gold.trades ORDER BY 1"
        ).fetchall()
    assert rows == [(str(n), moment.date(), moment.hour) for n, moment in enumerate(moments, 1)]
