"""A change is made on the newest base, looked up when its answer is lost, and given up at last."""

from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException

from connectors.catalog import LakeError
from connectors.publishing import CachedTransaction
from operate.maintenance import commits
from operate.maintenance.commits import replace
from operate.maintenance.contents import held
from operate.maintenance.jobs import Policy
from operate.maintenance.orphans import orphans
from schemas import Trade

NAME = "silver.trades"


@pytest.mark.parametrize(
    "error", [ConnectionError("lost"), CommitStateUnknownException("502"), CommitFailedException("409")]
)
def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    filled: Any, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.drive(60)
    commit = CachedTransaction.commit_transaction

    def losing(self: Any) -> None:
        commit(self)
        raise error

    monkeypatch.setattr(CachedTransaction, "commit_transaction", losing)
    before = len(filled.catalog.load_table(NAME).metadata.snapshots)
    assert replace(filled.catalog, NAME, ())
    monkeypatch.undo()
    assert len(filled.catalog.load_table(NAME).metadata.snapshots) == before + 1
    assert filled.wrong() == []


def test_a_catalog_that_is_away_is_an_outage_and_changes_nothing(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.drive(60)

    def away(_: Any) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(CachedTransaction, "commit_transaction", away)
    with pytest.raises(ConnectionError):
        replace(filled.catalog, NAME, ())


def test_a_table_that_never_rests_is_left_alone_and_nothing_lies_about(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.drive(60)

    def overtaken(_: Any) -> None:
        raise CommitFailedException("somebody was quicker")

    monkeypatch.setattr(CachedTransaction, "commit_transaction", overtaken)
    monkeypatch.setattr(commits, "ATTEMPTS_MAX", 3)
    monkeypatch.setattr(commits, "CONFLICT_SECONDS_MAX", 0.001)
    with pytest.raises(LakeError, match="finds no gap"):
        replace(filled.catalog, NAME, ())
    monkeypatch.undo()
    assert orphans(filled.catalog, Trade, Policy(10**18, orphan_seconds=0)) == []


def test_a_file_that_is_not_there_any_more_stops_the_whole_commit(filled: Any) -> None:
    filled.drive(60)
    catalog = filled.catalog
    files = held(catalog.load_table(NAME), Trade)
    assert replace(catalog, NAME, [files[0].file])
    before = catalog.load_table(NAME).metadata_location
    assert not replace(catalog, NAME, [one.file for one in files])
    assert catalog.load_table(NAME).metadata_location == before


def test_who_goes_back_to_a_replacement_is_found_out_when_all_before_it_is_forgotten(filled: Any) -> None:
    filled.drive(60)
    assert replace(filled.catalog, NAME, ())
    table = filled.catalog.load_table(NAME)
    replaced, *older = [one.snapshot_id for one in reversed(table.metadata.snapshots)]
    filled.drive(120)
    table.refresh()
    table.maintenance.expire_snapshots().by_ids(older).commit()
    table.manage_snapshots().rollback_to_snapshot(replaced).commit()
    with pytest.raises(LakeError, match=r"silver\.trades was rolled back behind what"):
        filled.drive(180)
