"""A recorded journal, consumed by clients that know nothing of us."""

import asyncio
import json
import time
import warnings
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from connectors.errors import TapeError
from connectors.journal import Journal
from connectors.venues.protocol import Instrument, instrument
from schemas.health import FrameKind
from simulator.frames import frames
from simulator.market import Market
from simulator.replay import ReplayedVenue
from simulator.rewriting import binance
from simulator.venues import FACES, coinbase, kraken

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the client's own affair
    from binance import AsyncClient, BinanceSocketManager, ReconnectingWebsocket

START = 1_767_225_600_000_000
SECONDS_MAX = 20.0

Recorded = tuple[FrameKind, bytes]


def recorded(
    folder: Path,
    shard: str,
    payloads: Sequence[Recorded],
    *,
    apart: int = 1_000,
    connections: Sequence[int] | None = None,
) -> Path:
    """A shard's journal of these payloads, so many microseconds apart, of one connection or of several."""
    directory = folder / shard
    journal = Journal.open(directory, exchange=shard.rpartition("-")[0], shard=shard, now=START)
    entries = [
        (START + index * apart, START + connection, index + 1, kind, payload)
        for index, ((kind, payload), connection) in enumerate(
            zip(payloads, connections or [0] * len(payloads), strict=True)
        )
    ]
    journal.append(entries)
    journal.sync()
    journal.close()
    return directory


def among_others(payloads: Sequence[bytes], instruments: Sequence[Instrument] = ()) -> list[Recorded]:
    """Frames of data with what else a journal keeps."""
    live: list[Recorded] = [("data", one) for one in payloads]
    first: list[Recorded] = [("connection", b"{}"), ("metadata", msgspec.json.encode(list(instruments)))]
    return [*first, ("control", b'{"result":null,"id":1}'), *live[:10], ("tick", b"{}"), *live[10:]]


async def received(url: str, requests: Sequence[dict[str, Any]], count: int) -> list[Any]:
    """The first messages that a plain client gets."""
    async with connect(url) as client:
        for request in requests:
            await client.send(json.dumps(request))
        async with asyncio.timeout(SECONDS_MAX):
            return [json.loads(await client.recv()) for _ in range(count)]


def test_python_binance_consumes_it_instead_of_its_own_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    payloads = frames("binance", seed, 1_500, quotes=True)
    listed = [instrument("binance", "BTCUSDT", "BTC", "USDT")]
    directory = recorded(tmp_path, "binance-0", among_others(payloads, listed))
    wanted = [json.loads(one)["data"] for one in payloads if one.startswith(b'{"stream":"btcusdt@trade"')]
    assert len(wanted) > 100
    for trade in wanted:  # the client asks for no unit of time, so it gets milliseconds
        trade["E"] //= 1_000
        trade["T"] //= 1_000

    async def consume() -> tuple[dict[str, Any], list[Any], list[Any]]:
        async with ReplayedVenue(directory, speed=0) as replayed:
            urls = replayed.urls()["binance"]
            monkeypatch.setattr(AsyncClient, "API_URL", urls["rest"] + "/api")
            monkeypatch.setattr(BinanceSocketManager, "STREAM_URL", urls["websocket"] + "/")
            monkeypatch.setattr(ReconnectingWebsocket, "TIMEOUT", 0.2)  # else leaving takes ten seconds
            client = await AsyncClient.create()
            try:
                manager = BinanceSocketManager(client, max_queue_size=10_000)
                info = await client.get_symbol_info("BTCUSDT")
                async with manager.trade_socket("BTCUSDT") as socket:
                    raw = [await socket.recv() for _ in wanted]
                async with manager.multiplex_socket(["btcusdt@trade", "nosuch@trade"]) as socket:
                    combined = [await socket.recv() for _ in wanted]
                return info, raw, combined
            finally:
                await client.close_connection()

    info, raw, combined = asyncio.run(asyncio.wait_for(consume(), SECONDS_MAX))
    assert (info["baseAsset"], info["quoteAsset"]) == ("BTC", "USDT")
    assert raw == wanted
    assert combined == [{"stream": "btcusdt@trade", "data": trade} for trade in wanted]


