"""The stream: of a real run every trade once, also across disconnects; who is slow or late is told."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.catalog import LakeError, open_catalog
from connectors.errors import TapeError
from query.answer import Answer
from query.files import Scope
from query.reader import Reader
from query.rest import stream
from query.rest.problems import Unready
from query.rest.stream import EVENTS, QUEUE_MAX, Hub, Listener, Wish, event, marks_of
from schemas import Bar, Gap, Trade
from schemas.iceberg import TABLES
from tests.campaigns.kept import Kept
from tests.query.rest.conftest import PATIENCE_SECONDS, ROOT, Served

ALL = Wish(frozenset(EVENTS), Scope(), "1m")
ENOUGH = 300


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a flow that runs, as soon as there is something to read."""
    data = tmp_path / "data"
    with (tmp_path / "flow").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", "run", "--simulated", "--no-table"],
            stdin=subprocess.DEVNULL,
            stderr=said,
            cwd=tmp_path,
            env=os.environ | {"TAPE_DATA_DIR": str(data), "PYTHONPATH": str(ROOT), "TAPE_METRICS__PORT": "0"},
        )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(data.glob("simulated/tail/gold.bars/*")):
        assert process.poll() is None, (tmp_path / "flow").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield data
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 0, (tmp_path / "flow").read_text()


