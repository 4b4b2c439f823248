"""Compaction: fewer files, the same rows, whoever writes beside it and whatever ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table.snapshots import Operation

from connectors import publishing
from connectors.catalog import LakeError
from connectors.failpoints import NAMES
from connectors.staging import DAY
from connectors.tokens import tokens_of
from operate.auditing.reading import commit
from operate.cli import run
from operate.maintenance import commits, compaction, expiry
from operate.maintenance.compaction import HOUR, SETTLED, jobs, planned, proof
from operate.maintenance.contents import Held, held, named, stored
from operate.maintenance.jobs import Policy
from operate.maintenance.orphans import orphans
from schemas import Bar, Frame, Gap, Trade
from schemas.iceberg import TABLES

# The verb, but that a table with a few snapshots has some to forget.
KEEPING_FEW = """
import sys
from operate import cli
from operate.maintenance import expiry
expiry.SNAPSHOTS_KEPT = 2
sys.exit(cli.run(["maintain", sys.argv[1], "--yes"]))
"""
ROOT = Path(__file__).parents[3]
DAY_START = 19_000 * DAY


def a_file(begin: int, size: int = 1, rows: int = 1, exchange: str = "binance") -> Held:
    named: Any = SimpleNamespace(file_path=f"{begin}-{size}")
    return Held(named, begin // DAY, exchange, begin, begin + 5, rows, size)


def sizes(groups: list[tuple[Held, ...]]) -> list[list[int]]:
    return [[one.bytes for one in group] for group in groups]


def test_an_hour_is_compacted_once_it_is_over_and_settled() -> None:
    files = [a_file(DAY_START + second * 1_000_000, second) for second in (1, 2, 3_700, 3_701)]
    first_over = DAY_START + HOUR + SETTLED
    assert planned(files, first_over - 1) == []
    assert sizes(planned(files, first_over)) == [[1, 2]]
    assert sizes(planned(files, first_over + HOUR)) == [[1, 2], [3_700, 3_701]]


def test_a_day_is_compacted_once_it_is_over_but_never_across_venues() -> None:
    files = [a_file(DAY_START + hour * HOUR, hour) for hour in range(1, 5)]
    files += [a_file(DAY_START + HOUR, 9, exchange="kraken"), a_file(DAY_START + DAY, 7)]
    assert sizes(planned(files, DAY_START + DAY + HOUR)) == [[1, 2, 3, 4]]


def test_a_group_is_no_larger_than_a_file_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FILE_BYTES_MAX", 10)
    monkeypatch.setattr(compaction, "FILE_ROWS_MAX", 100)
    over = DAY_START + 2 * DAY
    files = [a_file(DAY_START + n, size) for n, size in enumerate((4, 4, 4, 9, 1, 11))]
    assert sizes(planned(files, over)) == [[4, 4], [9, 1]]
    assert sizes(planned([a_file(DAY_START + n, 1, 60) for n in range(4)], over)) == []


def test_small_files_become_one_in_order_with_all_rows(filled: Any, later: int) -> None:
    filled.drive(700, epoch_frames=150)
    catalog = filled.catalog
    for record_type in (Frame, Trade, Gap):
        name = TABLES[record_type].name
        before = catalog.load_table(name)
        [job] = jobs(catalog, record_type, Policy(later))
        assert job.do().endswith("rows as before")
        after = catalog.load_table(name)
        files = held(after, record_type)
        assert {(one.day, one.exchange) for one in files} == {
            (one.day, one.exchange) for one in held(before, record_type)
        }
        assert len(files) == 4 < job.files
        assert tokens_of(after) == tokens_of(before)
        snapshot = after.current_snapshot()
        assert snapshot is not None
        summary = snapshot.summary
        assert summary is not None
        assert summary.operation == Operation.REPLACE
        assert summary["total-records"] == str(sum(one.rows for one in files))
        assert commit(snapshot, lambda _: True).added == 0  # what an audit reckons with
        for one in files:
            rows = pq.read_table(one.file.file_path.removeprefix("file://"))
            order = [(key, "ascending") for key in (*TABLES[record_type].sort, TABLES[record_type].position)]
            assert rows.sort_by(order).equals(rows)
        assert list(jobs(catalog, record_type, Policy(later))) == []
    assert list(jobs(catalog, Bar, Policy(later))) == []
    assert filled.wrong() == []
    filled.drive(760)  # the flow goes on upon what was rewritten
    assert filled.wrong() == []


def test_trades_are_found_by_their_id(filled: Any, later: int, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.drive(200, epoch_frames=200)
    sizes = []
    for wanted in (0.01, 0.5):  # a filter that errs more is smaller: so there is one
        monkeypatch.setattr(compaction, "BLOOM_FALSE", wanted)
        table = filled.catalog.load_table("silver.trades")
        group = tuple(one for one in held(table, Trade) if one.exchange == "binance")
        sizes.append(compaction.rewritten(table, Trade, group).file_size_in_bytes)
    assert sizes[0] > sizes[1] + 100


def test_files_of_another_engine_are_rewritten_as_ours(filled: Any, later: int) -> None:
    filled.drive(120)
    table = filled.catalog.load_table("silver.trades")
    for task in table.scan().plan_files():  # as a writer leaves them that knows no Arrow
        path = task.file.file_path.removeprefix("file://")
        rows = pq.read_table(path)
        texts = [(n, f) for n, f in enumerate(rows.schema) if f.type == pa.large_string()]
        for number, field in texts:
            rows = rows.set_column(number, field.name, rows[field.name].cast(pa.string()))
        pq.write_table(rows, path, store_schema=False)
    [job] = jobs(filled.catalog, Trade, Policy(later))
    assert job.do().endswith("rows as before")
    assert filled.wrong() == []


@pytest.mark.long
def test_a_stream_and_its_compaction_hinder_each_other_and_lose_nothing(
    filled: Any, beside: Any, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: dict[str, int] = {}
    commit = publishing.CachedTransaction.commit_transaction

    def counting(self: Any) -> Any:
        try:
            return commit(self)
        except CommitFailedException:
            who = (
                "compaction"
                if any(one.action == "add-snapshot" and is_replace(one) for one in self._updates)
                else "flow"
            )
            lost[who] = lost.get(who, 0) + 1
            raise

    def is_replace(update: Any) -> bool:
        return update.snapshot.summary.operation == Operation.REPLACE

    monkeypatch.setattr(publishing.CachedTransaction, "commit_transaction", counting)
    monkeypatch.setattr(commits, "CONFLICT_SECONDS_MAX", 0.01)
    compacted = 0
    with beside(filled, 1_500, epoch_seconds=0.05) as flow:
        while flow.goes_on:
            for record_type in (Frame, Trade):
                if filled.catalog.table_exists(TABLES[record_type].name):
                    for job in jobs(filled.catalog, record_type, Policy(later)):
                        compacted += job.do().endswith("as before")
    assert compacted >= 2
    assert lost.keys() == {"compaction", "flow"}, "nobody was in the way of the other"
    assert filled.wrong() == []


def test_what_somebody_else_has_rewritten_is_left(filled: Any, later: int) -> None:
    filled.drive(120)
    [one] = jobs(filled.catalog, Trade, Policy(later))
    [other] = jobs(filled.catalog, Trade, Policy(later))
    assert one.do().endswith("rows as before")
    assert other.do() == "left as it is: somebody else has rewritten some of it"
    assert filled.wrong() == []
    assert orphans(filled.catalog, Trade, Policy(later**2, orphan_seconds=0)) == []


def test_a_row_that_is_not_there_is_never_compacted_away(
    filled: Any, later: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.drive(120)
    [job] = jobs(filled.catalog, Trade, Policy(later))
    read = compaction.read
    monkeypatch.setattr(compaction, "read", lambda table, path: read(table, path).slice(1))
    with pytest.raises(LakeError, match=r"hold [\d,]+ rows, the table says"):
        job.do()
    assert filled.wrong() == []


@pytest.mark.parametrize("damage", ["other value", "other row"])
def test_a_file_that_comes_back_different_is_never_published(
    filled: Any, later: int, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    filled.drive(120)
    [job] = jobs(filled.catalog, Trade, Policy(later))
    parts, calls = compaction.parts, []

    def damaging(rows: pa.Table, order: pa.Array) -> Any:
        calls.append(1)
        for part in parts(rows, order):
            if damage == "other row":  # the same wrong rows are written and compared
                yield pa.concat_tables([part.slice(0, 1), part.slice(0, part.num_rows - 1)])
            elif len(calls) == 1:
                column = part.schema.get_field_index("price")
                prices = pa.concat_arrays([part["price"].chunk(0)[1:], part["price"].chunk(0)[:1]])
                yield part.set_column(column, part.schema.field(column), prices)
            else:
                yield part

    monkeypatch.setattr(compaction, "parts", damaging)
    before = filled.catalog.load_table("silver.trades").metadata_location
    with pytest.raises(LakeError, match="came back with other rows"):
        job.do()
    assert filled.catalog.load_table("silver.trades").metadata_location == before
    assert orphans(filled.catalog, Trade, Policy(later**2, orphan_seconds=0)) == []


def test_the_proof_tells_rows_apart(filled: Any) -> None:
    filled.drive(100)
    rows = filled.catalog.load_table("silver.trades").scan().to_arrow()
    assert [(one.shard, one.rows, one.ids) for one in proof(Trade, rows)] == [
        (shard, number, number)
        for shard, number in (
            (each, sum(n * 7 % 4 for n in range(1, 101))) for each in ("binance-0", "kraken-0")
        )
    ]
    assert proof(Trade, rows) != proof(Trade, pa.concat_tables([rows.slice(1), rows.slice(1, 1)]))


@pytest.mark.parametrize(
    "place",
    [name if name.endswith("catalog") else pytest.param(name, marks=pytest.mark.long)
     for name in NAMES if name.startswith("maintain.")],
)  # fmt: skip
def test_a_kill_at_any_place_changes_no_row_and_leaves_only_orphans(
    filled: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.drive(100)
    monkeypatch.setenv("TAPE_DATA_DIR", str(filled.root))
    monkeypatch.setenv("TAPE_LAKE__READER_SECONDS", "0.001")
    monkeypatch.setattr(expiry, "SNAPSHOTS_KEPT", 2)
    task = "expire" if place == "maintain.delete" else "compact"
    assert killed(task, f"{place}:kill:1") == -signal.SIGKILL
    assert filled.wrong() == []
    assert run(["maintain", "compact", "--yes"]) == run(["maintain", "expire", "--yes"]) == 0
    assert filled.wrong() == []
    for record_type in TABLES:
        policy = Policy(10**18, orphan_seconds=0)
        for one in orphans(filled.catalog, record_type, policy):
            Path(one.path).unlink()
        table = filled.catalog.load_table(TABLES[record_type].name)
        assert {one.path for one in stored(table)} == named(table)
    filled.drive(filled.frames + 20)
    assert filled.wrong() == []


def killed(task: str, failpoints: str) -> int:
    """How the verb ended as a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", KEEPING_FEW, task],
        cwd=ROOT,
        env={**os.environ, "TAPE_FAILPOINTS": failpoints},
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode
