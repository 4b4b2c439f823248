"""A lake as the flow's own sink fills it, and what its tables must hold."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec import Struct
from pyiceberg.catalog import Catalog
from structlog.testing import capture_logs

from connectors.catalog import open_catalog
from connectors.publishing import LakeTable, Pending
from connectors.slots import open_store, read
from connectors.staging import DAY, stage
from schemas.iceberg import to_arrow
from tests.campaigns.lake_driver import START, Driver, Job, check

MEMORY = Path("/dev/shm")

SHARDS = ("binance-0", "kraken-0")
# The day after the one in which the driver's rows begin to end is over, too.
LATER = (START // DAY + 3) * DAY


class Filled:
    """A store in which two shards write."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root, seed
        self.directory = root / "simulated"
        open_store(self.directory, "simulated", SHARDS)
        self.frames = 0

    @property
    def catalog(self) -> Catalog:
        """As a process of its own would open it."""
        return open_catalog(self.directory)

    def job(self, frames: int, **changes: Any) -> Job:
        self.frames = frames
        return Job(str(self.directory), SHARDS, frames, self.seed, **{"epoch_frames": 60, **changes})

    def drive(self, frames: int, **changes: Any) -> None:
        """Have the flow write up to that frame, and end."""
        driver = Driver(self.job(frames, **changes))
        driver.start()
        while any(position < frames for position in driver.positions.values()):
            driver.epoch(frames)
            settled(driver)
        driver.close()

    def put(self, record_type: type[Struct], records: list[Any], last: int, shard: str = SHARDS[0]) -> None:
        """Publish rows of frames up to that position, as the flow does."""
        store = read(self.directory)
        assert store is not None
        table = LakeTable(self.catalog, record_type, store, "flow")
        table.take_over(SHARDS)
        assert table.form is not None
        files = stage(table.form, record_type, shard, pa.Table.from_batches([to_arrow(record_type, records)]))
        table.commit({shard: [Pending(last, (), tuple(staged for staged, _ in files))]})

    def wrong(self) -> list[str]:
        """What is wrong with the tables, row by row."""
        return check(self.job(self.frames), SHARDS)


def settled(driver: Driver) -> None:
    """Wait until everything is published, so that each epoch is a commit."""
    until(lambda: not any(driver.lake.courier._waiting.values()))


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


class Beside:
    """A flow that writes in a thread of its own until told to end."""

    def __init__(self, filled: Filled, frames: int, **changes: Any) -> None:
        self.driver = Driver(filled.job(frames, **changes))
        self.failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.driver.start()
            self.driver.run()
            self.driver.close()
        except BaseException as error:  # noqa: BLE001  # raised where the test waits
            self.failure = error

    def __enter__(self) -> "Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.failure is not None:
            raise self.failure

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()


@pytest.fixture
def filled(tmp_path: Path, seed: int) -> Iterator[Filled]:
    with ExitStack() as stack:
        stack.enter_context(capture_logs())
        # What a killed process wrote stays, synced or not: a disk would only make every epoch slower.
        memory = MEMORY.is_dir() and stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY))
        yield Filled(Path(memory or tmp_path), seed)


@pytest.fixture
def beside() -> type[Beside]:
    return Beside


@pytest.fixture
def later() -> int:
    """When all days that the driver writes to are over."""
    return LATER
