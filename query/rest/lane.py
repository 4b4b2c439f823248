"""Blocking work beside the event loop: a few threads, a short queue, and an end to everybody's patience."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from query.rest.problems import Unready

# Who comes when so many wait for each thread is better served elsewhere or later.
WAITING_MAX = 16

T = TypeVar("T")


class Lane:
    """Threads that work for whoever waits; at most so many are inside."""

    def __init__(self, name: str, threads: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._seconds = seconds
        self._inside_max = threads * (1 + WAITING_MAX)
        self.inside = 0

    async def run(self, work: Callable[[], T]) -> T:
        """The result of some work; Unready where it cannot be begun, or takes too long."""
        if self.inside >= self._inside_max:
            raise Unready("too many questions wait already", hint="ask again in a moment")
        self.inside += 1
        loop = asyncio.get_running_loop()

        def left(_: "Future[T]") -> None:
            # What nobody waits for any more still has its thread until it is done.
            loop.call_soon_threadsafe(self._leave)

        future = self._pool.submit(work)
        future.add_done_callback(left)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            hint = "ask about less: one symbol, a shorter interval, a smaller limit"
            raise Unready(f"no answer within {self._seconds:g} seconds", hint=hint) from None

    def _leave(self) -> None:
        self.inside -= 1

    def close(self) -> None:
        """Begin no more work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
