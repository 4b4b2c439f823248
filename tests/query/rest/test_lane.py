"""Blocking work beside the loop: bounded in number and in time, and the loop goes on."""

import asyncio
import threading

import pytest

from query.rest import lane as lane_module
from query.rest.lane import Lane
from query.rest.problems import Unready


def test_work_is_done_in_threads_of_its_own_while_the_loop_goes_on() -> None:
    async def scene() -> tuple[set[str], int]:
        lane, hold = Lane("work", 2, 30.0), threading.Event()
        names: set[str] = set()

        def work() -> None:
            names.add(threading.current_thread().name.rpartition("_")[0])
            hold.wait(30)

        running = [asyncio.create_task(lane.run(work)) for _ in range(2)]
        ticks = 0
        while len(names) < 1 or ticks < 5:
            await asyncio.sleep(0)
            ticks += 1
        hold.set()
        await asyncio.gather(*running)
        await asyncio.sleep(0)
        lane.close()
        return names, lane.inside

    assert asyncio.run(scene()) == ({"work"}, 0)


def test_who_comes_when_too_many_wait_is_refused_and_later_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "WAITING_MAX", 1)

    async def scene() -> int:
        lane, hold = Lane("work", 1, 30.0), threading.Event()
        running = [asyncio.create_task(lane.run(hold.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Unready, match="too many questions"):
            await lane.run(hold.wait)
        hold.set()
        await asyncio.gather(*running)
        found = await lane.run(lambda: 7)
        lane.close()
        return found

    assert asyncio.run(scene()) == 7


def test_what_takes_too_long_is_given_up_but_keeps_its_place_until_it_is_done() -> None:
    async def scene() -> tuple[int, int]:
        lane, hold = Lane("work", 1, 0.05), threading.Event()
        with pytest.raises(Unready, match=r"no answer within 0\.05 seconds"):
            await lane.run(hold.wait)
        during = lane.inside
        hold.set()
        while lane.inside:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.001)
        lane.close()
        return during, lane.inside

    assert asyncio.run(scene()) == (1, 0)


def test_what_goes_wrong_comes_out() -> None:
    async def scene() -> None:
        await Lane("work", 1, 5.0).run(lambda: 1 // 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(scene())
