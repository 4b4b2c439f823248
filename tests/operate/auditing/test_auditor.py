"""An auditor that never says no proves nothing: each damage is done to a store, and must be told by name."""

import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable, Table

from connectors.blocks import HEADER_BYTES, block_header
from connectors.catalog import LakeError, open_catalog
from connectors.disk import append_line
from connectors.journal import Journal
from connectors.positions import remember_position
from connectors.segments import REMOVED, Removed, read_segment_header, segment_paths
from connectors.tokens import Token, as_properties, tokens_of
from operate.auditing.auditor import audit
from operate.auditing.findings import RULES, Finding
from operate.auditing.reading import Asked
from tests.operate.auditing.conftest import FRAMES, SHARDS, Audit

DAY = 24 * 3_600 * 1_000_000


def violated(found: dict[str, Finding]) -> set[str]:
    return {check for check, finding in found.items() if finding.violations}


def table(store: Path, name: str) -> Table:
    return open_catalog(store).load_table(name)


def rows(store: Path, name: str) -> pa.Table:
    return table(store, name).scan().to_arrow()


def is_(column: str, value: str) -> str:
    """The filter for rows of one value."""
    return f"{column} = '{value}'"


def replace(store: Path, name: str, message_id: str, edit: Callable[[dict[str, Any]], None]) -> None:
    """Take a row out, and put it back as something else."""
    found = table(store, name)
    row = found.scan(row_filter=is_("message_id", message_id)).to_arrow()
    values = row.to_pylist()
    edit(values[0])
    found.delete(is_("message_id", message_id))
    found.append(pa.Table.from_pylist(values, schema=row.schema))


def say(store: Path, name: str, change: Callable[[Token], Token]) -> None:
    """Let a table's token of the first shard be another, in its newest commit as well."""
    found = table(store, name)
    tokens = tokens_of(found)
    said = as_properties({SHARDS[0]: change(tokens[SHARDS[0]])})
    with found.transaction() as transaction:
        transaction.update_snapshot(snapshot_properties=said).fast_append().commit()
        transaction.set_properties(said)


def counted(token: Token, **counts: int) -> Token:
    added = {name: token.counts.get(name, 0) + number for name, number in counts.items()}
    return msgspec.structs.replace(token, counts=token.counts | added)


def a_file(store: Path, name: str) -> Path:
    task = next(iter(table(store, name).scan().plan_files()))
    return Path(task.file.file_path.removeprefix("file://"))


