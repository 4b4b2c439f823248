"""What was published under a version stays as it was: neither code nor file nor both may change it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import fastavro
import pytest

from schemas import Trade
from schemas.avro import VERSIONS, avro_schema
from schemas.freeze import HISTORY, Frozen, freeze, frozen_name, frozen_text

# One line a file, written by hand when a version is frozen. Never change one that was published.
PINNED = Path(__file__).parent / "frozen.sha256"

EVERY_NAME = sorted(
    frozen_name(record, version) for record, versions in VERSIONS.items() for version in versions
)


def test_every_version_is_frozen_and_nothing_else() -> None:
    assert sorted(path.name for path in HISTORY.iterdir()) == EVERY_NAME


def test_what_is_derived_is_what_was_frozen() -> None:
    for record, versions in VERSIONS.items():
        for version in versions:
            frozen = (HISTORY / frozen_name(record, version)).read_bytes()
            assert frozen_text(record, version) == frozen, frozen_name(record, version)
            assert json.loads(frozen) == avro_schema(record, version)


def test_frozen_files_have_the_digests_that_were_pinned() -> None:
    found = "".join(
        f"{hashlib.sha256((HISTORY / name).read_bytes()).hexdigest()}  {name}\n" for name in EVERY_NAME
    )
    assert PINNED.read_text() == found


@pytest.mark.parametrize("name", EVERY_NAME)
def test_frozen_files_are_avro_schemas(name: str) -> None:
    parsed = fastavro.parse_schema(json.loads((HISTORY / name).read_bytes()))
    assert isinstance(parsed, dict)
    assert parsed["name"].startswith("tapekeeper.market.")


def test_freezing_writes_what_is_new_and_only_that(tmp_path: Path) -> None:
    assert sorted(path.name for path in freeze(tmp_path)) == EVERY_NAME
    assert (tmp_path / "trade.3.avsc").read_bytes() == frozen_text(Trade, 3)
    assert freeze(tmp_path) == []


def test_freezing_refuses_to_change_a_file_and_then_writes_none(tmp_path: Path) -> None:
    changed = frozen_text(Trade, 2).replace(b"trade_conditions", b"conditions")
    (tmp_path / "trade.2.avsc").write_bytes(changed)
    with pytest.raises(Frozen, match=r"trade\.2\.avsc"):
        freeze(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trade.2.avsc"]
    assert (tmp_path / "trade.2.avsc").read_bytes() == changed


def test_the_command_has_nothing_to_do_in_this_tree() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schemas.freeze"],
        cwd=HISTORY.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
