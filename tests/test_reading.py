"""What docs/reading.md shows is run as it stands, but for the place and the symbol; all ways say the same."""

import csv
import io
import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from operate import cli
from tests.campaigns.kept import Kept

TEXT = (Path(__file__).parent.parent / "docs" / "reading.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
SETUP, *WAYS = [code for language, code in BLOCKS if language == "python"]
LIBRARIES = ["to_arrow", "to_duckdb", "to_pandas", "to_polars"]


def volume(kept: Kept) -> Decimal:
    return sum(
        (Decimal(row["quantity"]) for row in kept.rows["Trade"] if row["symbol"] == "BTC0-USDT"), Decimal(0)
    )


def test_all_libraries_are_shown() -> None:
    assert [name for code in WAYS for name in LIBRARIES if name in code] == LIBRARIES


@pytest.mark.parametrize("code", WAYS, ids=LIBRARIES)
def test_a_library_says_the_exact_volume(kept: Kept, code: str) -> None:
    setup = SETUP.replace("data/simulated", str(kept.directory)).replace("BTC-USDT", "BTC0-USDT")
    names: dict[str, Any] = {}
    exec(setup + code, names)
    assert names["volume"] == volume(kept)
    assert isinstance(names["volume"], Decimal)


def test_the_command_line_says_it_too(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPE_DATA_DIR", str(kept.directory.parent))
    (line,) = [code for language, code in BLOCKS if language == "sh"]
    assert cli.run(shlex.split(line.replace("BTC-USDT", "BTC0-USDT"))[1:]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert Decimal(row["volume"]) == volume(kept)


def test_every_verb_that_is_shown_exists() -> None:
    assert set(re.findall(r"`tape (\w+)", TEXT)) <= cli.COMMANDS.keys()
