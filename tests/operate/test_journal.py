"""`tape journal` as a user sees it: what is sound, what is not, and the frames themselves."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors import segments
from connectors.journal import Entry, Journal
from connectors.segments import iso, segment_path, segment_paths
from operate import cli

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000_000_000
CLOCK_GRAIN = 20_000  # microseconds by which a file system's times may be behind the clock
ENTRIES: list[Entry] = [
    (NOW, 77, 1, "connection", b"opened"),
    (NOW + 1, 77, 2, "data", b'{"p":"1.5"}'),
    (NOW + 2, 77, 3, "data", b"\xff\x00"),
    (NOW + 3, 77, 4, "control", "schön\n\x1b[31m".encode()),
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three segments: positions 1 to 4, 5 to 8, 9 to 12."""
    directory = tmp_path / "data" / "simulated" / "journal" / "kraken-0"
    journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW, segment_bytes_max=1)
    for _ in range(3):
        journal.append(ENTRIES)
    journal.close()
    return directory


def rows(
    capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0
) -> list[dict[str, object]]:
    assert cli.run(["journal", *map(str, arguments), "--json"]) == code
    found: list[dict[str, object]] = json.loads(capsys.readouterr().out)
    return found


def objects(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> list[dict[str, object]]:
    assert cli.run(["journal", "cat", *map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def verdicts(found: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["verdict"], row["first"], row["last"]) for row in found]


SOUND = [("sound", 1, 4), ("sound", 5, 8), ("sound", 9, 12)]


@pytest.mark.parametrize("verb", ["verify", "stat"])
def test_a_flow_may_trim_meanwhile(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW)
    inspect = segments.inspect

    def trimming(path: Path) -> segments.Inspection:
        journal.remove_through(4)
        return inspect(path)

    monkeypatch.setattr(segments, "inspect", trimming)
    found = rows(capsys, verb, directory)
    assert segment_path(directory, 1) not in segment_paths(directory), "the fault did not fire"
    journal.close()
    if verb == "verify":
        assert verdicts(found)[:2] == SOUND[1:]
    else:
        assert (found[0]["first"], found[0]["removed"], found[0]["damaged"]) == (5, 4, None)


def test_a_sound_journal_is_called_sound(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(capsys, "verify", directory)
    assert verdicts(found) == SOUND
    assert found[0] == {
        "shard": "kraken-0",
        "verdict": "sound",
        "first": 1,
        "last": 4,
        "frames": 4,
        "file": segment_path(directory, 1).name,
        "offset": None,
        "detail": "",
    }


def test_a_folder_of_shards_and_the_configured_one_are_looked_through(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert verdicts(rows(capsys, "verify", directory.parent)) == SOUND
    assert verdicts(rows(capsys, "verify")) == SOUND
    assert verdicts(rows(capsys, "verify", "--shard", "kraken-0")) == SOUND
    assert cli.run(["journal", "verify", "--shard", "kraken-1"]) == 2
    assert "did you mean kraken-0?" in capsys.readouterr().err


def test_people_get_a_table(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["journal", "verify", str(directory)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["shard", "verdict", "first", "last", "frames", "file", "offset", "detail"]
    assert lines[1].split()[:5] == ["kraken-0", "sound", "1", "4", "4"]


def test_a_torn_end_is_told_and_is_no_damage(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = segment_path(directory, 9)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b"TAPE")
    found = rows(capsys, "verify", directory)
    assert verdicts(found) == [*SOUND[:2], ("torn", 9, 12)]
    assert found[2]["offset"] == size


@pytest.mark.parametrize("first", [1, 5])
def test_damage_is_named_with_its_place(
    directory: Path, capsys: pytest.CaptureFixture[str], first: int
) -> None:
    path = segment_path(directory, first)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    found = rows(capsys, "verify", directory, code=1)
    (damaged,) = [row for row in found if row["verdict"] == "damaged"]
    assert damaged["file"] == path.name
    assert damaged["offset"] == path.read_bytes().index(b"TAPE", 8)
    assert ("missing", first, first + 3) in verdicts(found)


def test_a_damaged_header_does_not_hide_the_rest(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = segment_path(directory, 5)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    found = rows(capsys, "verify", directory, code=1)
    assert verdicts(found) == [SOUND[0], ("damaged", None, None), ("missing", 5, 8), SOUND[2]]


def test_a_missing_segment_is_damage_and_a_removed_or_lost_one_is_not(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW, expected_position=20)
    journal.append(ENTRIES)
    journal.remove_through(4)
    journal.close()
    sound = [("sound", 5, 8), ("sound", 9, 12), ("sound", 21, 24), ("lost", 13, 20)]
    assert verdicts(rows(capsys, "verify", directory)) == sound
    segment_path(directory, 9).unlink()
    found = rows(capsys, "verify", directory, code=1)
    assert verdicts(found) == [sound[0], ("missing", 9, 12), *sound[2:]]


def test_a_segment_over_positions_of_another_is_damage(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Journal.open(
        directory.parent / "x", exchange="kraken", shard="kraken-0", now=0, expected_position=6
    )
    copy.append(ENTRIES)
    copy.close()
    (path,) = segment_paths(directory.parent / "x")
    path.rename(directory / path.name)
    found = rows(capsys, "verify", directory, code=1)
    assert found[2]["detail"] == "begins 2 positions before the end of the one before it"


def test_where_there_is_no_journal_nothing_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["verify"], ["stat", str(tmp_path)], ["cat", str(tmp_path / "nowhere")]):
        assert cli.run(["journal", *arguments]) == 2
    assert "no journal in data/live/journal or data/simulated/journal" in capsys.readouterr().err


def test_stat_counts(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW, expected_position=20)
    journal.remove_through(4)
    (found,) = rows(capsys, "stat", directory)
    assert str(found.pop("writer")).startswith(f"process {os.getpid()} on ")
    assert found.pop("ended") is None
    assert found == {
        "shard": "kraken-0",
        "segments": 3,
        "bytes": sum(path.stat().st_size for path in segment_paths(directory)),
        "frames": 8,
        "first": 5,
        "last": 12,
        "oldest": "2023-11-14T22:13:20.000000Z",
        "newest": "2023-11-14T22:13:20.000003Z",
        "removed": 4,
        "lost": 8,
        "damaged": None,
    }
    closing = iso(time.time_ns() // 1_000 - CLOCK_GRAIN)
    journal.close()
    (found,) = rows(capsys, "stat", directory)
    assert found["writer"] is None
    assert closing <= str(found["ended"]) <= iso(time.time_ns() // 1_000)


def test_stat_does_not_take_a_dead_writer_for_a_living_one(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = (
        "import os, sys; from pathlib import Path; from connectors.journal import Journal\n"
        f"Journal.open(Path(sys.argv[1]), exchange='kraken', shard='kraken-0', now={NOW})\n"
        "os.kill(os.getpid(), 9)"
    )
    with subprocess.Popen([sys.executable, "-c", killed, str(directory)], cwd=ROOT) as child:
        pass
    assert child.returncode == -signal.SIGKILL
    os.utime(segment_paths(directory)[-1], ns=(0, (NOW + 5) * 1_000))
    (found,) = rows(capsys, "stat", directory)
    assert str(found["writer"]).startswith(f"process {child.pid} on ")
    assert found["ended"] == iso(NOW + 5)
    Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW).close()


def test_a_segment_of_another_shard_is_damage(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = segment_paths(directory)
    other = directory.with_name("binance-7")
    journal = Journal.open(other, exchange="binance", shard="binance-7", now=1)
    journal.append([(1, 1, 1, "data", b"x")])
    journal.close()
    shutil.copy(segment_paths(other)[0], paths[0])
    assert len(paths) > 1
    assert cli.run(["journal", "verify", str(directory), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    verdicts = [row["verdict"] for row in told if row["verdict"] != "missing"]
    assert verdicts == ["sound"] + ["damaged"] * (len(paths) - 1)
    (found,) = rows(capsys, "stat", directory, code=1)
    assert str(found["damaged"]).endswith("is of kraken kraken-0, not of binance binance-7")


def test_stat_has_a_row_for_what_is_no_journal(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = segment_paths(directory)[0]
    path.write_bytes(b"\0" * 10)
    (found,) = rows(capsys, "stat", directory, code=1)
    assert str(found["damaged"]).endswith("is not a journal segment")
    assert found["segments"] == len(segment_paths(directory))


@pytest.mark.parametrize("first", [1, 5])
def test_stat_marks_what_is_damaged(directory: Path, capsys: pytest.CaptureFixture[str], first: int) -> None:
    path = segment_path(directory, first)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (found,) = rows(capsys, "stat", directory, code=1)
    place = path.read_bytes().index(b"TAPE", 8)
    assert found["damaged"] == f"at byte {place:,} of {path.name}, see tape journal verify"
    path.unlink()
    (found,) = rows(capsys, "stat", directory, code=1)
    assert found["damaged"] == f"at position {first}, see tape journal verify"


def test_stat_of_a_journal_without_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Journal.open(tmp_path / "kraken-0", exchange="kraken", shard="kraken-0", now=NOW).close()
    (found,) = rows(capsys, "stat", tmp_path)
    assert (found["segments"], found["frames"], found["first"], found["newest"]) == (1, 0, None, None)


def test_cat_prints_every_frame_for_programs(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = objects(capsys, directory)
    assert [frame["position"] for frame in found] == list(range(1, 13))
    assert found[1] == {
        "exchange": "kraken",
        "shard": "kraken-0",
        "position": 2,
        "received": "2023-11-14T22:13:20.000001Z",
        "connection": 77,
        "number": 2,
        "kind": "data",
        "payload": '{"p":"1.5"}',
    }
    assert base64.b64decode(str(found[2]["payload_base64"])) == b"\xff\x00"
    assert found[3]["payload"] == "schön\n\x1b[31m"


def test_cat_prints_a_line_a_frame_for_people(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["journal", "cat", str(directory), "--limit", "4"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "kraken-0  1  2023-11-14T22:13:20.000000Z  77  1  connection  opened",
        'kraken-0  2  2023-11-14T22:13:20.000001Z  77  2  data  {"p":"1.5"}',
        "kraken-0  3  2023-11-14T22:13:20.000002Z  77  3  data  base64:/wA=",
        "kraken-0  4  2023-11-14T22:13:20.000003Z  77  4  control  schön\\n\\x1b[31m",
    ]


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (["--from", "10"], [10, 11, 12]),
        (["--from", "6", "--limit", "3"], [6, 7, 8]),
        (["--kind", "control"], [4, 8, 12]),
        (["--kind", "data", "--from", "7", "--limit", "2"], [7, 10]),
        (["--from", "99"], []),
        (["--limit", "0"], []),
    ],
)
def test_cat_takes_what_is_asked_for(
    directory: Path, capsys: pytest.CaptureFixture[str], options: list[str], positions: list[int]
) -> None:
    assert [frame["position"] for frame in objects(capsys, directory, *options)] == positions


def test_cat_begins_with_what_was_not_removed(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal.open(directory, exchange="kraken", shard="kraken-0", now=NOW)
    journal.remove_through(8)
    assert [frame["position"] for frame in objects(capsys, directory)] == [9, 10, 11, 12]
    journal.close()


def test_cat_prints_what_is_before_damage_and_then_says_so(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = segment_path(directory, 5)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert cli.run(["journal", "cat", str(directory)]) == 2
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 4
    assert f"{path.name} is damaged at byte" in printed.err
