"""Who asks the same at the same time gets one answer; later there is a new one, and a failure is not kept."""

import asyncio

import pytest

from query.rest import sharing as sharing_module
from query.rest.sharing import ANSWERS_MAX, Sharing


def test_one_answer_serves_all_who_ask_at_once_and_no_other_question() -> None:
    async def scene() -> tuple[list[int], list[str]]:
        made: list[str] = []

        async def make(what: str) -> int:
            made.append(what)
            await asyncio.sleep(0)
            return len(made)

        sharing = Sharing[int]()
        same = [sharing.get("a", lambda: make("a")) for _ in range(5)]
        return await asyncio.gather(*same, sharing.get("b", lambda: make("b"))), made

    answers, made = asyncio.run(scene())
    assert len(set(answers[:5])) == 1
    assert made == ["a", "b"]


def test_an_answer_is_made_again_once_it_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> list[int]:
        count = 0

        async def make() -> int:
            nonlocal count
            count += 1
            return count

        sharing = Sharing[int]()
        first = [await sharing.get("a", make), await sharing.get("a", make)]
        monkeypatch.setattr(sharing_module, "FRESH_SECONDS", -1.0)
        return [*first, await sharing.get("a", make)]

    assert asyncio.run(scene()) == [1, 1, 2]


def test_while_an_answer_is_made_again_others_get_the_one_before_unless_it_is_too_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        sharing, hold = Sharing[int](), asyncio.Event()

        async def slow() -> int:
            await hold.wait()
            return 2

        async def first() -> int:
            return 1

        async def nobody() -> int:
            raise AssertionError("one is being made")

        assert await sharing.get("a", first) == 1
        monkeypatch.setattr(sharing_module, "FRESH_SECONDS", -1.0)
        asks = asyncio.create_task(sharing.get("a", slow))
        await asyncio.sleep(0)
        assert await sharing.get("b", first) == 1  # and no other question takes it away
        assert await sharing.get("a", nobody) == 1
        assert not asks.done()
        monkeypatch.setattr(sharing_module, "OLD_SECONDS", -1.0)
        waits = asyncio.create_task(sharing.get("a", nobody))
        await asyncio.sleep(0)
        assert not waits.done()
        hold.set()
        assert [await asks, await waits] == [2, 2]
        assert sharing._made["a"].before is None

    asyncio.run(scene())


def test_who_asks_a_little_later_has_a_new_answer_made_and_does_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        sharing, hold, made = Sharing[int](), asyncio.Event(), list[int]()

        async def make() -> int:
            made.append(len(made) + 1)
            if len(made) > 1:
                await hold.wait()
            return made[-1]

        monkeypatch.setattr(sharing_module, "FRESH_SECONDS", 60.0)
        monkeypatch.setattr(sharing_module, "AHEAD_SECONDS", -1.0)
        monkeypatch.setattr(sharing_module, "OLD_SECONDS", 60.0)
        assert [await sharing.get("a", make) for _ in range(3)] == [1, 1, 1]
        await asyncio.sleep(0)
        assert made == [1, 2]
        hold.set()
        monkeypatch.setattr(sharing_module, "AHEAD_SECONDS", 60.0)
        await sharing._made["a"].task
        assert await sharing.get("a", make) == 2
        assert made == [1, 2]

    asyncio.run(scene())


def test_no_failure_stands_in_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        sharing = Sharing[int]()

        async def fail() -> int:
            raise ValueError("no")

        async def slow() -> int:
            await asyncio.sleep(0)
            return 2

        with pytest.raises(ValueError, match="no"):
            await sharing.get("a", fail)
        monkeypatch.setattr(sharing_module, "FRESH_SECONDS", -1.0)
        assert await asyncio.gather(*(sharing.get("a", slow) for _ in range(3))) == [2, 2, 2]

    asyncio.run(scene())


def test_a_failure_comes_out_and_who_goes_away_takes_nothing_from_others() -> None:
    async def scene() -> None:
        sharing, hold = Sharing[int](), asyncio.Event()

        async def fail() -> int:
            raise ValueError("no")

        async def slow() -> int:
            await hold.wait()
            return 7

        with pytest.raises(ValueError, match="no"):
            await sharing.get("bad", fail)
        one, two = (asyncio.create_task(sharing.get("good", slow)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        hold.set()
        assert await two == 7
        for number in range(3 * ANSWERS_MAX):
            await sharing.get(number, slow)
        assert len(sharing._made) <= ANSWERS_MAX + 1

    asyncio.run(scene())
