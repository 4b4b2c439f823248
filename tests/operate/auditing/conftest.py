"""A store with every kind of trouble in it, made by the real engine, as often as it is wanted undamaged."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from connectors.catalog import open_catalog
from connectors.tokens import Token
from operate.auditing.auditor import audit
from operate.auditing.facts import ORDER, Commit, Facts, TableFacts
from operate.auditing.findings import Finding
from operate.auditing.reading import Asked
from schemas.iceberg import TABLES
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, command

ROOT = Path(__file__).parent.parent.parent.parent
SHARDS = ("binance-0", "binance-1")
SHARD = SHARDS[0]
FRAMES = 900

Audit = Callable[..., dict[str, Finding]]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store, and beside it a copy that stays as it is: tables name their files by absolute paths."""
    directory = tmp_path_factory.mktemp("audited") / "store"
    directory.mkdir()
    record(directory, SHARDS, FRAMES, 7)
    recovery = directory / "recovery"
    recovery.mkdir()
    init_db_dir(recovery, 2)
    job = Job(str(directory), recovery=str(recovery), sink="lake", epoch_frames_max=300)
    subprocess.run(command(job), cwd=ROOT, check=True, timeout=120)
    shutil.copytree(directory, directory.with_name("kept"))
    return directory


@pytest.fixture
def store(kept: Path) -> Path:
    """The store, undamaged again."""
    shutil.rmtree(kept)
    shutil.copytree(kept.with_name("kept"), kept)
    return kept


@pytest.fixture
def audited(store: Path) -> Audit:
    """What an audit of the store says, by check."""

    def ask(
        *, deep: bool = False, since: int = 0, venue: str | None = None, now: int = 0
    ) -> dict[str, Finding]:
        def wanted(shard: str) -> bool:
            return venue in (None, shard.rpartition("-")[0])

        asked = Asked(wanted, since, limited=venue is not None)
        return {each.check: each for each in audit(open_catalog(store), store, asked, deep=deep, now=now)}

    return ask


def token(position: int, rows: int, table: str = "silver.trades", **changes: int) -> Token:
    return Token("store", 1, "writer", position, {f"rows_{table}": rows}, **changes)


def nothing() -> Facts:
    return Facts({each: TableFacts(TABLES[each].name) for each in ORDER}, {}, {})


def made(number: int, said: Token, added: int, operation: str = "append") -> Commit:
    return Commit(number, number, operation, {SHARD: said}, added, 0)
