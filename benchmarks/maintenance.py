"""Whether a table is as quick and as small after a day of commits as after its first hour.

The day is simulated: an hour has 120 commits instead of 720, of rows whose times go on by thirty seconds, to
the table of frames of one shard. Maintenance runs where it would: it expires every 24 commits, as it finds
them every two minutes, and compacts each hour when it is over. So a table has as many snapshots, manifests
and small files as in a real day, but for the small files of the hour that goes on, which are a sixth. Readers
are taken to be quick: snapshots go at once. Costs are CPU time of the process.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from connectors.catalog import open_catalog
from connectors.publishing import LakeTable, Pending
from connectors.slots import open_store
from connectors.staging import DAY, stage
from operate.maintenance import compaction, expiry
from operate.maintenance.compaction import HOUR, SETTLED
from operate.maintenance.contents import stored
from operate.maintenance.jobs import Policy
from operate.maintenance.status import state
from schemas import Frame
from schemas.iceberg import TABLES, to_arrow

SHARD = "binance-0"
HOURS = 24
COMMITS_AN_HOUR = 120
EXPIRE_COMMITS = 24
ROWS = 20  # of a commit: what is measured is the commit
START = 19_000 * DAY
NAME = TABLES[Frame].name
# Commits and queries whose median counts.
SAMPLES, QUERIES = 60, 9


class Day:
    """A table of frames, and what its commits cost."""

    def __init__(self, directory: Path) -> None:
        store = open_store(directory, "simulated", (SHARD,))
        self.catalog = open_catalog(directory)
        self.table = LakeTable(self.catalog, Frame, store, "bench")
        self.table.take_over((SHARD,))
        self.commits = 0
        self.spent: list[float] = []

    @property
    def now(self) -> int:
        return START + self.commits * (HOUR // COMMITS_AN_HOUR)

    def hour(self) -> None:
        """An hour of commits, and what is done about them."""
        for _ in range(COMMITS_AN_HOUR):
            self.commit()
            if self.commits % EXPIRE_COMMITS == 0:
                self.maintain(expiry, Policy(time.time_ns() // 1_000, reader_seconds=0.0))
        self.maintain(compaction, Policy(self.now + SETTLED))

    def commit(self) -> None:
        first = self.commits * ROWS + 1
        frames = [
            Frame("binance", SHARD, first + n, 1, first + n, self.now + n, "data", b'{"e":"trade"}')
            for n in range(ROWS)
        ]
        assert self.table.form is not None
        [(staged, file)] = stage(
            self.table.form, Frame, SHARD, pa.Table.from_batches([to_arrow(Frame, frames)])
        )
        before = time.process_time()
        self.table.keep(staged, file)
        self.table.commit({SHARD: [Pending(first + ROWS - 1, (), (staged,))]})
        self.spent.append(time.process_time() - before)
        self.commits += 1

    def maintain(self, task: Any, policy: Policy) -> None:
        for job in task.jobs(self.catalog, Frame, policy):
            job.do()

    def query(self) -> float:
        """CPU seconds of reading the newest hour."""
        since = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime((self.now - HOUR) // 1_000_000))
        before = time.process_time()
        rows = self.catalog.load_table(NAME).scan(row_filter=f"received >= '{since}'").to_arrow()
        assert rows.num_rows == COMMITS_AN_HOUR * ROWS
        return time.process_time() - before

    def figures(self) -> dict[str, float]:
        """What the table costs now."""
        files = list(stored(self.catalog.load_table(NAME)))
        return {
            "commit": median(self.spent[-SAMPLES:]),
            "query": median(self.query() for _ in range(QUERIES)),
            "metadata": sum(one.bytes for one in files if not one.path.endswith(".parquet")),
            "disk": sum(one.bytes for one in files) / (self.commits * ROWS),
        }


def measure(hours: int = HOURS) -> dict[str, float]:
    """The last hour of a day by its first."""
    with tempfile.TemporaryDirectory() as directory:
        day = Day(Path(directory))
        day.hour()
        first = day.figures()
        for _ in range(hours - 1):
            day.hour()
        last = day.figures()
        status = state(day.catalog, Frame, Policy(day.now + SETTLED, reader_seconds=0.0))
    assert status["well"] == "yes", status
    assert status["rows"] == day.commits * ROWS
    return {
        "commit_cpu_day_vs_hour": last["commit"] / first["commit"],
        "query_cpu_day_vs_hour": last["query"] / first["query"],
        "metadata_bytes_day_vs_hour": last["metadata"] / first["metadata"],
        "disk_bytes_a_row_day_vs_hour": last["disk"] / first["disk"],
        "files_after_day": float(str(status["files"])),
        "snapshots_after_day": float(str(status["snapshots"])),
    }


if __name__ == "__main__":
    for figure, value in measure().items():
        print(f"{figure:40} {value:12,.2f}")