def test_kraken_clients_get_acknowledgements_and_their_symbols_only(tmp_path: Path, seed: int) -> None:
    payloads = frames("kraken", seed, 300, quotes=True)
    directory = recorded(tmp_path, "kraken-0", among_others(payloads))
    documents = [json.loads(one) for one in payloads]
    wanted = [
        one
        for one in documents
        if (one["channel"], one["data"][0]["symbol"]) in {("trade", "BTC/USD"), ("ticker", "ETH/USD")}
    ]
    requests = [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}},
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": ["ETH/USD"], "event_trigger": "bbo"},
        },
    ]

    async def consume() -> list[Any]:
        async with ReplayedVenue(directory, speed=0) as replayed:
            return await received(replayed.urls()["kraken"]["websocket"], requests, 3 + len(wanted))

    status, *acknowledged = (messages := asyncio.run(consume()))[:3]
    assert status["channel"] == "status"
    assert [one["result"]["symbol"] for one in acknowledged] == ["BTC/USD", "ETH/USD"]
    assert messages[3:] == wanted


def test_coinbase_clients_get_recorded_heartbeats_too(tmp_path: Path, seed: int) -> None:
    payloads = frames("coinbase", seed, 300, quotes=True)
    heartbeat = b'{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD","time":"x"}'
    directory = recorded(tmp_path, "coinbase-1", [*among_others(payloads), ("control", heartbeat)])
    wanted = [one for one in map(json.loads, payloads) if one["product_id"] == "BTC-USD"]
    request = {
        "type": "subscribe",
        "product_ids": ["BTC-USD"],
        "channels": ["matches", "ticker", "heartbeat"],
    }

    async def consume() -> list[Any]:
        async with ReplayedVenue(directory, speed=0) as replayed:
            return await received(replayed.urls()["coinbase"]["websocket"], [request], 2 + len(wanted))

    messages = asyncio.run(consume())
    assert messages[0]["type"] == "subscriptions"
    assert messages[1:] == [*wanted, json.loads(heartbeat)]


async def played(
    directory: Path, requests: Sequence[dict[str, Any]], last: bytes, path: str = ""
) -> list[bytes]:
    """All that a plain client gets up to this frame, without answers and what the venue says by itself."""
    async with ReplayedVenue(directory, speed=0) as replayed:
        venue = replayed.venue
        async with connect(replayed.urls()[venue]["websocket"] + path) as client:
            for request in requests:
                await client.send(json.dumps(request))
            frames: list[bytes] = []
            async with asyncio.timeout(SECONDS_MAX):
                while last not in frames:
                    frames.append(await client.recv(decode=False))
    own = (b'{"channel":"status"', b'{"channel":"heartbeat"', b'{"method"', b'{"type":"subscriptions"')
    return [one for one in frames if not one.startswith(own)]


def test_what_two_connections_recorded_is_played_once_in_order(tmp_path: Path, seed: int) -> None:
    payloads = frames("binance", seed, 1_000, quotes=True)
    random = Random(seed)
    both: list[Recorded] = []
    connections: list[int] = []
    left = [list(payloads), list(payloads)]
    while any(left):
        connection = random.choice([one for one in (0, 1) if left[one]])
        for _ in range(random.randrange(1, 20)):
            if left[connection]:
                both.append(("data", left[connection].pop(0)))
                connections.append(connection)
    directory = recorded(tmp_path, "binance-0", both, connections=connections)
    wanted = [one for one in payloads if b'"btcusdt@' in one]
    path = "/stream?streams=btcusdt@trade/btcusdt@bookTicker&timeUnit=MICROSECOND"
    assert asyncio.run(played(directory, [], wanted[-1], path)) == wanted


def test_a_snapshot_after_a_reconnect_brings_what_is_new_of_it(tmp_path: Path) -> None:
    face = FACES["kraken"]
    symbol = Market(face.listings, seed="1", start=START, rate=0).symbols["BTC/USD"]
    moments = [symbol.trade(START + second * 1_000_000, 1) for second in range(12)]
    trades = [one.trades[0] for one in moments]
    live = [one.payload for one in face.render((), {("trade", "BTC/USD")}, moments)]
    first, all_old, overlapping = (
        kraken.trades_frame(symbol, some, "snapshot") for some in (trades[:3], trades[2:5], trades[3:8])
    )
    payloads = [first, *live[3:5], all_old, *live[5:6], overlapping, *live[7:]]
    directory = recorded(tmp_path, "kraken-0", [("data", one) for one in payloads])
    subscribe = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}}
    assert asyncio.run(played(directory, [subscribe], live[-1])) == [
        first,
        *live[3:6],
        kraken.trades_frame(symbol, trades[6:8], "update"),
        *live[8:],
    ]


