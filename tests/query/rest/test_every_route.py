"""The whole API against what nobody thinks of: requests made from its own description, good and bad ones."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.query.rest.conftest import Served

# Every answer is compared with what was described; a past or a place is told by no schema, so that not every
# text of the right kind is accepted. The stream has no end, and a test of its own.
WORDS = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--exclude-path", "/v1/stream"]
SHORT = ["--phases", "examples,fuzzing", "--max-examples", "5"]
WHOLE = ["--phases", "examples,coverage,fuzzing", "--max-examples", "30"]


def generate(served: Served, seed: int, directory: Path, words: list[str]) -> int:
    """Try the API; how many requests were made. What was found fails the test."""
    program, target = Path(sys.executable).parent / "st", f"{served.address}/openapi.json"
    done = subprocess.run(
        [program, "run", target, *WORDS, *words, "--seed", str(seed), "--continue-on-failure"],
        capture_output=True,
        text=True,
        cwd=directory,
        env=os.environ | {"NO_COLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    made = re.search(r"([\d,]+) generated", done.stdout)
    assert made is not None, done.stdout
    return int(made[1].replace(",", ""))


@pytest.mark.long
def test_requests_that_nobody_thinks_of_are_answered_as_described(
    served: Served, seed: int, tmp_path: Path
) -> None:
    assert generate(served, seed, tmp_path, SHORT) > 50
    assert "an answer failed" not in served.said.read_text()


@pytest.mark.long
def test_many_more_of_them_are_too(served: Served, seed: int, tmp_path: Path) -> None:
    assert generate(served, seed, tmp_path, WHOLE) > 1_000
    assert "an answer failed" not in served.said.read_text()
