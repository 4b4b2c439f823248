"""Commits: what we need of PyIceberg's inside is there, and costs what we count on."""

from pathlib import Path

import pytest
from pyiceberg.table import Transaction

from connectors.catalog import LakeError, open_catalog
from connectors.publishing import CachedTransaction, LakeTable
from connectors.slots import Store, open_store
from connectors.tokens import decoded, tokens_of
from schemas import Gap

SHARDS = ("binance-0", "kraken-0")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path, "simulated", SHARDS)


def table_of(directory: Path, store: Store, writer: str) -> LakeTable:
    return LakeTable(open_catalog(directory), Gap, store, writer)


def test_the_metadata_is_reckoned_once_for_each_change(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails when PyIceberg no longer has the property, or keeps its updates elsewhere."""
    reckoned = []
    plain = Transaction.table_metadata.fget  # type: ignore[attr-defined]

    def counting(self: Transaction) -> object:
        reckoned.append(len(self._updates))
        return plain(self)

    monkeypatch.setattr(Transaction, "table_metadata", property(counting))
    table = table_of(tmp_path, store, "me")
    table.take_over(SHARDS)
    change = CachedTransaction(table.table)
    reckoned.clear()
    assert change.table_metadata is table.table.metadata
    change.set_properties({"a": "1"})
    assert change.table_metadata is change.table_metadata
    assert change.table_metadata.properties["a"] == "1"
    change.set_properties({"a": "2"})
    assert change.table_metadata.properties["a"] == "2"
    assert reckoned == [1, 2]


def test_taking_over_says_so_in_the_table_and_in_a_snapshot(tmp_path: Path, store: Store) -> None:
    table_of(tmp_path, store, "first").take_over(SHARDS)
    second = table_of(tmp_path, store, "second")
    second.take_over(SHARDS[:1])
    table = open_catalog(tmp_path).load_table("silver.gaps")
    tokens = tokens_of(table)
    assert {shard: (token.incarnation, token.writer) for shard, token in tokens.items()} == {
        "binance-0": (2, "second"),
        "kraken-0": (1, "first"),
    }
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert decoded(snapshot.summary.additional_properties) == {"binance-0": tokens["binance-0"]}
    assert second.tokens == {"binance-0": tokens["binance-0"]}


def test_a_process_without_shards_touches_no_table(tmp_path: Path, store: Store) -> None:
    table_of(tmp_path, store, "idle").take_over(())
    assert not (tmp_path / "lake").exists()


def test_a_token_that_somebody_removed_ends_its_writer(tmp_path: Path, store: Store) -> None:
    table = table_of(tmp_path, store, "me")
    table.take_over(SHARDS)
    with pytest.raises(
        LakeError, match=r"another process has become the writer of binance-0 in silver\.gaps"
    ):
        table._own("binance-0", {})
