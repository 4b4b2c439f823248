"""One answer for everybody who asks the same within a moment: however many look, the tables are read once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

# As often as rows land. Who asks later has a new answer made.
FRESH_SECONDS = 0.2
# Sooner, who asks has a new one made and does not wait for it: of a crowd nobody waits.
AHEAD_SECONDS = 0.15
# While one is made, others get the one before, up to this age.
OLD_SECONDS = 1.0
# Answers that are kept at a time, each some megabytes at worst.
ANSWERS_MAX = 64

T = TypeVar("T")


@dataclass
class Made(Generic[T]):
    """An answer that is being made or was made, and while it is being made, the one before."""

    began: float
    task: asyncio.Task[T]
    before: "Made[T] | None"

    def succeeded(self) -> bool:
        """Whether there is an answer."""
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


class Sharing(Generic[T]):
    """Answers that are being made or were made just now, by what was asked."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Made[T]] = OrderedDict()

    async def get(self, asked: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to what was asked, made if it is not there."""
        now = asyncio.get_running_loop().time()
        known = self._made.get(asked)
        if known is None or (known.task.done() and now - known.began > FRESH_SECONDS):
            known = self._begin(asked, now, make)
        else:
            if known.succeeded() and now - known.began > AHEAD_SECONDS:
                known = self._begin(asked, now, make)
            if known.before is not None and now - known.before.began <= OLD_SECONDS:
                return known.before.task.result()
        for each, made in list(self._made.items()):
            if now - made.began <= OLD_SECONDS and len(self._made) <= ANSWERS_MAX:
                break
            if made.task.done():
                del self._made[each]
        # Who goes away does not take the answer from the others.
        return await asyncio.shield(known.task)

    def _begin(self, asked: Hashable, now: float, make: Callable[[], Coroutine[Any, Any, T]]) -> Made[T]:
        """Make a new answer, beside the one that there is."""
        before = self._made.pop(asked, None)
        if before is not None and not before.succeeded():
            before = None
        made = self._made[asked] = Made(now, asyncio.create_task(make()), before)

        def done(task: "asyncio.Task[T]") -> None:
            made.before = None
            if not task.cancelled():
                task.exception()  # perhaps nobody waits for it

        made.task.add_done_callback(done)
        return made
