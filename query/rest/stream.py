"""Rows as they land, to many who listen: the tables are looked at once for all of them.

Each listener has a queue of its own. Who reads too slowly is told and let go; he comes back with the id of
the last event that he has, and gets what landed since, once. An id says how far each shard was.
"""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import duckdb
import msgspec
import pyarrow as pa
import structlog
from msgspec.structs import replace

from connectors.catalog import OUTAGES
from connectors.errors import TapeError
from query.bars import bars, size_of
from query.files import Scope
from query.follow import Follower
from query.health import health_now
from query.lake import last_day
from query.reader import Reader
from query.rest.lane import Lane
from query.rest.problems import Unready
from query.surface import as_text
from schemas import Bar, Gap, Trade
from schemas.iceberg import TABLES

Event = Literal["trades", "bars", "gaps", "health"]
EVENTS: tuple[Event, ...] = get_args(Event)
# What each is told by. Bars are asked for again when a trade or a bar has landed in their window.
FOLLOWED: dict[str, Any] = {"trades": Trade, "bars": Bar, "gaps": Gap}
# Of a gap, as the route has it.
GAP = (
    "gap_id", "exchange", "market", "symbol", "series", "first_missing", "last_missing", "status", "reason",
    "found", "ended", "ids",
)  # fmt: skip

# Five times a second looks alive.
LOOK_SECONDS = 0.2
HEALTH_SECONDS = 1.0
# Proxies and browsers give up a connection that says nothing for a minute or so.
HEARTBEAT_SECONDS = 10.0
# Looks that wait for one listener: ten seconds' worth.
QUEUE_MAX = 50
# Frames that may have landed while a listener was away; what they caused is in memory at once.
FRAMES_MAX = 50_000
# Runs of windows that one look asks for; a repair may change many at once.
RUNS_MAX = 8
# One look at the tables should take some milliseconds.
LOOK_SECONDS_MAX = 20.0

Marks = dict[str, dict[str, int]]  # by what is followed, by shard
Row = dict[str, Any]


class Wish(NamedTuple):
    """What somebody wants to hear."""

    events: frozenset[str]
    scope: Scope
    interval: str

    def is_of_venue(self, row: Row) -> bool:
        """Whether a row is of its venue."""
        return self.scope.exchange in (None, row["exchange"])

    def is_about(self, row: Row) -> bool:
        """Whether a row is of its venue and symbol."""
        return self.is_of_venue(row) and self.scope.symbol in (None, row["symbol"])


class Seen(NamedTuple):
    """One row that has landed."""

    time: int
    shard: str
    position: int
    row: Row


Landed = dict[str, list[Seen]]  # by what is followed
Asked = dict[tuple[Wish, tuple[tuple[int, int], ...]], list[Row]]  # bars that one look has asked for
Told = tuple[bytes, Marks]  # what one listener is to hear of a look, and how far he is then


