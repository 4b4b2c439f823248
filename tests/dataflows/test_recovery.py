"""Recovery is on however the flow is started, and is always this store's."""

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from bytewax.recovery import init_db_dir

from connectors import disk
from connectors.slots import StoreError, open_store, read
from dataflows.recovery import FILES, RIGHTS, Command, RecoveryError, adopt, arrange, command

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
    fresh = made_by_somebody(tmp_path / "fresh")

    with pytest.raises(StoreError, match="a second time"):
        arrange(tmp_path / "a", store, ALONE, shared=False)
    with pytest.raises(StoreError, match="a second time"):
        adopt(tmp_path / "a", store, fresh)
    adopt(tmp_path / "a", store, tmp_path / "away")


def test_a_directory_that_does_not_exist_is_told_with_how_to_make_it(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    with pytest.raises(StoreError, match="fresh does not exist") as refused:
        adopt(tmp_path / "a", store, tmp_path / "fresh")

    told = re.search("`(.*)`", refused.value.hint)
    assert told is not None
    typed = told[1].replace("DIRECTORY", str(tmp_path / "fresh")).replace("python", sys.executable)
    subprocess.run(typed, shell=True, check=True)
    adopt(tmp_path / "a", store, tmp_path / "fresh")


def test_files_of_another_store_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    other = open_store(tmp_path / "b", "simulated")
    found = arrange(tmp_path / "a", store, ALONE, shared=False)

    with pytest.raises(StoreError, match="of another store"):
        adopt(tmp_path / "b", other, found)


def test_files_that_somebody_made_become_the_stores_own(tmp_path: Path) -> None:
    store = open_store(tmp_path / "a", "simulated")
    given = made_by_somebody(tmp_path / "given")

    adopt(tmp_path / "a", store, given)

    assert (given / "store").read_text() == store.store_id
    again = read(tmp_path / "a")
    assert again is not None
    assert again.recovered
    adopt(tmp_path / "a", again, given)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4096])


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def spoiled(path: Path) -> None:
    """A page in the middle, as a disk returns it that has lost it."""
    held = path.read_bytes()
    path.write_bytes(held[:8192] + b"\xff" * 4096 + held[12288:])


def no_database(path: Path) -> None:
    path.write_text("something else entirely\n" * 100)


def anothers_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE customers (name TEXT)")


def another_stores(path: Path) -> None:
    store = open_store(path.parents[2] / "other", "simulated")
    other = arrange(path.parents[2] / "other", store, ALONE, shared=False)
    shutil.copy(other / path.name, path)


def of_another_set(path: Path) -> None:
    other = made_by_somebody(path.parents[2] / "smaller", 2)
    shutil.copy(other / "part-1.sqlite3", path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (empty, "part-3.sqlite3 cannot be used: no such table: parts"),
        (torn, "part-3.sqlite3 "),
        (cut_short, "part-3.sqlite3 cannot be used: "),
        (spoiled, "part-3.sqlite3 "),
        (no_database, "part-3.sqlite3 cannot be used: file is not a database"),
        (anothers_database, "part-3.sqlite3 cannot be used: no such table: parts"),
        (another_stores, "part-3.sqlite3 is of another store"),
        (of_another_set, "are not of one set"),
        (Path.unlink, "part-3.sqlite3 is missing"),
    ],
)
def test_what_the_engine_would_die_of_is_refused_in_one_line(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    store = open_store(tmp_path / "a", "simulated")
    found = arrange(tmp_path / "a", store, ALONE, shared=False)
    adopt(tmp_path / "a", store, found)

    spoil(found / "part-3.sqlite3")

    with pytest.raises(RecoveryError) as caught:
        adopt(tmp_path / "a", store, found)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "`tape recover`" in caught.value.hint
    assert caught.value.exit_code == 1


def test_a_file_that_may_not_be_read_is_no_damage(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated")
    found = arrange(tmp_path, store, ALONE, shared=False)
    (found / "part-3.sqlite3").unlink()
    (found / "part-3.sqlite3").mkdir()  # what nobody can open, whatever his rights

    with pytest.raises(RecoveryError, match="unable to open database file") as caught:
        adopt(tmp_path, store, found)
    assert caught.value.hint == RIGHTS


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's rights were not tried: needs root")
def test_a_file_that_may_not_be_written_is_no_damage_either(tmp_path: Path) -> None:
    store = open_store(tmp_path, "simulated")
    found = arrange(tmp_path, store, ALONE, shared=False)
    nobody = 65_534
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, nobody, nobody)
    os.chown(found / "part-3.sqlite3", 0, 0)
    for folder in (tmp_path.parent, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setuid(nobody)
        try:
            adopt(tmp_path, store, found)
        except RecoveryError as error:
            os.write(writing, f"{error}\n{error.hint}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as said:  # noqa: PTH123
        problem, hint = said.read().split("\n")

    assert problem.endswith("part-3.sqlite3 cannot be used: attempt to write a readonly database")
    assert hint == RIGHTS


def test_without_room_for_the_engine_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path, "simulated")
    monkeypatch.setattr("dataflows.recovery.ROOM_BYTES", 1 << 60)

    with pytest.raises(RecoveryError, match=r"cannot write .*: No space left on device") as caught:
        arrange(tmp_path, store, ALONE, shared=False)
    assert caught.value.hint == disk.ADVICE[errno.ENOSPC]
    assert not (tmp_path / "recovery").exists()


def made_by_somebody(directory: Path, files: int = FILES) -> Path:
    """Recovery files as the engine's own command makes them."""
    directory.mkdir()
    init_db_dir(directory, files)  # type: ignore[no-untyped-call]
    return directory


def test_the_command_is_read_as_the_engine_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["run.py", "dataflows.crypto", "-i", "1", "-a", "a:1;b:2", "-s2", "-b", "0"]
    )
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "/somewhere")

    assert command() == Command(Path("/somewhere"), 2.0, 1, ("a:1", "b:2"), 1, 0.0)


def test_each_slot_is_captured_by_the_process_that_has_its_partition() -> None:
    told = [Command(None, None, process, ("a:1", "b:2", "c:3"), 2) for process in range(3)]
    assert [[one.captures(slot) for one in told].index(True) for slot in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
