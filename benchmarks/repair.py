"""How long a hole lasts: venues that lose frames and cut connections, and the flow as users start it."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from connectors.journal_reader import JournalReader
from connectors.venues import VENUES
from dataflows.chain import chain
from dataflows.steps.batch import batch_of
from schemas import Gap

SECONDS = 60.0
SEED = 11
FAULTS = "drop:0.01,reorder:0.01,duplicate:0.01,cut:0.02"


def measure() -> dict[str, float]:
    """Holes found in a minute of three venues, how they ended, and how long they lasted."""
    with tempfile.TemporaryDirectory() as folder:
        run_flow(Path(folder))
        gaps = [gap for venue in VENUES for gap in gaps_of(Path(folder) / "simulated" / "journal", venue)]
    lasted = sorted((gap.ended - gap.found) / 1e6 for gap in gaps if gap.status == "repaired" and gap.ended)
    return {
        "holes_found": sum(gap.status == "open" for gap in gaps),
        "holes_repaired": len(lasted),
        "holes_lost": sum(gap.status == "lost" for gap in gaps),
        "hole_to_repaired_p50_s": lasted[len(lasted) // 2],
        "hole_to_repaired_p95_s": lasted[len(lasted) * 95 // 100],
    }


def run_flow(folder: Path) -> None:
    """The flow as a user starts it; the last seconds without an end give open holes time to close."""
    variables = {
        "TAPE_MODE": "simulated",
        "TAPE_DATA_DIR": str(folder),
        "TAPE_SIMULATOR__FAULTS": FAULTS,
        "TAPE_SIMULATOR__SEED": str(SEED),
        "TAPE_METRICS__PORT": "0",
    }
    command = [sys.executable, "-m", "bytewax.run", "dataflows.crypto"]
    with subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.DEVNULL) as flow:
        time.sleep(SECONDS)
        flow.send_signal(signal.SIGTERM)


def gaps_of(journals: Path, venue: str) -> list[Gap]:
    """What the steps make of the journal of a venue's shard: the rows that the flow made."""
    shard = f"{venue}-0"
    reader = JournalReader(journals / shard, exchange=venue, shard=shard)
    steps = chain(VENUES)
    decode, detect = steps.decode(shard, None), steps.detect_gaps(shard, None)
    records = []
    while frames := reader.read(1_000):
        records += detect.step(decode.step(batch_of(frames))).records
    reader.close()
    return [record for record in records if isinstance(record, Gap)]


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:36}{figure:>10.3g}")