class Listener:
    """One who listens: how far he has heard, and what he has not read yet."""

    def __init__(self, wish: Wish, marks: Marks | None) -> None:
        self.wish, self.marks = wish, marks
        self.is_new = True
        self._end = ""
        self._chunks: deque[bytes] = deque()
        self._there = asyncio.Event()

    def hear(self, chunk: bytes) -> None:
        """Put something into his queue."""
        if len(self._chunks) >= QUEUE_MAX:
            self.end("this client reads too slowly; come back")
        elif chunk:
            self._chunks.append(chunk)
            self._there.set()

    def end(self, why: str) -> None:
        """Let him go when he has read what there is."""
        self._end = why
        self._there.set()

    async def chunks(self) -> AsyncIterator[bytes]:
        """All that he is to hear, and a sign of life when there is nothing."""
        while not self._end or self._chunks:
            try:
                await asyncio.wait_for(self._there.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield b": alive\n\n"
            self._there.clear()
            while self._chunks:
                yield self._chunks.popleft()
        yield event("behind", {"detail": self._end})


class Hub:
    """Looks at the tables while anybody listens."""

    def __init__(self, reader: Callable[[], Reader], listeners_max: int) -> None:
        self._reader, self._listeners_max = reader, listeners_max
        self._listeners: list[Listener] = []
        self._lane = Lane("stream", 1, LOOK_SECONDS_MAX)
        self._looking: asyncio.Task[None] | None = None
        self._seen: Reader | None = None
        self._followers: dict[str, Follower] = {}
        self._health_at = 0.0

    async def listen(self, wish: Wish, last_event_id: str) -> AsyncIterator[bytes]:
        """What somebody is to hear, from now on or from where he was; Unready where too many do already."""
        if len(self._listeners) >= self._listeners_max:
            raise Unready("too many streams are open already", hint="close one", seconds=10)
        reader = await self._lane.run(self._reader)
        listener = Listener(wish, marks_of(last_event_id))
        listener.hear(event("start", {"simulated": reader.simulated, "resumed": listener.marks is not None}))
        return self._heard(listener)

    async def _heard(self, listener: Listener) -> AsyncIterator[bytes]:
        """What he hears, while he listens."""
        self._listeners.append(listener)
        self._health_at = 0.0
        if self._looking is None or self._looking.done():
            self._seen = None
            self._looking = asyncio.create_task(self._look_on())
        try:
            async for chunk in listener.chunks():
                yield chunk
        finally:
            self._listeners.remove(listener)

    def close(self) -> None:
        """Let everybody go."""
        if self._looking is not None:
            self._looking.cancel()
        self._lane.close()

    async def _look_on(self) -> None:
        """Look again and again until nobody listens; what passes by itself is waited for."""
        clock = asyncio.get_running_loop().time
        try:
            while self._listeners:
                listeners, with_health = list(self._listeners), clock() - self._health_at >= HEALTH_SECONDS
                try:
                    told = await self._lane.run(partial(self._look, listeners, with_health=with_health))
                except (TapeError, duckdb.IOException, *OUTAGES) as error:
                    structlog.get_logger().warning("a look at the tables failed", problem=str(error))
                    # How far it came nobody knows: each goes on from what he has heard.
                    self._seen = None
                    for listener in listeners:
                        listener.is_new = True
                else:
                    self._health_at = clock() if with_health else self._health_at
                    for listener, (chunk, marks) in zip(listeners, told, strict=True):
                        listener.marks, listener.is_new = marks, False
                        listener.hear(chunk)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for listener in self._listeners:
                listener.end("the server stops; come back")

    def _look(self, listeners: list[Listener], *, with_health: bool) -> list[Told]:
        """What each is to hear of what has landed. Who waits for it may give up, so they stay as they are."""
        reader, asked = self._reader(), Asked()
        afresh = self._seen not in (None, reader)  # the tables were begun anew
        if reader is not self._seen:
            self._seen = reader
            self._followers = {name: Follower(reader, kind, Scope()) for name, kind in FOLLOWED.items()}
        landed = look(self._followers)
        marks = {name: dict(follower.marks) for name, follower in self._followers.items()}
        told = [tell(reader, one, landed, marks, asked, afresh=afresh) for one in listeners]
        if not with_health:
            return told
        rows = texts(health_now(reader, Scope()).rows)
        return [
            (chunk + event("health", {"rows": [row for row in rows if one.wish.is_of_venue(row)]}), heard)
            if "health" in one.wish.events
            else (chunk, heard)
            for (chunk, heard), one in zip(told, listeners, strict=True)
        ]


def look(followers: Mapping[str, Follower]) -> Landed:
    """What has landed since these looked last."""
    found: Landed = {}
    for name, follower in followers.items():
        rows, listed = follower.rows(), TABLES[FOLLOWED[name]]
        times = rows.column(listed.time).cast(pa.int64()).to_pylist()
        places = (rows.column(column).to_pylist() for column in ("shard", listed.position))
        found[name] = list(map(Seen, times, *places, texts(rows)))
    return found


def tell(
    reader: Reader, listener: Listener, landed: Landed, now: Marks, asked: Asked, *, afresh: bool
) -> Told:
    """What one listener has not heard. Bars come first and may come again: only what follows them counts."""
    wish, before = listener.wish, None if afresh else listener.marks
    is_new = afresh or listener.is_new
    said: list[bytes] = []
    if before is not None and is_new and away(before, now) <= FRAMES_MAX:
        followers = {name: Follower(reader, kind, Scope()) for name, kind in FOLLOWED.items()}
        for name, follower in followers.items():
            follower.marks = dict(before.get(name, {}))
        landed = look(followers)
        now = {name: follower.marks for name, follower in followers.items()}
    elif before is None or is_new:
        if before is not None:
            said.append(event("behind", {"detail": "too much has landed meanwhile; the routes have it"}, now))
        landed, before = {}, now
        said.append(event("", None, now))
    own = {
        name: [
            one for one in landed.get(name, ())
            if wish.is_about(one.row) and one.position > before.get(name, {}).get(one.shard, 0)
        ]
        for name in FOLLOWED
    }  # fmt: skip
    marks = {name: {**before.get(name, {}), **later(before.get(name, {}), now[name])} for name in now}
    if "bars" in wish.events and (rows := bars_of(reader, wish, own, asked, is_new=is_new)):
        said.append(event("bars", {"rows": rows}))
    if own["trades"] and "trades" in wish.events:
        trades = {name: before.get(name, {}) if name == "gaps" else mark for name, mark in marks.items()}
        said.append(event("trades", {"rows": [one.row for one in own["trades"]]}, trades))
    if own["gaps"] and "gaps" in wish.events:
        said.append(event("gaps", {"rows": [gap(one.row) for one in own["gaps"]]}, marks))
    return b"".join(said), marks


def later(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Where a shard is further than it was."""
    return {shard: mark for shard, mark in now.items() if mark > before.get(shard, 0)}


def away(before: Marks, now: Marks) -> int:
    """How many frames were there meanwhile."""
    return max(
        sum(
            mark - before.get(name, {}).get(shard, 0)
            for shard, mark in later(before.get(name, {}), marks).items()
        )
        for name, marks in now.items()
    )


def bars_of(reader: Reader, wish: Wish, own: Landed, asked: Asked, *, is_new: bool) -> list[Row]:
    """The windows that have changed; to one who is new, the newest."""
    size = size_of(wish.interval)
    starts = {one.time - one.time % size for one in own["trades"]}
    starts |= {one.time - one.time % size for one in own["bars"] if size_of(one.row["interval"]) <= size}
    if is_new:
        newest = last_day(reader)
        starts |= {newest - newest % size}
    runs: list[tuple[int, int]] = []
    for start in sorted(starts):
        if runs and start - runs[-1][1] <= size:
            runs[-1] = (runs[-1][0], start + size)
        else:
            runs.append((start, start + size))
    key = (wish, tuple(runs[-RUNS_MAX:]))
    if key not in asked:
        parts = (
            bars(reader, replace(wish.scope, since=since, until=until), wish.interval)
            for since, until in key[1]
        )
        asked[key] = [row for part in parts for row in texts(part.rows)]
    return asked[key]


def texts(rows: pa.Table) -> list[Row]:
    """Rows as JSON has them."""
    found: list[Row] = as_text(rows).to_pylist()
    return found


def gap(row: Row) -> Row:
    """A gap as the route has it."""
    return {name: ({**row, "ids": row["last_missing"] - row["first_missing"] + 1})[name] for name in GAP}


def event(name: str, data: object, marks: Marks | None = None) -> bytes:
    """One event as it is sent; one without a name only says how far the stream is."""
    said = b""
    if marks is not None:
        said += b"id: %b\n" % urlsafe_b64encode(msgspec.json.encode(marks)).rstrip(b"=")
    if name:
        said += b"event: %b\ndata: %b\n" % (name.encode(), msgspec.json.encode(data))
    return said + b"\n"


def marks_of(last_event_id: str) -> Marks | None:
    """How far somebody was; None where he says nothing that we said."""
    try:
        text = urlsafe_b64decode(last_event_id + "=" * (-len(last_event_id) % 4))
        return msgspec.json.decode(text, type=Marks) if text else None
    except (ValueError, msgspec.DecodeError):
        return None
