"""May this process be relied on? A function of what runs, with a reason for each no."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from connectors.capture import CaptureStatus
from connectors.source import PartitionStatus

if TYPE_CHECKING:
    from connectors.kafka import KafkaStatus

# A second of a busy venue: whoever reads what the flow wrote does not see that it is behind.
LAG_FRAMES_MAX = 10_000


def unready(
    capture: CaptureStatus | None,
    partitions: Sequence[PartitionStatus],
    kafka: "KafkaStatus | None" = None,
) -> list[str]:
    """Why not; nothing where all is well."""
    written = {} if capture is None else {one.shard: one.intake.next_position - 1 for one in capture.shards}
    found = [] if capture is None else list(capture_problems(capture))
    if not partitions:
        found.append("the flow has not begun")
    found += [f"{one.shard}: waits for the disk: {one.outage}" for one in partitions if one.outage]
    for partition in partitions:
        # Where another process captures the shard we only know whether its end was ever reached.
        lag = written.get(partition.shard, partition.position) - partition.position
        if partition.replayed is None or lag > LAG_FRAMES_MAX:
            found.append(f"{partition.shard}: catching up, {lag:,} frames to go")
    if kafka is not None and (not kafka.bus.begun or kafka.bus.outage_seconds):
        found.append(f"Kafka takes nothing: {kafka.bus.problem or 'not yet asked'}")
    return found


def capture_problems(capture: CaptureStatus) -> Iterator[str]:
    """What is wrong before the journal. A quiet market is not: its connection is open, or else was dead."""
    if not capture.alive:
        yield f"capture has ended: {capture.failure or 'stopped'}"
        return
    keepers = [(shard.shard, keeper) for shard in capture.shards for keeper in shard.keepers]
    states = {one.state for _, keeper in keepers for one in keeper.connections}
    if keepers and not states & {"open", "held"}:
        yield from (
            f"{shard}: no connection: {keeper.last_problem or 'not yet open'}" for shard, keeper in keepers
        )
    for shard in capture.shards:
        if shard.intake.slowed:
            yield f"{shard.shard}: reading less: {shard.intake.slowed}"
        for brake, why in shard.intake.brakes.items():
            yield f"{shard.shard}: not reading ({brake}): {why}"
