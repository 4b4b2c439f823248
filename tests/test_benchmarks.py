"""Figures: what is written, and how two runs are compared."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cluster, figures, latency, memory, slowdown


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


def test_a_figure_is_written_flat_with_what_it_was_taken_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    written = json.loads(figures.write("kill", {"kills": 20, "lost": 0}, seed=7).read_text())
    assert {name: written.pop(name) for name in ("kills", "lost", "seed")} == {
        "kills": 20,
        "lost": 0,
        "seed": 7,
    }
    assert set(written) == {"commit", "machine"}


def test_two_runs_are_compared_by_the_figures_that_both_have(tmp_path: Path) -> None:
    for folder, value in (("old", 200.0), ("new", 300.0)):
        (tmp_path / folder).mkdir()
        figure = {"frames_per_second": value, "machine": "any", f"only_{folder}": 1}
        (tmp_path / folder / "capture.json").write_text(json.dumps(figure))
    done = run("benchmarks.compare", str(tmp_path / "old"), str(tmp_path / "new"))
    assert done.stdout.split() == ["frames_per_second", "200", "300", "1.50x"]
    done = run("benchmarks.compare", str(tmp_path / "gone"), str(tmp_path / "new"))
    assert (done.returncode, done.stderr) == (
        1,
        f"no figures in {tmp_path / 'gone'}: `make bench` writes some\n",
    )


def test_a_benchmark_that_does_not_exist_is_told() -> None:
    done = run("benchmarks", "nonsense")
    assert done.returncode == 1
    assert "there are" in done.stderr


def test_what_a_second_process_gains_is_measured_over_the_same_trades(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ROUNDS", 1)
    monkeypatch.setattr(cluster, "loops", float)  # as on a machine with one core
    measured = cluster.measure(trades=500)
    assert measured["two_loops_speedup"] == 1
    assert measured["two_process_speedup"] == pytest.approx(
        measured["two_process_trades_per_second"] / measured["one_process_trades_per_second"]
    )
    assert "two cores are not free" in capsys.readouterr().out


def test_memory_is_measured_over_trades_that_are_all_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "EARLY_TURNS", 1)
    before, after, _ = memory.run(trades=30_000, settled=15_000)
    assert min(before, after) > 10_000_000


def test_a_frame_is_committed_when_the_first_commit_up_to_it_is_seen() -> None:
    commits = latency.Commits()
    for now, position in ((1.0, 10), (2.0, 10), (3.0, 25)):
        commits.seen(now, position)
    assert [commits.at(position) for position in (1, 10, 11, 25, 26)] == [1.0, 1.0, 3.0, 3.0, float("inf")]


def test_trades_that_are_not_there_are_counted_by_symbol() -> None:
    assert latency.missing(iter([("A", 1), ("A", 4), ("B", 9), ("B", 9)])) == 2


def test_what_maintenance_costs_is_not_measured_without_a_core_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slowdown, "loops", float)  # as on a machine with one core
    assert slowdown.measure() == {"maintenance_loops_speedup": 1}
    assert "not measured" in capsys.readouterr().out