def hear(served: Served, path: str, last: str, enough: Callable[[list[dict[str, Any]]], bool]) -> Any:
    """All events until there are enough, and the last id."""
    heard: list[dict[str, Any]] = []
    name = ""
    headers = {"Last-Event-ID": last} if last else {}
    with served.client.stream("GET", path, headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        for line in response.iter_lines():
            kind, _, value = line.partition(": ")
            if kind == "id":
                last = value
            elif kind == "event":
                name = value
            elif kind == "data":
                heard.append({"event": name, **json.loads(value)})
                if enough(heard):
                    return heard, last
    raise AssertionError(heard[-1:])


def trades_of(heard: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for one in heard if one["event"] == "trades" for row in one["rows"]]


@pytest.mark.long
@pytest.mark.timeout(240)
def test_every_trade_is_heard_once_across_disconnects(running: Path, serving: Callable[..., Served]) -> None:
    served = serving(data_dir=running)
    heard: list[dict[str, Any]] = []
    last = ""
    for round_ in range(3):
        more, last = hear(served, "/v1/stream", last, lambda events: len(trades_of(events)) >= ENOUGH)
        assert more[0] == {"event": "start", "simulated": True, "resumed": round_ > 0}
        heard += more
        time.sleep(0.5)  # what lands meanwhile must not be lost
    ids = [row["message_id"] for row in trades_of(heard)]
    assert len(ids) == len(set(ids))
    marks = marks_of(last)
    assert marks is not None
    directory = running / "simulated"
    reader = Reader(open_catalog(directory), directory, "simulated")
    view = reader.at(Trade)
    part = view.part({})
    rows = reader.ask(f"select message_id, shard, platform_sequence as position from ({part.sql})", part)
    first = {row["shard"]: row["platform_sequence"] for row in reversed(trades_of(heard))}
    landed = {
        row["message_id"]
        for row in rows.to_pylist()
        if first[row["shard"]] <= row["position"] <= marks["trades"][row["shard"]]
    }
    assert landed == set(ids)
    assert {one["event"] for one in heard} >= {"start", "trades", "bars", "health"}
    states = {row["exchange"] for one in heard if one["event"] == "health" for row in one["rows"]}
    assert states == {"binance", "kraken", "coinbase"}
    # What was said of a window last is what the route says of it, or the route knows more trades by now.
    bars = {
        (row["exchange"], row["symbol"], row["window_start"]): row
        for one in heard if one["event"] == "bars" for row in one["rows"]
    }  # fmt: skip
    for row in served.rows("/v1/bars?interval=1m&limit=1000&since=0"):
        said = bars.get((row["exchange"], row["symbol"], row["window_start"]))
        assert said is None or said["trade_count"] <= row["trade_count"]
    assert len(bars) >= 3


def test_a_stream_is_of_one_symbol_if_that_is_wanted(kept: Kept, served: Served) -> None:
    heard, last = hear(
        served,
        "/v1/stream?symbol=BTC0-USDT&events=bars",
        "",
        lambda events: events[-1]["event"] == "bars",
    )
    assert [one["event"] for one in heard] == ["start", "bars"]
    assert {row["symbol"] for row in heard[1]["rows"]} == {"BTC0-USDT"}
    assert marks_of(last) is not None
    for kind, table in (("trades", Trade), ("bars", Bar), ("gaps", Gap)):
        assert TABLES[table].position == "platform_sequence"
        assert marks_of(last)[kind] == dict(kept.reader.at(table).marks())  # type: ignore[index]


def test_who_was_away_gets_all_that_landed_and_who_was_too_long_is_told(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def first(last: str) -> bytes:
        hub = Hub(lambda: kept.reader, 2)
        chunks = await hub.listen(ALL, last)
        said = [await anext(chunks), await anext(chunks)]
        await chunks.aclose()  # type: ignore[attr-defined]
        hub.close()
        return b"".join(said)

    nothing = event("", None, {"trades": {"binance-0": 0}, "bars": {}, "gaps": {}})[4:-2].decode()
    said = asyncio.run(first(nothing)).decode()
    assert '"resumed":true' in said
    trades = [
        json.loads(line[6:]) for line in said.splitlines() if line.startswith('data: {"rows":[{"message_id')
    ]
    assert len(trades[0]["rows"]) == len(kept.rows["Trade"])
    gaps = [json.loads(line[6:]) for line in said.splitlines() if line.startswith('data: {"rows":[{"gap_id')]
    assert len(gaps[0]["rows"]) == len(kept.rows["Gap"])
    assert gaps[0]["rows"][0]["ids"] >= 1
    monkeypatch.setattr(stream, "FRAMES_MAX", 10)
    late = asyncio.run(first(nothing)).decode()
    assert "event: behind" in late
    assert "event: trades" not in late


@pytest.mark.parametrize("fault", [LakeError("away"), Unready("slow", hint="", seconds=1)])
def test_what_a_failed_look_had_found_is_told_by_the_next(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, fault: TapeError
) -> None:
    looks = iter([fault])
    health_now = stream.health_now

    def fails_once(reader: Reader, scope: Scope) -> Answer:
        for one in looks:
            raise one
        return health_now(reader, scope)

    monkeypatch.setattr(stream, "health_now", fails_once)

    async def first(last: str) -> bytes:
        hub = Hub(lambda: kept.reader, 1)
        chunks = await hub.listen(ALL, last)
        said = [await anext(chunks), await anext(chunks)]
        hub.close()
        return b"".join(said)

    said = asyncio.run(first("")).decode()
    assert next(looks, None) is None
    assert [line for line in said.splitlines() if line.startswith("event")] == [
        "event: start", "event: bars", "event: health",
    ]  # fmt: skip


def test_who_reads_too_slowly_is_let_go() -> None:
    async def slow() -> list[bytes]:
        listener = Listener(ALL, None)
        for number in range(QUEUE_MAX + 1):
            listener.hear(b"%d" % number)
        return [chunk async for chunk in listener.chunks()]

    chunks = asyncio.run(slow())
    assert chunks[:-1] == [b"%d" % number for number in range(QUEUE_MAX)]
    assert b"event: behind" in chunks[-1]


def test_silence_is_broken_by_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.01)

    async def silent() -> bytes:
        return await anext(Listener(ALL, None).chunks())

    assert asyncio.run(silent()) == b": alive\n\n"


def test_there_are_only_so_many_streams_and_a_closed_one_makes_room(kept: Kept) -> None:
    async def crowd() -> None:
        hub = Hub(lambda: kept.reader, 1)
        one = await hub.listen(ALL, "")
        assert b"event: start" in await anext(one)
        with pytest.raises(Unready, match="too many streams"):
            await hub.listen(ALL, "")
        await one.aclose()  # type: ignore[attr-defined]
        two = await hub.listen(ALL, "")
        await anext(two)
        hub.close()
        said = b"".join([chunk async for chunk in two])
        assert b"the server stops" in said

    asyncio.run(crowd())


@pytest.mark.parametrize("text", ["", "x", "e30x", "W10", "bnVsbA", "é", "eyJ0cmFkZXMiOjF9"])
def test_an_id_that_we_never_said_says_nothing(text: str) -> None:
    assert marks_of(text) is None


@pytest.mark.parametrize("query", ["events=trade", "events=", "interval=x", "since=0", "venue=x"])
def test_what_a_stream_cannot_be_told_is_refused(served: Served, query: str) -> None:
    assert served.get(f"/v1/stream?{query}").status_code in (400, 404)
