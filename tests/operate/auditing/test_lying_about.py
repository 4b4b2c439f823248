"""Files that nobody needs, and those that somebody still does."""

import os
import uuid
from pathlib import Path

from connectors.catalog import open_catalog
from connectors.tokens import tokens_of
from operate.auditing.facts import ORDER, Facts, TableFacts
from operate.auditing.lying_about import GRACE_SECONDS, look
from operate.auditing.reading import opened
from schemas import Trade
from schemas.iceberg import TABLES

LEFT = 1_700_000_000


def left(store: Path, name: str) -> Path:
    path = next((store / "lake" / "silver" / "trades").rglob("*.parquet")).with_name(name)
    path.write_bytes(b"")
    os.utime(path, (LEFT, LEFT))
    return path


def test_only_what_is_old_and_not_waiting_lies_about(store: Path) -> None:
    found = opened(open_catalog(store))[Trade]
    assert found is not None
    facts = Facts({each: TableFacts(TABLES[each].name) for each in ORDER}, {}, {})
    facts.table(Trade).tokens = tokens_of(found.table)
    position = facts.table(Trade).tokens["binance-0"].position
    left(store, f"binance-0-{position + 1}-{uuid.uuid4()}.parquet")
    crashed = left(store, f"binance-0-{position}-{uuid.uuid4()}.parquet")
    look(facts, found, (LEFT + GRACE_SECONDS - 1) * 1_000_000)
    assert not facts.orphans.count
    look(facts, found, (LEFT + GRACE_SECONDS + 1) * 1_000_000)
    assert facts.orphans.first == [str(crashed)]
