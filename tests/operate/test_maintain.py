"""`tape maintain`: shows first, does when told to, for ever when told so, and says how well tables are."""

import fcntl
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.catalog import open_catalog
from connectors.children import start_child, stop_child
from connectors.slots import open_store
from operate import maintain
from operate.cli import run
from tests.campaigns.lake_driver import Job, check, drive

SHARDS = ("binance-0",)
FRAMES = 150


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> Job:
    """A simulated store whose days are over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPE_DATA_DIR", str(tmp_path))
    directory = tmp_path / "simulated"
    open_store(directory, "simulated", SHARDS)
    job = Job(str(directory), SHARDS, FRAMES, seed)
    drive(job)
    return job


def head(job: Job) -> str:
    """What the newest state of a table is called."""
    return open_catalog(Path(job.directory)).load_table("silver.trades").metadata_location


def test_nothing_is_done_before_it_was_shown(lake: Job, capsys: pytest.CaptureFixture[str]) -> None:
    before = head(lake)
    assert run(["maintain", "all", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {row["task"] for row in shown} == {"compact"}
    assert head(lake) == before
    assert run(["maintain", "all", "--yes", "--json"]) == 0
    told = capsys.readouterr()
    done = json.loads(told.out)
    assert [{**row, "done": ""} for row in done] == [{**row, "done": ""} for row in shown]
    assert all(row["done"].endswith("rows as before") for row in done)
    assert "compact silver.trades: " in told.err
    assert head(lake) != before
    assert check(lake, SHARDS) == []
    assert run(["maintain", "compact", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_status_says_how_well_each_table_is(
    lake: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["maintain", "status", "--json"]) == 0
    rows = {row["table"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["bronze.frames"]["rows"] == FRAMES
    assert {row["well"] for row in rows.values()} == {"yes"}
    monkeypatch.setattr("operate.maintenance.status.SNAPSHOTS_MAX", 1)
    assert run(["maintain", "status"]) == 1
    assert "snapshots: expire" in capsys.readouterr().out


def test_it_goes_on_for_ever_once_it_is_told_so(lake: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    before, directory = head(lake), Path(lake.directory)
    (directory / "quick.py").write_text(
        "import operate.maintain as m\n"
        "from operate.cli import run\n"
        "m.SECONDS.update(dict.fromkeys(m.SECONDS, 0.2))\n"
        "run(['maintain', 'all', '--schedule', '--yes'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(directory))
    child = start_child(["quick"], cwd=directory)
    deadline = time.monotonic() + 60
    while head(lake) == before:
        assert time.monotonic() < deadline
        assert child.poll() is None
        time.sleep(0.05)
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == min(19, os.nice(0) + maintain.NICE)
    assert stop_child(child, 10) == -signal.SIGTERM
    assert check(lake, SHARDS) == []


def test_one_process_of_a_host_at_a_time(lake: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, found = [], maintain.found

    def locked_out(*arguments: Any) -> Any:
        with (Path(lake.directory) / maintain.LOCK).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        looked.append(arguments)
        return found(*arguments)

    monkeypatch.setattr(maintain, "found", locked_out)
    assert run(["maintain", "compact", "--yes"]) == 0
    assert looked


def test_what_is_asked_for_amiss_is_refused(lake: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["maintain", "all", "--schedule"]) == 2
    assert "say --yes too" in capsys.readouterr().err
    Path("tape.toml").write_text('[lake]\nretention_days = { "silver.trade" = 3 }\n')
    assert run(["maintain", "retain"]) == 2
    assert "did you mean silver.trades?" in capsys.readouterr().err
    Path("tape.toml").unlink()
    assert run(["maintain", "compact", "--live"]) == 2
    assert "holds no store" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["maintain", "status"], ["maintain", "all"], ["reset"], ["recover"]])
def test_a_catalog_that_is_away_is_said_to_be_away(
    lake: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    monkeypatch.setenv("TAPE_LAKE__CATALOG", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("TAPE_LAKE__WAREHOUSE", f"{lake.directory}/lake")
    capsys.readouterr()
    assert run(verb) == 2
    assert "error: the lake cannot be reached: " in capsys.readouterr().err
