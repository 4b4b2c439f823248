"""Staged files: one a day, sorted, with the table's ids and with bounds that say what is in them."""

from datetime import date
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.conversions import from_bytes
from pyiceberg.table import Table
from pyiceberg.types import StringType

from connectors.catalog import LakeError, open_catalog, open_table
from connectors.slots import open_store
from connectors.staging import DAY, Staged, data_file, stage, trim
from schemas import Frame, Trade
from tests.campaigns.lake_driver import START, expected

SHARD = "binance-0"
FRAMES = 1_200  # 12 s, the fifth of which begins a day


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return open_table(open_catalog(tmp_path), Trade, open_store(tmp_path, "simulated", (SHARD,)))


def test_each_day_is_a_file_in_the_order_of_the_table(table: Table) -> None:
    rows = expected(Trade, (SHARD,), FRAMES)
    staged = stage(table, Trade, SHARD, rows)
    assert [file.partition[0] for _, file in staged] == [START // DAY, START // DAY + 1]
    assert [file.partition[1] for _, file in staged] == ["binance", "binance"]
    for one, file in staged:
        read = pq.read_table(one.path.removeprefix("file://"))
        day = date.fromordinal(date(1970, 1, 1).toordinal() + file.partition[0])
        assert {time.date() for time in read["timestamp"].to_pylist()} == {day}
        assert read.sort_by([("symbol", "ascending"), ("timestamp", "ascending")]).equals(read)
        assert (one.lower, one.upper) == tuple(pc.min_max(read["platform_sequence"]).as_py().values())
        assert (one.rows, one.rows) == (read.num_rows, file.record_count)
        assert f"timestamp_day={day}/{SHARD}-{one.lower}-" in one.path
    assert sum(one.rows for one, _ in staged) == rows.num_rows


def test_files_say_their_bounds_and_the_ids_of_the_table(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("note", StringType())
        update.move_first("note")
    [(one, file)] = stage(table, Trade, SHARD, expected(Trade, (SHARD,), 100))
    schema = table.schema()
    read = pq.read_schema(one.path.removeprefix("file://"))
    assert read.names == [field.name for field in schema.fields]
    for field in schema.fields:
        assert read.field(field.name).metadata[b"PARQUET:field_id"] == b"%d" % field.field_id
    bounded = {schema.find_column_name(number) for number in file.lower_bounds}
    assert bounded == {"trade_id", "symbol", "exchange", "timestamp", "platform_sequence"}
    position = schema.find_field("platform_sequence")
    assert from_bytes(position.field_type, file.upper_bounds[position.field_id]) == one.upper


def test_a_file_is_described_alike_from_its_footer(table: Table) -> None:
    [(one, file)] = stage(table, Trade, SHARD, expected(Trade, (SHARD,), 100))
    assert [*data_file(table, one)._data] == [*file._data]


def test_trimming_keeps_what_is_above(table: Table) -> None:
    rows = expected(Trade, (SHARD,), 100)
    [(one, _)] = stage(table, Trade, SHARD, rows)
    [file] = trim(table, Trade, SHARD, one, 40)
    read = pq.read_table(file.file_path.removeprefix("file://"))
    assert sorted(read["trade_id"].to_pylist()) == sorted(
        rows.filter(pc.greater(rows["platform_sequence"], 40))["trade_id"].to_pylist()
    )
    assert trim(table, Trade, SHARD, one, one.upper) == []


def test_a_file_that_was_cut_short_is_never_described(table: Table) -> None:
    [(one, _)] = stage(table, Trade, SHARD, expected(Trade, (SHARD,), 100))
    path = Path(one.path.removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LakeError, match="cannot be read"):
        data_file(table, one)


@pytest.mark.parametrize("asked", [data_file, lambda table, one: trim(table, Trade, SHARD, one, 1)])
def test_a_file_that_is_gone_is_named(table: Table, asked: object) -> None:
    one = Staged("silver.trades", f"{table.location()}/data/nothing.parquet", 3, 9, 1)
    with pytest.raises(LakeError, match=r"the staged rows 3 to 9 of silver\.trades cannot be read"):
        asked(table, one)  # type: ignore[operator]


def test_frames_stay_in_the_order_of_their_journal(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated", (SHARD,))
    table = open_table(open_catalog(tmp_path), Frame, store)
    [(one, _), (two, _)] = stage(table, Frame, SHARD, expected(Frame, (SHARD,), FRAMES))
    read = [pq.read_table(each.path.removeprefix("file://"))["position"].to_pylist() for each in (one, two)]
    assert [*read[0], *read[1]] == [*range(1, FRAMES + 1)]
