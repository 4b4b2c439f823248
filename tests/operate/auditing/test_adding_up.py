"""Tokens, commits and rows that are written down here."""

import msgspec
import pytest

from operate.auditing.adding_up import commits_add_up
from operate.auditing.facts import Commit, Facts
from schemas import Trade
from tests.operate.auditing.conftest import SHARD, made, nothing, token


def commits(*made: Commit) -> Facts:
    facts = nothing()
    table = facts.table(Trade)
    table.commits += made
    table.tokens = dict(made[-1].tokens)
    newest = table.tokens[SHARD]
    table.rows[SHARD] = newest.counts["rows_silver.trades"] + newest.added - newest.removed
    return facts


def test_commits_that_advance_and_add_what_they_count_are_well() -> None:
    retired = made(3, token(20, 9, removed=4), 0, "delete")
    grown = made(4, token(20, 9, removed=4, added=2), 2)
    facts = commits(made(1, token(10, 5), 5), made(2, token(20, 9), 4), retired, grown)
    assert not commits_add_up(facts).violations


def test_a_commit_that_comes_again_or_goes_back_is_told() -> None:
    again = commits(made(1, token(10, 5), 5), made(2, token(10, 5), 5))
    assert commits_add_up(again).offenders == ("silver.trades snapshot 2: 5 rows, 0 counted",)
    back = commits(made(1, token(10, 5), 5), made(2, token(9, 5), 0))
    assert commits_add_up(back).offenders == ("silver.trades snapshot 2: binance-0 goes back to 9",)


@pytest.mark.parametrize(
    "changes", [{"store": "other"}, {"incarnation": 9}, {"writer": "other"}, {"removed": 1}, {"added": 1}]
)
def test_the_whole_token_is_its_newest_commits(changes: dict[str, str | int]) -> None:
    facts = commits(made(1, token(10, 5), 5))
    assert not commits_add_up(facts).violations
    table = facts.table(Trade)
    table.tokens[SHARD] = msgspec.structs.replace(table.tokens[SHARD], **changes)
    (name, value), *_ = changes.items()
    assert f"silver.trades {SHARD}: the table says {name} {value}" in commits_add_up(facts).offenders[0]


def test_tokens_of_another_store_are_told() -> None:
    facts = commits(made(1, token(10, 5), 5))
    facts.store_id = "this"
    assert commits_add_up(facts).offenders == (f"silver.trades {SHARD}: of store store, this is this",)


def test_of_commits_that_others_share_the_rows_are_not_summed_but_the_order_is() -> None:
    shared = made(2, token(9, 5), 400)._replace(shared=True)
    found = commits_add_up(commits(made(1, token(10, 5), 5), shared))
    assert found.offenders == ("silver.trades snapshot 2: binance-0 goes back to 9",)
    assert found.note == "the rows of 1 commits are other venues' too, and not summed up"
