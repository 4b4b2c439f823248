"""Brings what the shards of a process have staged into the tables, one commit for each table and epoch.

One thread for all of them, so that neither the engine nor capture waits for a catalog. What it cannot do now
it does later; what it must not do ends the process, through whoever asks it next.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from connectors.catalog import LakeError, Refused, explained, is_outage
from connectors.failpoints import failpoint
from connectors.outages import STOP_SECONDS, has_begun, outlast
from connectors.publishing import LakeTable, Pending

# Epochs of a shard that may wait to be published: with 5 s each, an outage of a minute goes unnoticed.
PENDING_MAX = 12
# Shards of one process end their epochs within a few milliseconds: one commit for all of them.
GATHER_SECONDS = 0.1
# Rows that make us publish before the time is up: what an epoch of catching up brings.
ROWS_MAX = 500_000

T = TypeVar("T")


class Courier:
    """All tables that a process writes, in the order in which they are committed."""

    def __init__(
        self,
        shards: Sequence[str],
        *,
        commit_seconds: float,
        stop: threading.Event,
        logger: Any,
    ) -> None:
        self.tables: Sequence[LakeTable] = ()
        # Told up to which position a shard's frames are both durable and in the table of frames.
        self.published: Callable[[str, int], None] = lambda *_: None
        self._shards = shards
        self._seconds = commit_seconds
        self._stop = stop  # the process is to end: what cannot be staged is not waited for
        self._abandoned = threading.Event()  # and what cannot be published neither
        self._logger = logger
        self._changed = threading.Condition()
        self._waiting: dict[str, list[Pending]] = {shard: [] for shard in shards}
        self._durable = dict.fromkeys(shards, 0)
        self._begun = threading.Event()
        self._failure: BaseException | None = None
        self._closing = False
        self._began = 0.0
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)

    def start(self, opened: Callable[[], Sequence[LakeTable]]) -> None:
        """Begin to open the tables, and to become the writer of all shards of ours in them."""
        self._opened = opened
        self._thread.start()

    def has_begun(self, *, wait: bool) -> bool:
        """Whether we are the writer, so that tokens are known; LakeError where the process ends before."""
        ended = LakeError("ended before the lake could be opened", hint="nothing is lost: start again")
        return has_begun(self._begun, wait=wait, check=self.check, stop=self._stop, otherwise=ended)

    def freeze(self, shard: str, pending: Pending) -> None:
        """Keep what an epoch staged until it is durable."""
        with self._changed:
            self._waiting[shard].append(pending)

    def reached(self, shard: str, position: int) -> None:
        """Frames up to this position are durable: what they caused may be published."""
        with self._changed:
            self._durable[shard] = position
            self._changed.notify_all()

    def waiting(self, shard: str) -> list[Pending]:
        """What is frozen and perhaps not published, once there is room for more."""
        with self._changed:
            while len(self._waiting[shard]) > PENDING_MAX and not self._stop.is_set():
                self._changed.wait(STOP_SECONDS)
                self.check()
            return list(self._waiting[shard])

    def check(self) -> None:
        """Raise what ended the courier."""
        if self._failure is not None:
            raise self._failure

    def close(self, seconds: float) -> bool:
        """Publish what is durable, now; whether that worked within the time."""
        if not self._thread.ident:
            return True  # it never began, so nothing is frozen
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._abandoned.set()
            return False
        self.check()
        return not any(self._waiting.values())

    def outlast(self, doing: str, attempt: Callable[[], T], until: threading.Event | None = None) -> T:
        """Try until it works or nobody wants it; an outage is said when it begins and when it is over."""
        return outlast(
            doing,
            partial(in_our_words, attempt),
            waits=self._waits,
            until=until or self._stop,
            logger=self._logger,
        )

    def _waits(self, error: Exception) -> bool:
        """What worked before and is refused now is mended without us: capture must not end for it."""
        return is_outage(error) or (isinstance(error, Refused) and self._begun.is_set())

    def _run(self) -> None:
        try:
            self.tables = self.outlast("open the catalog", self._opened)
            for table in self.tables:
                self.outlast(f"take over {table.name}", partial(table.take_over, self._shards))
            self._begun.set()
            while due := self._due():
                self._publish(due)
        except BaseException as error:  # noqa: BLE001  # this thread has no caller: the engine's raise it
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _due(self) -> Mapping[str, Sequence[Pending]]:
        """What is durable, once it is time to publish; nothing when that is all."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or any(self._durables().values()))
            if not self._closing:
                self._changed.wait_for(self._is_complete, GATHER_SECONDS)
                rest = self._began + self._seconds - GATHER_SECONDS - time.monotonic()
                self._changed.wait_for(self._is_urgent, max(0.0, rest))
            self._began = time.monotonic()
            return {shard: epochs for shard, epochs in self._durables().items() if epochs}

    def _durables(self) -> dict[str, list[Pending]]:
        return {
            shard: [epoch for epoch in epochs if epoch.last <= self._durable[shard]]
            for shard, epochs in self._waiting.items()
        }

    def _is_complete(self) -> bool:
        """Whether no shard's epoch is still on its way."""
        return self._closing or self._durables() == self._waiting

    def _is_urgent(self) -> bool:
        rows = sum(
            file.rows for epochs in self._durables().values() for epoch in epochs for file in epoch.files
        )
        return self._closing or rows > ROWS_MAX

    def _publish(self, due: Mapping[str, Sequence[Pending]]) -> None:
        """One commit for each table, frames first: nothing is ever there that they do not explain."""
        for table in self.tables:
            self.outlast(f"publish to {table.name}", partial(table.commit, due), self._abandoned)
        failpoint("iceberg.published")
        with self._changed:
            for shard, epochs in due.items():
                del self._waiting[shard][: len(epochs)]
            self._changed.notify_all()
        frames = self.tables[0].tokens
        for shard in due:
            self.published(shard, min(self._durable[shard], frames[shard].position))


def in_our_words(attempt: Callable[[], T]) -> T:
    """The same, but what somebody must do something about is an error of ours."""
    with explained():
        return attempt()
