"""Drives the lake's sink as the engine does, but with rows that are a function of their position alone.

An epoch is durable when the state file of its shard is replaced. Everything is cut at random, so that no two
starts cut alike.
"""

import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import structlog
from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.catalog import open_catalog
from connectors.durable import Durable
from connectors.lake import Lake, LakePartition
from connectors.slots import read
from connectors.source import Pulse
from dataflows.steps.batch import Batch
from schemas import DeadLetter, Frame, Gap, Trade
from schemas.iceberg import TABLES, to_arrow

START = 1_700_006_395_000_000  # five seconds before a day ends
PATIENCE_SECONDS = 60.0


class Job(Struct, frozen=True):
    """What one process does."""

    directory: str  # of the store
    own: tuple[str, ...]
    frames: int  # of each shard, in all
    seed: int = 0
    epoch_frames: int = 60
    epoch_seconds: float = 0.0
    commit_seconds: float = 0.0
    catalog: str = ""
    warehouse: str = ""
    access: dict[str, str] = {}
    stop_at: int = 0  # end there, without closing, as a zombie does
    close: bool = True

    def open(self) -> Catalog:
        """The catalog of the lake."""
        return open_catalog(Path(self.directory), self.catalog, self.warehouse, **self.access)


def rows_of(shard: str, position: int) -> Iterator[Any]:
    """What the frame at a position becomes."""
    exchange = shard.rpartition("-")[0]
    received = START + position * 10_000
    symbol = ("BTC-USDT", "ETH-USDT", "SOL-USDT")[position % 3]
    for index in range(position * 7 % 4):
        number = position * 10 + index
        yield Trade(
            message_id=f"{exchange}:spot:{symbol}:0:{shard}-{number}",
            trade_id=f"{shard}-{number}",
            symbol=symbol,
            exchange=exchange,
            asset_class="crypto",
            timestamp=received - number % 2_000,
            price=f"{number}.123456789012345678",
            quantity="0.5",
            currency="USDT",
            side="BUY" if index else "SELL",
            trade_conditions=("a", "b")[:index],
            source_sequence=number,
            ingestion_timestamp=received,
            platform_sequence=position,
            vendor_data=f'{{"event_time":"{received}"}}',
            shard=shard,
        )
    if position % 17 == 0:
        yield DeadLetter(
            f"{exchange}:{shard}:{position}:0", exchange, "decode", "malformed", "not JSON", None, shard,
            position, 1, position, 0, received, b"\xff\x00",
        )  # fmt: skip
    if position % 97 == 0:
        yield Gap(
            f"{shard}-{position}:open", f"{shard}-{position}", exchange, "crypto", "spot", symbol, 0, 1, 2,
            "open", "skipped", received, None, shard, position,
        )  # fmt: skip


def frame_at(shard: str, position: int) -> Frame:
    """The frame at a position."""
    exchange = shard.rpartition("-")[0]
    payload = b"%d" % position * (position % 5)
    return Frame(exchange, shard, position, 1, position, START + position * 10_000, "data", payload)


def batch_at(shard: str, first: int, last: int) -> Batch:
    """The frames of a range and what they become."""
    frames = [frame_at(shard, position) for position in range(first, last + 1)]
    records = [row for frame in frames for row in rows_of(shard, frame.position)]
    return Batch(shard, first, last, frames, records, {"frames": len(frames)})


def expected(record_type: type[Struct], shards: tuple[str, ...], frames: int) -> pa.Table:
    """Every row of a table, once."""
    rows = [
        row
        for shard in shards
        for position in range(1, frames + 1)
        for row in ([frame_at(shard, position)] if record_type is Frame else rows_of(shard, position))
        if type(row) is record_type
    ]
    return pa.Table.from_batches([to_arrow(record_type, rows)])


def ordered(record_type: type[Struct], rows: pa.Table) -> pa.Table:
    """Rows in one order, whatever files they are from."""
    key = "message_id" if "message_id" in rows.schema.names else TABLES[record_type].position
    return rows.sort_by([("shard", "ascending"), (key, "ascending")]).combine_chunks()


