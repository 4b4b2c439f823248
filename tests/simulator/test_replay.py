"""A recorded journal, consumed by clients that know nothing of us."""

import asyncio
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect

from connectors.errors import TapeError
from connectors.journal import Journal
from connectors.venues.protocol import Instrument, instrument
from schemas.health import FrameKind
from simulator.frames import frames
from simulator.replay import ReplayedVenue, binance

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the client's own affair
    from binance import AsyncClient, BinanceSocketManager
    from binance.ws.reconnecting_websocket import ReconnectingWebsocket

START = 1_767_225_600_000_000
SECONDS_MAX = 20.0

Recorded = tuple[FrameKind, bytes]


def recorded(folder: Path, shard: str, payloads: Sequence[Recorded], *, apart: int = 1_000) -> Path:
    """A shard's journal of these payloads, so many microseconds apart."""
    directory = folder / shard
    journal = Journal.open(directory, exchange=shard.rpartition("-")[0], shard=shard, now=START)
    entries = [
        (START + index * apart, START, index + 1, kind, payload)
        for index, (kind, payload) in enumerate(payloads)
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


def test_python_binance_consumes_it_unmodified(
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
