"""Keeps one place of a shard connected for ever: reconnects with patience, fails over, rotates unnoticed."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from connectors.connection import Access, Connection, ConnectionStatus
from connectors.intake import Intake
from connectors.resilience import Policy, Problem, backoff, choose
from connectors.venues.protocol import Instrument


@dataclass(frozen=True)
class KeeperStatus:
    """One place of a shard: its connections, while rotating two, and what it went through."""

    connections: tuple[ConnectionStatus, ...]
    waiting_seconds: float  # before the next attempt
    failures: int  # in a row
    last_problem: str
    ends: dict[str, int]  # by kind of problem
    rotations: int


class Keeper:
    """One place of a shard that always has a connection, or is about to have one."""

    def __init__(
        self,
        shared: Access,
        instruments: Sequence[Instrument],
        intake: Intake,
        *,
        policy: Policy,
        random: Random,
        logger: Any,
    ) -> None:
        self.shared, self.instruments, self.intake, self.policy = shared, instruments, intake, policy
        self.random = random
        self.logger = logger
        self.delays = backoff(policy, random)
        self.failures = 0
        self.ends: Counter[str] = Counter()
        self.rotations = 0
        self.last_problem: Problem | None = None
        self.waiting_seconds = 0.0
        self.open: dict[Connection, asyncio.Task[Problem]] = {}

    async def keep(self) -> None:
        """Connect, watch, connect again, until cancelled."""
        try:
            while True:
                fresh = await self.connect()
                self.open[fresh] = asyncio.create_task(fresh.run())
                older = [each for each, task in self.open.items() if each is not fresh and not task.done()]
                if older and not await self.delivers(fresh):
                    await self.retire(fresh, "mute beside an older connection")
                    await self.count(fresh, Problem("mute", "nothing came"))
                    continue
                self.rotations += len(older)
                for each in [each for each in self.open if each is not fresh]:
                    await self.retire(each, "rotated")
                await self.until_rotation(fresh)
        finally:
            await asyncio.gather(*(self.retire(each, "stopped") for each in list(self.open)))

    async def connect(self) -> Connection:
        """Try the venue's URLs until one opens."""
        now = asyncio.get_running_loop().time
        while True:
            await self.intake.flowing.wait()
            endpoint = choose(self.shared.endpoints, self.failures, now())
            if endpoint is None:
                await self.wait(min(each.breaker.rest(now()) for each in self.shared.endpoints))
                continue
            fresh = Connection(self.shared, endpoint, self.instruments, self.intake, self.policy, self.logger)
            problem = await fresh.open()
            if problem is None:
                self.logger.info("connected", connection=fresh.id, url=endpoint.url, failures=self.failures)
                return fresh
            fresh.note("refused", problem)
            await self.count(fresh, problem)

    async def until_rotation(self, current: Connection) -> None:
        """Return when the next connection is wanted: the current one ended, or is about to."""
        task = self.open[current]
        due = asyncio.create_task(current.rotate.wait())
        try:
            await asyncio.wait((task, due), return_when=asyncio.FIRST_COMPLETED)
        finally:
            due.cancel()
        if task.done():
            del self.open[current]
            await self.count(current, task.result())
        elif current.problem is not None:
            await self.count(current, current.problem)
        elif current.healthy:
            self.forget_failures()
        else:
            # A venue that sends every new connection away again is not asked for another at once.
            self.failures += 1
            await self.wait(next(self.delays))

    def forget_failures(self) -> None:
        """Begin again at the preferred endpoint and the shortest wait."""
        self.failures, self.delays = 0, backoff(self.policy, self.random)

    async def delivers(self, fresh: Connection) -> bool:
        """Whether the new connection of a rotation delivers, so that the old one is not needed any more."""
        found = asyncio.create_task(fresh.delivers())
        try:
            await asyncio.wait((found, self.open[fresh]), return_when=asyncio.FIRST_COMPLETED)
            return found.done() and found.result() and not self.open[fresh].done()
        finally:
            found.cancel()

    async def retire(self, each: Connection, why: str) -> None:
        """Close a connection politely and forget it."""
        task = self.open.pop(each)
        await each.close(why)
        await task

    async def count(self, failed: Connection, problem: Problem) -> None:
        """Draw the consequences of an end: breaker, counters, one line, a wait before the next attempt."""
        # A stream that brings us what we refuse, or not what we want, does so again, however well it lived.
        if not failed.healthy or problem.kind in ("oversize", "protocol", "stale"):
            failed.endpoint.breaker.fail(asyncio.get_running_loop().time())
            self.failures += 1
        else:
            self.forget_failures()
        self.ends[problem.kind] += 1
        if self.failures <= 1 or self.last_problem is None or self.last_problem.kind != problem.kind:
            self.logger.warning(
                "connection ended" if failed.frames else "no connection",
                connection=failed.id,
                url=failed.endpoint.url,
                kind=problem.kind,
                why=problem.text,
            )
        self.last_problem = problem
        await self.wait(next(self.delays))

    async def wait(self, seconds: float) -> None:
        """Do nothing for so long, visibly."""
        self.waiting_seconds = seconds
        await asyncio.sleep(seconds)
        self.waiting_seconds = 0.0

    def status(self) -> KeeperStatus:
        """How it stands."""
        return KeeperStatus(
            connections=tuple(each.status() for each in list(self.open)),
            waiting_seconds=self.waiting_seconds,
            failures=self.failures,
            last_problem=self.last_problem.text if self.last_problem else "",
            ends=dict(self.ends),
            rotations=self.rotations,
        )
