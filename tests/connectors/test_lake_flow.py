"""The lake behind the real engine, over recorded journals with every kind of trouble in them."""

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from bytewax.recovery import init_db_dir

from connectors.catalog import open_catalog
from schemas import Frame, StaleWindow
from schemas.iceberg import TABLES
from tests.campaigns.recorded import record
from tests.campaigns.running import Job, command, straight

ROOT = Path(__file__).parent.parent.parent
SHARDS = ("binance-0", "binance-1")
FRAMES = 3_000


def flow_killed(directory: Path, random: Random | None) -> bool:
    """Run the flow in a process of its own; whether it was killed, soon after it had begun to write."""
    words = directory / "words"
    with words.open("w") as said:
        job = Job(str(directory), recovery=str(directory / "recovery"), sink="lake")
        process = subprocess.Popen(command(job), cwd=ROOT, stderr=said)
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


@pytest.mark.parametrize("kills", [0, 4])
@pytest.mark.long
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
