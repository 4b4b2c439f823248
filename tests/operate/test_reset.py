"""`tape reset`: everything of one store goes, nothing of another, wherever it was cut short before."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from connectors import failpoints
from connectors.catalog import open_catalog
from connectors.failpoints import Failed
from connectors.slots import Store, held, open_store, read
from operate import cli
from operate.cli import Session
from operate.reset import Reset
from schemas import Trade
from schemas.iceberg import TABLES
from tests.campaigns.lake_driver import Job, drive, expected
from tests.services.lakes import KINDS, Place, Servers

SHARDS = ("binance-0", "kraken-0")
FRAMES = 60
# Every catalog and every kind of store once.
PLACES = [kind for kind in KINDS if kind != "postgresql"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a simulated store that has been used, and beside it a copy that stays."""
    made = tmp_path_factory.mktemp("used") / "data"
    with capture_logs():
        fill(made / "simulated")
    (made / "mode").write_text("simulated\n")
    shutil.copytree(made, made.with_name("copy"))
    return made


@pytest.fixture
def data(used: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory as it was: tables name their files by absolute paths."""
    monkeypatch.setenv("TAPE_DATA_DIR", str(used))
    shutil.rmtree(used, ignore_errors=True)
    shutil.copytree(used.with_name("copy"), used)
    return used


def fill(directory: Path, place: Place | None = None) -> Store:
    """A store with rows in its tables, and all that lies beside them."""
    store = open_store(directory, "simulated", SHARDS)
    where = place or Place()
    drive(
        Job(
            str(directory),
            SHARDS,
            FRAMES,
            catalog=where.catalog,
            warehouse=where.warehouse,
            access=where.access,
        )
    )
    for name in (
        "journal/binance-0/00000000000000000001.journal",
        "recovery/store",
        "tail/silver.trades/x/y",
    ):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("something")
    return store


def reset(*words: str) -> int:
    return cli.run(["reset", *words])


def test_it_shows_what_is_there_and_removes_it_only_when_told(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reset("--json") == 0
    out, err = capsys.readouterr()
    rows = {row["what"]: row for row in json.loads(out)}
    assert rows["table silver.trades"]["rows"] == expected(Trade, SHARDS, FRAMES).num_rows
    assert rows["table bronze.frames"]["rows"] == 2 * FRAMES
    assert rows["journal"]["bytes"] >= len("something")
    assert rows["mode"]["place"] == str(data / "mode")
    whole = sum(path.stat().st_size for path in data.rglob("*") if path.is_file() and path.suffix != ".db")
    # The catalog's own file may grow by being looked at, and locks name their holder.
    assert sum(row["bytes"] for name, row in rows.items() if name != "catalog.db") == pytest.approx(
        whole, abs=300
    )
    assert "`tape reset --yes` does it" in err
    assert read(data / "simulated") is not None

    assert reset("--yes") == 0
    assert "nothing is left of the simulated store" in capsys.readouterr().err
    assert list(data.iterdir()) == []
    assert reset("--yes") == 0


def test_a_live_store_goes_only_when_it_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "simulated").rename(data / "live")
    (data / "mode").write_text("live\n")
    assert reset("--yes") == 0
    assert (data / "live" / "catalog.db").exists()
    assert (data / "mode").read_text() == "live\n"
    assert reset("--live") == 0
    assert "`tape reset --live --yes` does it" in capsys.readouterr().err
    assert (data / "live" / "store.json").exists()
    assert reset("--live", "--yes") == 0
    assert list(data.iterdir()) == []


def test_where_there_is_nothing_nothing_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPE_DATA_DIR", str(tmp_path / "none"))
    assert cli.run(["reset"]) == 0
    assert capsys.readouterr().err == "there is no simulated store\n"


def test_it_refuses_while_somebody_writes_and_names_him(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(data / "simulated", ["binance-0"], 0):
        assert reset("--yes") == 2
    assert f"process {os.getpid()} on " in capsys.readouterr().err
    assert (data / "simulated" / "lake").exists()


@pytest.mark.parametrize(
    "gone", ["store.json", "catalog.db", "lake", "lake/silver/trades/metadata", "journal"]
)
def test_it_works_when_half_is_gone(data: Path, gone: str) -> None:
    path = data / "simulated" / gone
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    assert reset() == 0
    assert reset("--yes") == 0
    assert list(data.iterdir()) == []


def test_the_files_of_a_store_that_was_copied_stay(data: Path, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(data, tmp_path / "copy")
    monkeypatch.setenv("TAPE_DATA_DIR", str(tmp_path / "copy"))
    assert reset("--yes") == 0
    assert list((tmp_path / "copy").iterdir()) == []
    found = open_catalog(data / "simulated").load_table("silver.trades").scan().to_arrow()
    assert found.num_rows == expected(Trade, SHARDS, FRAMES).num_rows


@pytest.mark.long
@pytest.mark.parametrize("kind", PLACES)
def test_cut_short_it_goes_on_and_another_store_in_the_same_place_is_left_alone(
    kind: str, lake_servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = lake_servers.place(kind)
    if kind == "sqlite":  # outside of the store, as the others are
        place = Place(f"sqlite:///{tmp_path}/elsewhere.db", f"file://{tmp_path}/warehouse")
    fill(tmp_path / "data" / "simulated", place)
    settings = Session().settings()
    lake = {"catalog": place.catalog, "warehouse": place.warehouse, **as_settings(place.access)}
    settings = settings.model_copy(
        update={"data_dir": tmp_path / "data", "lake": type(settings.lake).model_validate(lake)}
    )
    tables = [row for row in Reset(settings, "simulated").rows() if str(row["what"]).startswith("table ")]
    assert len(tables) == len(TABLES)

    monkeypatch.setattr(failpoints, "_armed", failpoints.parse("reset.dropped:error:2"))
    with pytest.raises(Failed):
        Reset(settings, "simulated").remove()
    left = [row for row in Reset(settings, "simulated").rows() if str(row["what"]).startswith("table ")]
    # This REST catalog removes a table's files with the table.
    assert len(left) == len(TABLES) - (2 if kind == "rest" else 1)
    monkeypatch.setattr(failpoints, "_armed", {})
    Reset(settings, "simulated").remove()
    assert list(Reset(settings, "simulated").rows()) == []
    catalog = place.open(tmp_path / "look")
    assert not any(catalog.table_exists(table.name) for table in TABLES.values())

    # Now another store has the place; ours is new and has nothing there.
    fill(tmp_path / "other", place)
    open_store(tmp_path / "data" / "simulated", "simulated", SHARDS)
    ours = Reset(settings, "simulated")
    assert len(list(ours.foreign())) == len(TABLES)
    ours.remove()
    assert list(Reset(settings, "simulated").rows()) == []
    found = catalog.load_table("silver.trades").scan().to_arrow()
    assert found.num_rows == expected(Trade, SHARDS, FRAMES).num_rows


def as_settings(access: dict[str, str]) -> dict[str, str]:
    """How the settings name what `open_catalog` takes."""
    return {
        "catalog_secret" if name == "secret" else f"store_{name}": value for name, value in access.items()
    }
