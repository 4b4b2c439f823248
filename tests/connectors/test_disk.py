"""What a disk does to us is said with its name; lines that were acknowledged stay."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from connectors.disk import append_line, disk_errors, file_system, lines, make_folder
from connectors.errors import TapeError


class Line(msgspec.Struct, frozen=True):
    number: int


def test_an_error_of_the_disk_names_the_file_system_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TapeError) as caught, disk_errors("write", tmp_path, TapeError):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    message = str(caught.value)
    assert message.startswith(f"cannot write {tmp_path} (file system /")
    assert "bytes free): No space left on device" in message
    assert caught.value.hint == "free some space there"


def test_a_bug_stays_a_bug(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file"), disk_errors("write", tmp_path, TapeError):
        os.write(-1, b"")


def test_a_path_that_does_not_exist_has_the_file_system_that_it_would_be_on(tmp_path: Path) -> None:
    assert file_system(tmp_path / "a" / "b").split(",")[0] == file_system(tmp_path).split(",")[0]


def test_a_file_system_that_does_not_answer_is_named_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "statvfs", fail)
    assert file_system(tmp_path).startswith("file system /")


def test_folders_are_made_down_to_the_last(tmp_path: Path) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_lines_come_back_and_an_unfinished_one_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert lines(path, Line) == []
    append_line(path, Line(1))
    whole = path.read_bytes()
    append_line(path, Line(2))
    both = path.read_bytes()
    for end in range(len(whole), len(both)):
        path.write_bytes(both[:end])
        assert lines(path, Line) == [Line(1)]
        append_line(path, Line(3))
        assert lines(path, Line) == [Line(1), Line(3)]


def test_a_line_that_somebody_else_wrote_is_refused_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b'{"number":"one"}\n')
    with pytest.raises(TapeError, match="lines holds a line that is not a Line"):
        lines(tmp_path / "lines", Line)