def delete_a_trade(store: Path) -> str:
    """From the middle of a series, where no gap says that it is missing."""
    found = rows(store, "silver.trades").sort_by([("symbol", "ascending"), ("first_sequence", "ascending")])
    row = found.slice(found.num_rows // 12, 1).to_pylist()[0]
    table(store, "silver.trades").delete(is_("message_id", row["message_id"]))
    return "silver.trades"


def repeat_a_trade(store: Path) -> str:
    found = table(store, "silver.trades")
    row = found.scan(limit=1).to_arrow().slice(0, 1)
    found.append(row)
    return row["message_id"][0].as_py()


def repeat_a_bar(store: Path) -> str:
    found = table(store, "gold.bars")
    row = found.scan(limit=1).to_arrow().slice(0, 1)
    found.append(row)
    return row["message_id"][0].as_py()


def repeat_a_dead_letter(store: Path) -> str:
    found = table(store, "silver.dead_letters")
    row = found.scan(limit=1).to_arrow().slice(0, 1)
    found.append(row)
    shard, position, index = (row[name][0].as_py() for name in ("shard", "platform_sequence", "index"))
    return f"{shard}:{position}:{index}"


def swap_two_quotes(store: Path) -> str:
    """One goes, another comes twice: their number is as it was."""
    found = table(store, "silver.quotes")
    two = found.scan().to_arrow()
    own = two.filter(pc.equal(two["shard"], two["shard"][0]))
    found.delete(is_("message_id", own["message_id"][0].as_py()))
    found.append(own.slice(1, 1))
    return own["message_id"][0].as_py()


def delete_a_frame(store: Path) -> str:
    found = table(store, "bronze.frames")
    found.delete("shard = 'binance-0' and position = 77")
    return "binance-0 77"


def repeat_a_frame(store: Path) -> str:
    found = table(store, "bronze.frames")
    found.append(found.scan(row_filter="shard = 'binance-0' and position = 77").to_arrow())
    return "binance-0 77 twice"


def change_a_frame(store: Path) -> str:
    """Its bytes: all counts are as they were."""
    found = table(store, "bronze.frames")
    row = found.scan(row_filter="shard = 'binance-0' and position = 77").to_arrow()
    found.delete("shard = 'binance-0' and position = 77")
    other = pa.array([b"{}"], row.schema.field("payload").type)
    found.append(row.set_column(row.schema.get_field_index("payload"), row.schema.field("payload"), other))
    return "frame binance-0 77"


def number_a_frame_anew(store: Path) -> str:
    found = table(store, "bronze.frames")
    row = found.scan(row_filter="shard = 'binance-0' and position = 800").to_arrow()
    found.delete("shard = 'binance-0' and position = 800")
    field = row.schema.field("number")
    found.append(row.set_column(row.schema.get_field_index("number"), field, pa.array([90_000], field.type)))
    return "binance-0 connection 1 number 800"


def drop_a_file(store: Path, name: str = "silver.trades", _: str = "") -> str:
    path = a_file(store, name)
    path.unlink()
    return f"{path}: is not there"


def truncate_a_file(store: Path) -> str:
    path = a_file(store, "silver.quotes")
    os.truncate(path, path.stat().st_size - 100)
    return f"{path}: {path.stat().st_size:,} bytes"


def spoil_a_file(store: Path) -> str:
    """As long as it was, and no Parquet any more."""
    path = a_file(store, "silver.gaps")
    path.write_bytes(bytes(path.stat().st_size))
    return f"{path}: "


def flip(path: Path, first: int, count: int = 8) -> None:
    data = bytearray(path.read_bytes())
    for place in range(first, first + count):
        data[place] ^= 0xFF
    path.write_bytes(data)


def flip_a_footer(store: Path) -> str:
    path = a_file(store, "silver.trades")
    flip(path, path.stat().st_size - 60, 20)
    return f"{path}: Couldn't deserialize thrift"


def flip_a_page(store: Path, name: str = "silver.trades", column: str = "message_id") -> str:
    """What says how long it is: other bytes may be values as good as those that were there."""
    path = a_file(store, name)
    place = pq.read_metadata(path).row_group(0).column(pq.read_schema(path).names.index(column))
    first = min(filter(None, (place.dictionary_page_offset, place.data_page_offset)))
    flip(path, first)
    return f"{path}: "


def flip_a_page_of_ids(store: Path) -> str:
    return flip_a_page(store, column="first_sequence")


def a_manifest(store: Path, name: str = "silver.trades") -> Path:
    found = table(store, name)
    snapshot = found.current_snapshot()
    assert snapshot is not None
    return Path(snapshot.manifests(found.io)[0].manifest_path.removeprefix("file://"))


def flip_a_manifest(store: Path, name: str = "silver.trades", _: str = "") -> str:
    path = a_manifest(store, name)
    flip(path, path.stat().st_size // 2)
    return f"{path}: "


def drop_a_manifest(store: Path) -> str:
    path = a_manifest(store)
    path.unlink()
    return f"{path}: is not there"


def make_a_column_anew(store: Path) -> str:
    """Drop it and add it again, as other engines may: what was in it nobody reads any more."""
    found = table(store, "silver.trades")
    kind = found.schema().find_type("trade_id")
    with found.update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("trade_id")
    with found.update_schema() as change:
        change.add_column("trade_id", kind)
    path = a_file(store, "silver.trades")
    return f"{path}: trade_id: the table has another column of that name, read as null"


def edit_a_count_of_rows(store: Path) -> str:
    say(store, "silver.quotes", lambda token: counted(token, **{"rows_silver.quotes": 1}))
    return "silver.quotes binance-0: "


def edit_a_count_of_messages(store: Path) -> str:
    for name in ("silver.gaps", "gold.bars", "gold.stale_windows"):
        say(store, name, lambda token: counted(token, trades=3))
    return "binance-0 up to"


def edit_a_count_of_frames(store: Path) -> str:
    say(store, "bronze.frames", lambda token: counted(token, frames_tick=1, frames=1))
    return "binance-0 tick: "


def repeat_a_commit(store: Path) -> str:
    """Its files and its token once more."""
    found = table(store, "silver.trades")
    snapshot = next(
        each for each in reversed(found.snapshots()) if each.summary and each.summary["added-records"]
    )
    manifests = [
        each for each in snapshot.manifests(found.io) if each.added_snapshot_id == snapshot.snapshot_id
    ]
    added = [
        entry.data_file
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(found.io)
        if entry.snapshot_id == snapshot.snapshot_id
    ]
    said = {name: text for name, text in snapshot.summary.additional_properties.items() if "token" in name}
    with found.transaction() as transaction:
        append = transaction.update_snapshot(snapshot_properties=said).fast_append()
        for file in added:
            append.append_data_file(file)
        append.commit()
    return added[0].file_path


def move_a_dead_letter(store: Path) -> str:
    """To another reason: their number is as it was."""
    row = rows(store, "silver.dead_letters").filter(pc.field("reason") == "malformed").to_pylist()[0]
    replace(store, "silver.dead_letters", row["message_id"], lambda row: row.update(reason="side"))
    return f"{row['shard']} dead_letters_side: 1 rows, 0 counted"


def turn_a_dead_letter_into_silence(store: Path) -> str:
    row = rows(store, "silver.dead_letters").filter(pc.field("stage") == "validate").to_pylist()[0]
    table(store, "silver.dead_letters").delete(is_("message_id", row["message_id"]))
    return f"{row['shard']} up to"


def forget_gaps(store: Path) -> str:
    """All of a symbol that are open, so that more ids are missing than messages were refused."""
    found = rows(store, "silver.gaps").to_pylist()
    ended = {row["gap_id"] for row in found if row["status"] != "open"}
    left = [row for row in found if row["gap_id"] not in ended]
    symbol = max({row["symbol"] for row in left}, key=[row["symbol"] for row in left].count)
    for row in left:
        if row["symbol"] == symbol:
            table(store, "silver.gaps").delete(is_("gap_id", row["gap_id"]))
    first = min(row["first_missing"] for row in left if row["symbol"] == symbol)
    return f"{symbol}:0:{first}"


def lose_what_is_stored(store: Path) -> str:
    """A gap says of an id that it will not come, and it is there."""
    trade = rows(store, "silver.trades").to_pylist()[40]
    gap = rows(store, "silver.gaps").slice(0, 1).to_pylist()[0]
    first = trade["first_sequence"]
    gap_id = f"binance:spot:{trade['symbol']}:0:{first}-{first}"
    names = {
        "shard": trade["shard"],
        "platform_sequence": trade["platform_sequence"],
        "symbol": trade["symbol"],
    }
    gap |= names | {"gap_id": gap_id, "message_id": f"{gap_id}:lost", "status": "lost", "ended": gap["found"]}
    gap |= {"first_missing": first, "last_missing": first, "series": 0}
    found = table(store, "silver.gaps")
    found.append(pa.Table.from_pylist([gap], schema=found.schema().as_arrow()))
    return f"{trade['symbol']}:0:{first} lost, but stored"


def change_a_bar(store: Path) -> str:
    row = rows(store, "gold.bars").filter(pc.field("interval") == "1s").to_pylist()[3]
    replace(store, "gold.bars", row["message_id"], lambda row: row.update(volume=row["volume"] + 1))
    return row["message_id"]


def delete_a_bar(store: Path) -> str:
    row = rows(store, "gold.bars").filter(pc.field("interval") == "1s").to_pylist()[3]
    table(store, "gold.bars").delete(
        f"symbol = '{row['symbol']}' and interval = '1s' and "
        f"window_start = '{row['window_start'].isoformat()}'"
    )
    window = ":".join(row["message_id"].split(":")[:-1])
    return f"{window} has no bar"


def advance_silver(store: Path) -> str:
    say(store, "silver.trades", lambda token: msgspec.structs.replace(token, position=token.position + 5))
    return f"silver.trades binance-0: {FRAMES + 5}, bronze {FRAMES}"


def go_back(store: Path) -> str:
    say(store, "silver.trades", lambda token: msgspec.structs.replace(token, position=7))
    return "binance-0 goes back to 7"


def leave_a_file_about(store: Path) -> str:
    path = a_file(store, "silver.trades").with_name("left.parquet")
    path.write_bytes(b"left")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return str(path)


def drop_a_table(store: Path) -> str:
    open_catalog(store).drop_table("silver.quotes")
    return "silver.quotes does not exist"


def remove_a_journal_frame(store: Path) -> str:
    """A block goes out of the middle of a segment."""
    path = segment_paths(store / "journal" / SHARDS[0])[0]
    data = path.read_bytes()
    first = read_segment_header(path, data).size
    header = block_header(data[first : first + HEADER_BYTES])
    assert header is not None
    path.write_bytes(data[:first] + data[first + header.size :])
    return f"binance-0 1-{FRAMES} missing in the journal"


def cut_the_journal(store: Path) -> str:
    """Its last block goes, as if nobody had forced it to disk."""
    path = segment_paths(store / "journal" / SHARDS[0])[0]
    data = path.read_bytes()
    place = read_segment_header(path, data).size
    while (found := block_header(data, place)) and place + found.size < len(data):
        place += found.size
    assert found is not None
    os.truncate(path, place)
    return f"binance-0 {found.first}-{FRAMES} missing in the journal"


def delete_a_journal(store: Path) -> str:
    """All of its segments; the folder stays."""
    for path in segment_paths(store / "journal" / SHARDS[0]):
        path.unlink()
    return f"binance-0 1-{FRAMES} missing in the journal"


def delete_a_journals_folder(store: Path) -> str:
    """That it was here only the note of a snapshot tells."""
    shutil.rmtree(store / "journal" / SHARDS[0])
    remember_position(store, SHARDS[0], FRAMES + 10)
    return f"binance-0 1-{FRAMES + 10} missing in the journal"


def delete_the_newest_segment(store: Path) -> str:
    """It held nothing that was published, and what was removed before it is told."""
    trim(store, SHARDS[0])
    for path in segment_paths(store / "journal" / SHARDS[0]):
        path.unlink()
    return "binance-0 journal: no segment is there"


def restore_an_old_catalog(store: Path) -> str:
    """From before the journals were trimmed: what it does not know is nowhere any more."""
    with sqlite3.connect(store / "catalog.db") as catalog:
        for name in ("bronze.frames", *LATER):
            found = table(store, name)
            old = before(found)
            catalog.execute(
                "update iceberg_tables set metadata_location = ? where metadata_location = ?",
                (old, found.metadata_location),
            )
    catalog.close()
    position = tokens_of(table(store, "bronze.frames"))[SHARDS[1]].position
    assert 0 < position < FRAMES
    trim(store, SHARDS[1])
    return f"binance-1 {position + 1}-{FRAMES} neither in bronze nor in a segment"


LATER = ("silver.trades", "silver.quotes", "silver.dead_letters", "silver.gaps", "gold.bars")


def before(found: Table) -> str:
    """A table's metadata as it was some commits ago, when it had half of the frames."""
    for entry in reversed(found.metadata.metadata_log):
        old = StaticTable.from_metadata(entry.metadata_file)
        if all(token.position <= FRAMES // 2 for token in tokens_of(old).values()):
            return entry.metadata_file
    raise AssertionError("it never had half of them")


def trim(store: Path, shard: str) -> None:
    """All frames leave the journal as published ones do, and a new segment begins."""
    folder = store / "journal" / shard
    for path in segment_paths(folder):
        size = path.stat().st_size
        gone = Removed(first=1, last=FRAMES, count=FRAMES, bytes=size, checksum="00000000")
        append_line(folder / REMOVED, gone)
        path.unlink()
    Journal.open(folder, exchange="binance", shard=shard, now=0).close()


# What is done, and the checks that have to say so; others may say it as well.
DAMAGES: dict[Callable[[Path], str], str] = {
    delete_a_trade: "A4 A8",
    repeat_a_trade: "A4 A5 A8 A9 A15",
    repeat_a_bar: "A5 A8 A9",
    repeat_a_dead_letter: "A3 A5 A8 A9",
    swap_two_quotes: "A9 A15",
    delete_a_frame: "A1 A2 A3 A8",
    repeat_a_frame: "A1 A3 A8 A9",
    change_a_frame: "A9 A15",
    number_a_frame_anew: "A2 A9",
    drop_a_file: "A4 A8 A10",
    truncate_a_file: "A4 A8 A10",
    spoil_a_file: "A8 A10",
    flip_a_footer: "A8 A10",
    flip_a_page_of_ids: "A10",
    flip_a_manifest: "A8 A10",
    drop_a_manifest: "A8 A10",
    make_a_column_anew: "A10",
    edit_a_count_of_rows: "A8",
    edit_a_count_of_messages: "A4",
    edit_a_count_of_frames: "A3",
    repeat_a_commit: "A4 A5 A8 A9",
    move_a_dead_letter: "A3 A9",
    turn_a_dead_letter_into_silence: "A3 A4 A8",
    forget_gaps: "A6 A8",
    lose_what_is_stored: "A6 A8 A9",
    change_a_bar: "A9 A12 A15",
    delete_a_bar: "A8 A12 A15",
    advance_silver: "A13",
    go_back: "A8 A9",
    leave_a_file_about: "A16",
    drop_a_table: "A4 A8",
    remove_a_journal_frame: "A1",
    cut_the_journal: "A1",
    delete_a_journal: "A1",
    delete_a_journals_folder: "A1",
    delete_the_newest_segment: "A1",
    restore_an_old_catalog: "A1",
}
# They need no store: each has its own test of facts.
ELSEWHERE = {"A7", "A11", "A14"}
DEEP = {"A12", "A15"}


def now() -> int:
    return time.time_ns() // 1_000


def test_nothing_is_said_of_a_store_that_is_well(audited: Audit) -> None:
    found = audited(deep=True, now=now() + 2 * DAY)
    assert list(found) == list(RULES)
    assert not violated(found), [finding for finding in found.values() if finding.violations]
    unlooked = {check for check, finding in found.items() if finding.verdict == "not checked"}
    assert unlooked <= {"A11", "A14"}
    assert all(finding.counted for check, finding in found.items() if check not in unlooked)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_each_damage_is_told(store: Path, audited: Audit, damage: Callable[[Path], str]) -> None:
    name, expected = damage(store), set(DAMAGES[damage].split())
    found = audited(deep=bool(expected & DEEP), now=now())
    assert expected <= violated(found), {check: found[check] for check in expected - violated(found)}
    told = [offender for finding in found.values() for offender in finding.offenders]
    assert any(name in offender for offender in told), (name, told)


def test_every_check_has_its_damage() -> None:
    assert {check for checks in DAMAGES.values() for check in checks.split()} | ELSEWHERE == set(RULES)


def test_a_table_that_cannot_be_read_is_no_verdict(store: Path, audited: Audit) -> None:
    found = table(store, "silver.trades").current_snapshot()
    assert found is not None
    Path(found.manifest_list.removeprefix("file://")).unlink()
    with pytest.raises(LakeError, match="cannot be read"):
        audited()


@pytest.mark.parametrize(
    "damage", [drop_a_file, flip_a_page, flip_a_manifest], ids=lambda each: each.__name__
)
@pytest.mark.parametrize("name", ["bronze.frames", "silver.trades"])
def test_what_needs_a_file_that_is_not_whole_is_not_checked_and_all_else_is(
    store: Path, audited: Audit, damage: Callable[..., str], name: str
) -> None:
    """No cheap check reads that column, and bronze is scanned by PyIceberg."""
    told = damage(store, name, "payload" if name == "bronze.frames" else "message_id")
    found = audited(deep=True, now=now() + 2 * DAY)
    assert list(found) == list(RULES)
    assert told in found["A10"].offenders[0]
    needed = {"A12", "A15"} if name == "silver.trades" else {"A15"}
    for check in needed:
        assert found[check].verdict == "not checked"
        assert found[check].note == f"{name} cannot be read as a whole: see A10"
    assert found["A13"].verdict == "holds"


@pytest.mark.parametrize("which", ["metadata", "manifest list"])
@pytest.mark.parametrize("harm", ["gone", "flipped"])
def test_a_table_that_cannot_be_opened_is_named_with_its_file(
    store: Path, audited: Audit, which: str, harm: str
) -> None:
    found = table(store, "silver.gaps")
    snapshot = found.current_snapshot()
    assert snapshot is not None
    location = snapshot.manifest_list if which == "manifest list" else found.metadata_location
    path = Path(location.removeprefix("file://"))
    if harm == "gone":
        path.unlink()
    else:
        flip(path, path.stat().st_size // 2)
    with pytest.raises(LakeError) as raised:
        audited()
    said = "is not there" if harm == "gone" else "cannot be opened"
    assert said in str(raised.value)
    assert "silver.gaps" in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_store_without_tables_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="no table to audit"):
        audit(open_catalog(tmp_path), tmp_path, Asked(lambda _: True), deep=False, now=now())


def test_one_venue_of_two(audited: Audit) -> None:
    assert audited(venue="binance")["A1"].counted == len(SHARDS) * FRAMES
    other = audited(venue="kraken")
    assert other["A1"].counted == 0
    assert not violated(other)


def test_only_what_came_since(store: Path, audited: Audit) -> None:
    commits = table(store, "bronze.frames").snapshots()
    found = audited(since=commits[len(commits) // 2].timestamp_ms * 1_000, deep=True)
    assert not violated(found), [finding for finding in found.values() if finding.violations]
    assert 0 < found["A1"].counted < len(SHARDS) * FRAMES


def test_only_what_came_since_of_some_shards(store: Path) -> None:
    """The other shard is in the same commits."""
    commits = table(store, "bronze.frames").snapshots()
    since = commits[len(commits) // 2].timestamp_ms * 1_000
    asked = Asked(lambda shard: shard == SHARDS[0], since, limited=True)
    found = {each.check: each for each in audit(open_catalog(store), store, asked, deep=False, now=now())}
    assert not violated(found), [finding for finding in found.values() if finding.violations]
    assert 0 < found["A1"].counted < FRAMES
    assert "are other venues' too, and not summed up" in found["A8"].note
