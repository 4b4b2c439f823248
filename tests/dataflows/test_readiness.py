"""When a process says that it may be relied on, and what it says when not."""

from dataclasses import replace

import pytest

from connectors.bus import BusStatus
from connectors.capture import CaptureStatus, KeeperStatus, ShardStatus
from connectors.connection import ConnectionStatus
from connectors.intake import IntakeStatus
from connectors.kafka import KafkaStatus
from connectors.source import PartitionStatus
from dataflows.readiness import LAG_FRAMES_MAX, unready

# Open and without a word for hours: a quiet market.
CONNECTION = ConnectionStatus(1, "wss://a", "open", 0, 0, 0, 0)
KEEPER = KeeperStatus((CONNECTION,), 0.0, 0, "", {}, 0)
INTAKE = IntakeStatus(0, 1_000, 0, {}, "", LAG_FRAMES_MAX + 101, 0)
SHARD = ShardStatus("kraken", "kraken-0", ("BTC-USD",), INTAKE, (KEEPER,))
WELL = CaptureStatus(True, "", (SHARD,), {})
CAUGHT_UP = PartitionStatus("kraken-0", 100, 50, replayed=0)

DOWN = replace(SHARD, shard="kraken-1", keepers=(replace(KEEPER, connections=(), last_problem="refused"),))
FULL = replace(SHARD, intake=replace(INTAKE, brakes={"append": "disk full"}, slowed="9 bytes in use"))


@pytest.mark.parametrize(
    "capture", [WELL, None, replace(WELL, shards=(SHARD, DOWN)), replace(WELL, shards=())]
)
def test_what_works_is_ready(capture: CaptureStatus | None) -> None:
    assert unready(capture, [CAUGHT_UP]) == []


@pytest.mark.parametrize(
    ("capture", "partitions", "reasons"),
    [
        (
            replace(WELL, alive=False, failure="KeyError: x"),
            [CAUGHT_UP],
            ["capture has ended: KeyError: x"],
        ),
        (
            WELL,
            [replace(CAUGHT_UP, outage="cannot write /data: full")],
            ["kraken-0: waits for the disk: cannot write /data: full"],
        ),
        (replace(WELL, shards=(DOWN,)), [CAUGHT_UP], ["kraken-1: no connection: refused"]),
        (
            replace(WELL, shards=(FULL,)),
            [CAUGHT_UP],
            ["kraken-0: reading less: 9 bytes in use", "kraken-0: not reading (append): disk full"],
        ),
        (WELL, [], ["the flow has not begun"]),
        (
            WELL,
            [replace(CAUGHT_UP, position=99)],
            [f"kraken-0: catching up, {LAG_FRAMES_MAX + 1:,} frames to go"],
        ),
        (
            None,
            [replace(CAUGHT_UP, replayed=None)],
            ["kraken-0: catching up, 0 frames to go"],
        ),
    ],
)
def test_what_does_not_work_says_why(
    capture: CaptureStatus | None, partitions: list[PartitionStatus], reasons: list[str]
) -> None:
    assert unready(capture, partitions) == reasons


def test_who_cannot_publish_cannot_be_relied_on() -> None:
    def kafka(begun: bool, seconds: float, problem: str) -> KafkaStatus:
        return KafkaStatus(BusStatus(begun, seconds, problem, {}, {}, {}), {})

    assert unready(WELL, [CAUGHT_UP], kafka(True, 0.0, "")) == []
    assert unready(WELL, [CAUGHT_UP], kafka(True, 3.5, "host:1: refused")) == [
        "Kafka takes nothing: host:1: refused"
    ]
    assert unready(WELL, [CAUGHT_UP], kafka(False, 0.0, "")) == ["Kafka takes nothing: not yet asked"]
