"""Named places where a test can kill us, break us or slow us down; nothing happens there in production.

`TAPE_FAILPOINTS="source.next_batch:kill:3"` kills the process when it comes to that place for the third time;
`…:error:3` raises there, `…:sleep:3:0.5` waits half a second. Several are separated by commas. Read once,
when this module is imported: a place that is off costs one call and one look at an empty dict.
"""

import os
import signal
import time

# Every place there is, in the order in which a frame comes by.
NAMES = (
    "journal.append",  # frames are about to be written
    "journal.sync",  # frames are written and about to be forced to disk
    "source.build",
    "source.next_batch",  # frames are read and about to be handed over
    "source.snapshot",  # the epoch ends here; nothing is forced to disk yet
    "source.durable",  # the epoch before is durable, nobody was told
    "decode.batch",
    "detect_gaps.batch",
    "validate.batch",
    "drop_duplicates.batch",
    "aggregate.batch",
    "decode.snapshot",
    "detect_gaps.snapshot",
    "validate.snapshot",
    "drop_duplicates.snapshot",
    "aggregate.snapshot",
    "iceberg.takeover",  # a process is about to become the writer of its shards
    "tail.append",
    "tail.remove",
    "iceberg.datafile",  # rows are written, the file has no end
    "iceberg.staged",  # all files of an epoch are durable, nobody knows them
    "iceberg.frozen",  # the epoch's files are about to become part of the state
    "iceberg.manifest",  # a commit begins
    "iceberg.before_catalog",  # manifests are written
    "iceberg.after_catalog",  # rows are published, we do not know
    "iceberg.published",  # all tables have the epoch
    "kafka.sent",  # messages of a batch are with the client, and perhaps with a broker
    "kafka.acknowledged",  # a broker has a message, we do not know
    "kafka.snapshot",  # what is not acknowledged is about to become part of the state
    "recover.aside",  # the old recovery files are moved away, the new ones not yet in their place
    "reset.dropped",  # a table is no longer in the catalog, its files are there
    "maintain.datafile",  # rows are rewritten, the file has no end
    "maintain.rewritten",  # the new files are whole, nobody knows them
    "maintain.before_catalog",  # manifests are written
    "maintain.after_catalog",  # the table is changed, we do not know
    "maintain.delete",  # snapshots are forgotten, their files are about to go
    "sink.write",
    "sink.snapshot",  # rows of the epoch are about to be frozen
    "sink.publish",  # rows are durable and about to become visible
    "sink.published",  # rows are visible, the sink does not know
)
ACTIONS = ("kill", "error", "sleep")


class Failed(Exception):
    """What the action `error` raises."""


class Armed:
    """One place that is switched on: what happens there, and when."""

    def __init__(self, name: str, action: str, time_number: int, seconds: float) -> None:
        self.name = name
        self.action = action
        self.times_left = time_number
        self.seconds = seconds

    def reached(self) -> None:
        """Count down, and act on the chosen time only."""
        self.times_left -= 1
        if self.times_left:
            return
        if self.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.action == "error":
            raise Failed(self.name)
        time.sleep(self.seconds)


def parse(text: str) -> dict[str, Armed]:
    """What the variable switches on, or ValueError."""
    armed = {}
    for part in filter(None, text.split(",")):
        name, _, what = part.partition(":")
        action, *numbers = what.split(":")
        if name not in NAMES or action not in ACTIONS or len(numbers) > 2:
            raise ValueError(f"TAPE_FAILPOINTS: {part!r}: expected name:action[:time[:seconds]]")
        time_number = int(numbers[0]) if numbers else 1
        armed[name] = Armed(name, action, time_number, float(numbers[1]) if len(numbers) > 1 else 1.0)
    return armed


_armed = parse(os.environ.get("TAPE_FAILPOINTS", ""))


def failpoint(name: str) -> None:
    """A place where a test may strike."""
    if _armed and name in _armed:
        _armed[name].reached()