def test_a_last_match_after_a_reconnect_is_a_match_where_it_is_new(tmp_path: Path) -> None:
    face = FACES["coinbase"]
    symbol = Market(face.listings, seed="1", start=START, rate=0).symbols["BTC-USD"]
    moments = [symbol.trade(START + second * 1_000_000, 1) for second in range(6)]
    live = [one.payload for one in face.render((), {("matches", "BTC-USD")}, moments)]
    last = [coinbase.match(symbol, one.trades[0], "last_match") for one in moments]
    payloads = [last[0], live[1], last[1], live[2], last[4], live[5]]
    directory = recorded(tmp_path, "coinbase-0", [("data", one) for one in payloads])
    subscribe = {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches"]}
    assert asyncio.run(played(directory, [subscribe], live[-1])) == [last[0], *live[1:3], *live[4:]]


def test_python_binance_consumes_it_at_the_url_that_it_is_given(tmp_path: Path, seed: int) -> None:
    payloads = frames("binance", seed, 500)
    directory = recorded(tmp_path, "binance-0", among_others(payloads))
    wanted = [json.loads(one)["data"] for one in payloads if one.startswith(b'{"stream":"btcusdt@trade"')]
    for trade in wanted:
        trade["E"] //= 1_000
        trade["T"] //= 1_000

    async def consume() -> list[Any]:
        async with AsyncExitStack() as leaving:
            async with ReplayedVenue(directory, speed=0) as replayed:
                url = replayed.urls()["binance"]["websocket"] + "/"
                client = ReconnectingWebsocket(url=url, path="btcusdt@trade", max_queue_size=10_000)
                await leaving.enter_async_context(client)
                received = [await client.recv() for _ in wanted]
                # It leaves when something comes or ends: so it leaves before the venue does.
                closing = asyncio.create_task(client.close())
                await asyncio.sleep(0)
            await closing
        return received

    assert asyncio.run(asyncio.wait_for(consume(), SECONDS_MAX)) == wanted


@pytest.mark.parametrize(("speed", "seconds"), [(1.0, 1.0), (4.0, 0.25)])
def test_the_pace_is_the_recorded_one_times_the_speed(tmp_path: Path, speed: float, seconds: float) -> None:
    payloads = [one for one in frames("binance", 1, 100) if b"btcusdt" in one][:11]
    recording: list[Recorded] = [("data", one) for one in payloads]
    directory = recorded(tmp_path, "binance-0", recording, apart=100_000)

    async def consume() -> float:
        async with ReplayedVenue(directory, speed=speed) as replayed:
            url = replayed.urls()["binance"]["websocket"] + "/stream?streams=btcusdt@trade"
            async with connect(url) as client, asyncio.timeout(SECONDS_MAX):
                await client.recv()
                began = time.monotonic()
                for _ in range(10):
                    await client.recv()
                return time.monotonic() - began

    assert seconds * 0.9 < asyncio.run(consume()) < seconds + 0.5


def test_raw_and_milliseconds_are_written_from_what_was_recorded_combined() -> None:
    payload = b'{"stream":"a@trade","data":{"e":"trade","E":1767225600123456,"T":1767225600123000,"t":1}}'
    assert binance(payload, (True, True)) == (("trade", "A"), payload)
    assert binance(payload, (False, True))[1] == payload[27:-1]
    assert binance(payload, (False, False))[1] == (b'{"e":"trade","E":1767225600123,"T":1767225600123,"t":1}')


def test_a_journal_says_itself_whose_it_is(tmp_path: Path, seed: int) -> None:
    copy = recorded(tmp_path, "kraken-3", among_others(frames("kraken", seed, 40)))
    copy = copy.rename(tmp_path / "monday")
    replayed = ReplayedVenue(copy)
    assert replayed.venue == "kraken"
    assert [frame.shard for frame in replayed.frames()][::10] == ["kraken-3"] * 5


def test_what_is_no_journal_of_a_venue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TapeError, match="no journal in"):
        ReplayedVenue(tmp_path)
    with pytest.raises(TapeError, match="unknown venue 'okx'"):
        ReplayedVenue(recorded(tmp_path, "okx-0", [("data", b"{}")]))
