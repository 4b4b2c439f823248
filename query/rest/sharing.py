"""One answer for everybody who asks the same within a moment: however many look, the tables are read once."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

# As often as rows land. What is older is asked for again.
FRESH_SECONDS = 0.2
# Answers that are kept at a time, each some megabytes at worst.
ANSWERS_MAX = 64

T = TypeVar("T")


class Sharing(Generic[T]):
    """Answers that are being made or were made just now, by what was asked."""

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, tuple[float, asyncio.Task[T]]] = OrderedDict()

    async def get(self, asked: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The answer to what was asked, made if it is not there."""
        now = asyncio.get_running_loop().time()
        began, task = self._made.get(asked, (now, None))
        if task is None or (task.done() and now - began > FRESH_SECONDS):
            task = asyncio.create_task(make())
            self._made.pop(asked, None)
            self._made[asked] = (now, task)
        for each, (since, kept) in list(self._made.items()):
            if now - since <= FRESH_SECONDS and len(self._made) <= ANSWERS_MAX:
                break
            if kept.done():
                del self._made[each]
        # Who goes away does not take the answer from the others.
        return await asyncio.shield(task)
