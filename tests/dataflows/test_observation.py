"""What two processes of a cluster say of themselves, as a scraper and an orchestrator hear it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from connectors.durable import Durable
from connectors.journal_reader import JournalReader
from connectors.settings import MetricsSettings
from connectors.slots import Slot
from connectors.source import PartitionStatus
from dataflows.metrics import METRICS
from dataflows.observation import Observation
from tests.campaigns.rounds import free_addresses
from tests.dataflows.test_metrics import decoded

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 100
ENOUGH_MESSAGES = 100
FAULTS = "drop:0.01,duplicate:0.02,reorder:0.02,malformed:0.02,cut:0.1,shutdown:0.3,id_reset:0.05"
# What stays at nought where nothing is wrong, or is over too soon to be scraped; each has its own test.
AT_REST = {
    "tape_late_trades_total",  # repairs that took long
    "tape_stale_windows_total",  # a trade an hour late
    "tape_queue_frames",
    "tape_queue_bytes",
    "tape_brake",
    "tape_memory_slowed",
    "tape_flow_lag_frames",
    "tape_epoch_stall_seconds",
    "tape_epoch_pauses_total",
    "tape_flow_waits_for_disk",
}
# What moves when a venue is gone.
IN_TROUBLE = {"tape_reconnect_delay_seconds", "tape_connect_failures"}
# What is there only where Kafka or Redis is configured.
OF_OTHERS = {name for name in METRICS if name.startswith(("tape_kafka_", "tape_redis_"))}


def added(many: list[dict[str, float]]) -> dict[str, float]:
    """The sum of each key's values."""
    return {key: sum(one.get(key, 0) for one in many) for each in many for key in each}


