"""Recovery is on however the flow is started, and is always this store's."""

import os
import sys
from pathlib import Path

import pytest

from connectors.slots import StoreError, open_store, read
from dataflows import recovery
from dataflows.recovery import FILES, Command, adopt, arrange, command, start_again

ALONE = Command(None, None, 0, (), 1)
HERE = Command(None, None, 1, ("127.0.0.1:2101", "localhost:2102"), 1)
APART = Command(None, None, 0, ("tape-0.tape:2101", "tape-1.tape:2101"), 1)


@pytest.mark.parametrize("told", [ALONE, HERE])
def test_files_are_made_once_with_the_stores_id_beside_them(tmp_path: Path, told: Command) -> None:
    store = open_store(tmp_path, "simulated")

    found = arrange(tmp_path, store, told, shared=False)
    made = {path.name: path.stat().st_mtime_ns for path in found.iterdir()}

    assert found == tmp_path / "recovery"
    assert len([name for name in made if name.startswith("part-")]) == FILES
    assert (found / "store").read_text() == store.store_id
    assert arrange(tmp_path, store, told, shared=False) == found
    assert {path.name: path.stat().st_mtime_ns for path in found.iterdir()} == made


def test_what_a_killed_start_left_is_made_anew(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated")
    (tmp_path / "recovery.new").mkdir()
    (tmp_path / "recovery.new" / "part-0.sqlite3").write_text("half")

    assert (arrange(tmp_path, store, ALONE, shared=False) / "part-0.sqlite3").stat().st_size > 100


def test_a_cluster_that_shares_no_directory_never_makes_its_own(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated")

    with pytest.raises(StoreError, match="files that all its processes see"):
        arrange(tmp_path, store, APART, shared=False)
    assert not (tmp_path / "recovery").exists()
    assert arrange(tmp_path, store, APART, shared=True).exists()


def test_a_store_never_starts_again_without_its_files(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    found = arrange(tmp_path / "a", store, ALONE, shared=False)
    adopt(tmp_path / "a", store, found)
    store = open_store(tmp_path / "a", "simulated")
    found.rename(tmp_path / "away")
    fresh = tmp_path / "fresh"
    fresh.mkdir()

    with pytest.raises(StoreError, match="a second time"):
        arrange(tmp_path / "a", store, ALONE, shared=False)
    with pytest.raises(StoreError, match="a second time"):
        adopt(tmp_path / "a", store, fresh)
    adopt(tmp_path / "a", store, tmp_path / "away")


def test_files_of_another_store_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    other = open_store(tmp_path / "b", "simulated")
    found = arrange(tmp_path / "a", store, ALONE, shared=False)

    with pytest.raises(StoreError, match="of another store"):
        adopt(tmp_path / "b", other, found)


def test_files_that_somebody_made_become_the_stores_own(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    given = tmp_path / "given"
    given.mkdir()

    adopt(tmp_path / "a", store, given)

    assert (given / "store").read_text() == store.store_id
    again = read(tmp_path / "a")
    assert again is not None
    assert again.recovered


def test_the_command_is_read_as_the_engine_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["run.py", "dataflows.crypto", "-i", "1", "-a", "a:1;b:2", "-s2", "-b", "0"]
    )
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "/somewhere")

    assert command() == Command(Path("/somewhere"), 2.0, 1, ("a:1", "b:2"), 1)


def test_each_slot_is_captured_by_the_process_that_has_its_partition() -> None:
    told = [Command(None, None, process, ("a:1", "b:2", "c:3"), 2) for process in range(3)]
    assert [[one.captures(slot) for one in told].index(True) for slot in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]


def test_the_same_command_is_executed_with_what_it_did_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(recovery.os, "execve", lambda *said: executed.append(said))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "bytewax.run", "dataflows.crypto"])

    start_again(Path("/data/recovery"), {"BYTEWAX_SNAPSHOT_INTERVAL": "1", "HOME": os.sep})

    program, arguments, environment = executed[0]
    assert (program, arguments) == (sys.executable, [sys.executable, "-m", "bytewax.run", "dataflows.crypto"])
    assert environment == {
        "BYTEWAX_RECOVERY_DIRECTORY": "/data/recovery",
        "BYTEWAX_SNAPSHOT_INTERVAL": "1",
        "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
        "HOME": os.sep,
    }
