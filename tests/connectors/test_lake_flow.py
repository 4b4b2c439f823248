"""The lake behind the real engine, over recorded journals with every kind of trouble in them."""

import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
import structlog
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from connectors.catalog import open_catalog
from connectors.lake import Lake
from connectors.slots import read
from connectors.source import JournalSource, Reading
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.crypto import build
from dataflows.steps.batch import batch_of
from schemas import Frame, StaleWindow
from schemas.iceberg import TABLES
from tests.campaigns.recorded import record
from tests.campaigns.running import straight

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "binance-1")
FRAMES = 3_000


def main(directory: Path) -> None:
    """One process of the flow, from its journals into the lake."""
    store = read(directory)
    assert store is not None
    reading = Reading(
        directory=directory, epoch_seconds=0.05, ends=True, epoch_frames_max=300, batch_frames_max=100
    )
    lake = Lake(
        lambda: open_catalog(directory),
        store,
        directory,
        SHARDS,
        durable=reading.durable,
        stop=reading.stop,
        commit_seconds=0.0,
        logger=structlog.get_logger(),
    )
    lake.start()
    cli_main(
        build(JournalSource(store.slots, reading, batch_of), {"lake": lake}, chain(VENUES)),
        epoch_interval=timedelta(seconds=reading.epoch_seconds),
        recovery_config=RecoveryConfig(directory / "recovery"),
    )
    reading.durable.ended()
    assert lake.close(60)


def flow_killed(directory: Path, random: Random | None) -> bool:
    """Run the flow in a process of its own; whether it was killed, soon after it had begun to write."""
    words = directory / "words"
    with words.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.connectors.test_lake_flow", str(directory)], cwd=ROOT, stderr=said
        )
    deadline = time.monotonic() + 60
    while random and process.poll() is None and not list(directory.glob("tail/*/*/*.arrows")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if random:
        time.sleep(random.uniform(0, 0.4))
        if process.poll() is None:
            process.kill()
            return process.wait() == -signal.SIGKILL
    assert process.wait(60) == 0, words.read_text()
    return False


@pytest.mark.parametrize("kills", [0, pytest.param(4, marks=pytest.mark.long)])
def test_the_flow_fills_the_tables_with_what_the_steps_say(tmp_path: Path, kills: int, seed: int) -> None:
    store = record(tmp_path, SHARDS, FRAMES, seed)
    (tmp_path / "recovery").mkdir()
    init_db_dir(tmp_path / "recovery", 2)
    killed = [flow_killed(tmp_path, Random(f"{seed} {number}")) for number in range(kills)]
    assert any(killed) == bool(kills)
    flow_killed(tmp_path, None)
    wanted = straight(tmp_path, store.slots)
    catalog = open_catalog(tmp_path)
    for record_type, listed in TABLES.items():
        found = catalog.load_table(listed.name).scan().to_arrow()
        if record_type is Frame:
            assert Counter(found["shard"].to_pylist()) == dict.fromkeys(SHARDS, FRAMES)
            assert (
                len(set(zip(found["shard"].to_pylist(), found["position"].to_pylist(), strict=True)))
                == 2 * FRAMES
            )
            continue
        names = [
            name for name in record_type.__struct_fields__ if name in ("message_id", "platform_sequence")
        ]
        rows = [
            tuple(row[2][name] for name in names)
            for shard in wanted.values()
            for row in shard
            if row[1] == record_type.__name__
        ]
        assert Counter(zip(*(found[name].to_pylist() for name in names), strict=True)) == Counter(rows)
        assert rows or record_type is StaleWindow  # these journals end before anything is forgotten
    assert not list(tmp_path.glob("tail/*/*/*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
