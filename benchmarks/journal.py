"""How fast a journal takes frames and gives them back; run alone it prints the figures."""

import tempfile
import time
from pathlib import Path

from connectors.journal import Entry, Journal, JournalReader

BATCH_FRAMES = 100
PAYLOAD_BYTES = 170
FRAMES = 200_000  # less than a segment: what syncing costs is the disk's figure, not ours
ROUNDS = 7  # the best one counts: others share the machine
MICROSECONDS = 1_000_000


def measure() -> dict[str, float]:
    """CPU time, the system's part included, of appending to its cache and of reading from there."""
    batch: list[Entry] = [
        (1_700_000_000 * MICROSECONDS + number, 1, number, "data", b"x" * PAYLOAD_BYTES)
        for number in range(1, BATCH_FRAMES + 1)
    ]
    rounds = [one_round(batch) for _ in range(ROUNDS)]
    return {
        "journal_append_ns_per_frame": min(append for append, _ in rounds) / FRAMES * 1e9,
        "journal_read_frames_per_second": FRAMES / min(read for _, read in rounds),
    }


def one_round(batch: list[Entry]) -> tuple[float, float]:
    """Seconds for writing and for reading all frames."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "binance-0"
        journal = Journal.open(directory, exchange="binance", shard="binance-0", now=0)
        started = time.process_time()
        for _ in range(FRAMES // BATCH_FRAMES):
            journal.append(batch)
        append = time.process_time() - started
        journal.close()

        reader = JournalReader(directory, exchange="binance", shard="binance-0")
        started = time.process_time()
        while reader.read(1_000):
            pass
        read = time.process_time() - started
        reader.close()
        assert reader.position == FRAMES
        return append, read


if __name__ == "__main__":
    for name, figure in measure().items():
        print(f"{name:36}{figure:>14,.0f}")