class Driver:
    """One process: its sink, and its shards' journals that are read to the end."""

    def __init__(self, job: Job) -> None:
        self.job, self.directory = job, Path(job.directory)
        store = read(self.directory)
        assert store is not None
        self.slots = {slot.shard: slot for slot in store.slots}
        self.random = Random(job.seed)
        self.stop = threading.Event()
        self.durable = Durable()
        self.lake = Lake(
            job.open,
            store,
            self.directory,
            job.own,
            durable=self.durable,
            stop=self.stop,
            commit_seconds=job.commit_seconds,
            logger=structlog.get_logger(),
        )
        self.positions: dict[str, int] = {}
        self.parts: dict[str, LakePartition] = {}

    def start(self) -> None:
        self.lake.start()
        self.lake.courier.has_begun(wait=True)
        for shard in self.job.own:
            self.positions[shard], state = self.load(shard)
            if state is not None:
                self.build(shard, state)

    def build(self, shard: str, state: Any) -> None:
        self.parts[shard] = self.lake.build_part("flow.lake", self.slots[shard].partition, state)

    def load(self, shard: str) -> tuple[int, Any]:
        path = self.directory / f"state-{shard}"
        return pickle.loads(path.read_bytes()) if path.exists() else (0, None)

    def save(self, shard: str, state: Any) -> None:
        path = self.directory / f"state-{shard}"
        path.with_suffix(".new").write_bytes(pickle.dumps((self.positions[shard], state)))
        path.with_suffix(".new").replace(path)

    def epoch(self, limit: int) -> None:
        """One epoch of every shard; the snapshots become durable, and then everybody is told."""
        for shard in self.job.own:
            if shard not in self.parts:
                self.build(shard, None)
            end = min(limit, self.positions[shard] + self.random.randint(1, self.job.epoch_frames))
            while self.positions[shard] < end:
                first = self.positions[shard] + 1
                last = min(end, first + self.random.randint(0, 40))
                self.parts[shard].write_batch([batch_at(shard, first, last)])
                self.positions[shard] = last
                if self.random.random() < 0.5:
                    self.parts[shard].write_batch([Pulse(shard)])
        for shard in self.job.own:
            self.durable.snapshot(shard, self.positions[shard])
            state = self.parts[shard].snapshot()
            self.save(shard, state)
        for shard in self.job.own:
            self.durable.reached(shard)

    def run(self) -> None:
        limit = self.job.stop_at or self.job.frames
        while any(position < limit for position in self.positions.values()):
            self.epoch(limit)
            time.sleep(self.job.epoch_seconds)

    def close(self) -> None:
        assert self.lake.close(PATIENCE_SECONDS)


def drive(job: Job) -> None:
    """Run until everything is published."""
    driver = Driver(job)
    driver.start()
    driver.run()
    driver.close()


def in_turns(drivers: list[Driver]) -> None:
    """Run writers of one shard each side by side, an epoch of each after the other, to the end."""
    for driver in drivers:
        driver.start()
    while any(driver.positions[driver.job.own[0]] < driver.job.frames for driver in drivers):
        for driver in drivers:
            driver.epoch(driver.job.frames)
    for driver in drivers:
        driver.close()


def check(job: Job, shards: tuple[str, ...]) -> list[str]:
    """What is wrong with the tables, compared row by row; and no tail may be left."""
    catalog = job.open()
    problems = []
    for record_type in (Frame, Trade, DeadLetter, Gap):
        name = TABLES[record_type].name
        found = ordered(record_type, catalog.load_table(name).scan().to_arrow())
        wanted = ordered(record_type, expected(record_type, shards, job.frames))
        if not found.select(wanted.schema.names).equals(wanted):
            problems.append(f"{name}: {found.num_rows} rows for {wanted.num_rows}")
    left = [str(path) for path in Path(job.directory).glob("tail/*/*/*")]
    return problems + left


if __name__ == "__main__":
    drive(msgspec.json.decode(os.environ["JOB"], type=Job))