class Process:
    """One process of a cluster, and where it answers."""

    def __init__(self, directory: Path, number: int, addresses: tuple[str, ...]) -> None:
        self.log = directory / f"{number}.log"
        self.moved: set[str] = set()  # metrics that were seen above nought
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "bytewax.run", "dataflows.crypto"),
                    *("-i", str(number), "-a", ";".join(addresses)),
                ],
                cwd=ROOT,
                env={
                    **os.environ,
                    "TAPE_DATA_DIR": str(directory / "data"),
                    "TAPE_METRICS__PORT": "0",
                    "TAPE_SIMULATOR__FAULTS": FAULTS,
                    "BYTEWAX_SNAPSHOT_INTERVAL": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def address(self) -> str | None:
        said = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return next((line["address"] for line in said if line["event"].startswith("metrics at")), None)

    def get(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection(urlsplit(self.address() or "").netloc, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def sums(self, name: str, label: str) -> dict[str, float]:
        """The sum of a metric's samples, by a label."""
        samples = [sample for family in self.families for sample in family.samples if sample.name == name]
        return added([{sample.labels[label]: sample.value} for sample in samples])

    def scrape(self) -> None:
        """Everything at one moment."""
        self.families: list[Any] = list(text_string_to_metric_families(self.get("/metrics")[1]))
        self.moved |= {
            self.metric(sample.name) for each in self.families for sample in each.samples if sample.value
        }

    def metric(self, name: str) -> str:
        """Which of ours a sample is of."""
        return name.removesuffix("_count").removesuffix("_sum").removesuffix("_bucket")

    def simulator(self) -> int:
        """The child that plays the venues."""
        number = self.process.pid
        [child] = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        return int(child)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[Process]]:
    addresses = free_addresses(2)
    with ExitStack() as stack:
        found = []
        for number in range(2):
            found.append(Process(tmp_path, number, addresses))
            stack.callback(found[-1].process.wait)
            stack.callback(found[-1].process.kill)
        yield found


def until(cluster: list[Process], happened: Any, *, wanting: Any = lambda: "") -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        for one in cluster:
            assert one.process.poll() is None, one.log.read_text()
        assert time.monotonic() < deadline, (wanting(), [one.log.read_text() for one in cluster])
        time.sleep(0.1)


def moved(cluster: list[Process]) -> set[str]:
    """What has moved in one of them by now."""
    for one in cluster:
        one.scrape()
    return cluster[0].moved | cluster[1].moved


@pytest.mark.timeout(300)  # two processes and their venues, on a machine that may be busy
@pytest.mark.long
def test_two_processes_account_for_every_message(cluster: list[Process], tmp_path: Path) -> None:
    until(cluster, lambda: all(one.address() for one in cluster))
    assert [one.get("/healthz")[0] for one in cluster] == [200, 200]
    until(cluster, lambda: all(one.get("/readyz")[0] == 200 for one in cluster))
    venues = ("binance", "kraken", "coinbase")

    def enough() -> bool:
        for one in cluster:
            one.scrape()
        by_venue = added([one.sums("tape_messages_total", "venue") for one in cluster])
        by_outcome = added([one.sums("tape_messages_total", "outcome") for one in cluster])
        return min(by_venue[venue] for venue in venues) >= ENOUGH_MESSAGES and 0 not in by_outcome.values()

    until(cluster, enough)
    for venue in venues:
        [told] = [one for one in cluster if one.sums("tape_frames_total", "venue").get(venue)]
        frames = int(told.sums("tape_frames_total", "venue")[venue])
        directory = tmp_path / "data" / "simulated" / "journal" / f"{venue}-0"
        reader = JournalReader(directory, exchange=venue, shard=f"{venue}-0")
        read = reader.read(frames)
        reader.close()
        assert len(read) == frames
        assert told.sums("tape_messages_total", "venue")[venue] == decoded(read)
        assert told.sums("tape_journal_position", "venue")[venue] >= frames
    usual = set(METRICS) - AT_REST - IN_TROUBLE - OF_OTHERS
    until(cluster, lambda: moved(cluster) >= usual, wanting=lambda: usual - moved(cluster))
    os.kill(cluster[0].simulator(), signal.SIGKILL)
    until(cluster, lambda: moved(cluster) >= IN_TROUBLE)
    until(cluster, lambda: cluster[0].get("/readyz")[0] == 503)
    assert "no connection" in cluster[0].get("/readyz")[1]
    assert cluster[0].get("/healthz")[0] == 200
    # The other process has its own venues, whose faults may cut a connection at any moment; it comes back.
    until(cluster, lambda: cluster[1].get("/readyz")[0] == 200)
    assert cluster[0].get("/readyz")[0] == 503
    for one in cluster:
        one.process.send_signal(signal.SIGTERM)
    assert [one.process.wait(PATIENCE_SECONDS) for one in cluster] == [0, 0]


def test_of_a_shard_that_nobody_captures_nothing_is_expected() -> None:
    class Source:
        def status(self) -> list[PartitionStatus]:
            return [PartitionStatus("kraken-0", 5, 5, replayed=0), PartitionStatus("retired-0", 0, 0)]

    found = Observation([Slot(0, "kraken-0", "k0")], Durable(), {"kraken-0"})
    assert found.unready() == ["the flow has not begun"]
    found.of_source(Source())  # type: ignore[arg-type]
    assert found.unready() == []


def test_holes_are_noted_and_told() -> None:
    told: list[Any] = []
    found = Observation([], Durable(), ())
    hole = ("kraken", "BTC-USD", 0, 5, 9, 1, 1)
    found.before(lambda *given: told.append(given))("kraken-0", [hole], 7, 1)
    assert told == [("kraken-0", [hole], 7, 1)]


def test_each_process_has_its_own_port() -> None:
    logged: list[str] = []

    class Log:
        def info(self, event: str, **_: Any) -> None:
            logged.append(event)

    base = int(free_addresses(1)[0].rpartition(":")[2])
    Observation([], Durable(), ()).serve(MetricsSettings(port=base - 1), 1, Log())
    assert logged == [f"metrics at http://127.0.0.1:{base}/metrics"]
