"""A venue in service without sockets or a clock: the same seed sends the same bytes, whatever goes wrong."""

import json
from collections.abc import Sequence
from typing import Any, cast

import pytest
from websockets.frames import Opcode

from connectors.faults import parse_faults
from simulator.http import Asked
from simulator.market import Market
from simulator.venue import VenueServer
from simulator.venues import FACES
from simulator.venues.protocol import Request
from simulator.websocket import Client

START = 1_767_225_600_000_000
FAULTS = (
    "drop:0.05,duplicate:0.05,reorder:0.05,delay:0.05:0.3,other_price:0.05,wrong_id:0.05,"
    "malformed:0.05,"
    "freeze:0.2:0.4,freeze_data:0.2:0.4,stall:0.3:0.5,id_reset:0.2,rest_error:0.2,rest_throttle:0.2"
)
REQUESTS: dict[str, list[dict[str, Any]]] = {
    "binance": [{"method": "SUBSCRIBE", "params": ["btcusdt@trade", "ethusdt@bookTicker"], "id": 1}],
    "kraken": [
        {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": True}},
        {
            "method": "subscribe",
            "params": {"channel": "ticker", "symbol": ["ETH/USD"], "event_trigger": "bbo"},
        },
    ],
    "coinbase": [
        {"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["matches", "ticker", "heartbeat"]}
    ],
}
PATHS = {"binance": "/stream", "kraken": "/v2", "coinbase": "/"}
PAGES = {
    "binance": Request("/api/v3/trades", {"symbol": "BTCUSDT"}, {}),
    "kraken": Request("/0/public/Trades", {"pair": "XBTUSD"}, {}),
    "coinbase": Request("/products/BTC-USD/trades", {}, {}),
}


class Wire:
    """Stands where a socket would be and keeps what is sent."""

    is_open = True

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.rest = b""

    def break_off(self, rest: bytes = b"") -> None:
        self.rest = rest

    def send(self, payloads: Sequence[bytes]) -> bool:
        self.sent += payloads
        return True

    def close(self, code: int, reason: str) -> None:
        self.sent.append((code, reason))

    def ping(self, data: bytes) -> None:
        self.sent.append(("ping", data))


def performed(venue: str, seed: int) -> tuple[list[Any], dict[str, Any]]:
    """All that one client sees in five seconds, and the oracle's account."""
    now = START
    face = FACES[venue]
    market = Market(face.listings, seed=f"{seed}", start=START, rate=300)
    market.prepare(100)
    server = VenueServer(face, market, face.rules, parse_faults(FAULTS), f"{seed}", lambda: now)
    wire = Wire()
    client = cast(Client, wire)
    assert server.admit(client, PATHS[venue]) is None
    server.opened(client)
    for request in REQUESTS[venue]:
        server.received(client, Opcode.TEXT, json.dumps(request).encode())
    for step in range(1, 501):
        now = START + step * 10_000
        server.step()
        if step % 10 == 0:
            server.tend()
        if step % 100 == 0:
            server.misbehave()
            wire.sent.append(server.answer(Asked("GET", "/", PAGES[venue], b"")))
    return wire.sent, server.oracle.as_json()


@pytest.mark.parametrize("venue", list(FACES))
def test_what_a_cut_leaves_half_sent_is_the_newest_trade_in_the_venues_own_words(venue: str) -> None:
    face = FACES[venue]
    market = Market(face.listings, seed="1", start=START, rate=0)
    server = VenueServer(face, market, face.rules, {}, "1", lambda: START)
    wire = Wire()
    client = cast(Client, wire)
    server.admit(client, PATHS[venue])
    server.opened(client)
    visitor = server.visitors[client]
    server.afflict(visitor, "cut", 0)
    assert wire.rest == b""  # nothing was traded yet
    for request in REQUESTS[venue]:
        server.received(client, Opcode.TEXT, json.dumps(request).encode())
    wire.sent.clear()
    server.deliver(market.trades_now(face.listings[0].native, 1, START), START)
    server.afflict(visitor, "cut", 0)
    assert wire.rest == wire.sent[0]
    assert face.listings[0].native.encode() in wire.rest


def test_groups_of_fills_keep_their_ids_when_some_fills_are_dropped() -> None:
    face = FACES["binance"]
    market = Market(face.listings, seed="1", start=START, rate=0)
    server = VenueServer(face, market, face.rules, {}, "1", lambda: START)
    wire = Wire()
    client = cast(Client, wire)
    server.admit(client, "/stream?streams=btcusdt@trade/btcusdt@aggTrade")
    server.opened(client)
    server.drops = 150
    moment = market.symbols["BTCUSDT"].trade(START, 400)
    server.deliver([moment], START)
    sent = [json.loads(one)["data"] for one in wire.sent]
    assert [one["t"] for one in sent if one["e"] == "trade"] == [one.id for one in moment.trades[150:]]
    history = server.answer(
        Asked("GET", "/", Request("/api/v3/aggTrades", {"symbol": "BTCUSDT", "limit": "1000"}, {}), b"")
    )[1]
    assert history is not None
    truth = {row["a"]: (row["l"], row["p"]) for row in json.loads(history.body)}
    told = {one["a"]: (one["l"], one["p"]) for one in sent if one["e"] == "aggTrade"}
    assert set(told.items()) < set(truth.items())
    assert server.oracle.fired["drop"] == 150


@pytest.mark.parametrize("venue", list(FACES))
def test_the_same_seed_sends_the_same_bytes_with_every_fault(venue: str, seed: int) -> None:
    sent, oracle = performed(venue, seed)
    assert len(sent) > 100
    assert {"drop", "duplicate", "reorder", "delay", "other_price", "wrong_id", "malformed"} <= set(
        oracle["fired"]
    )
    assert performed(venue, seed) == (sent, oracle)
    assert performed(venue, seed + 1) != (sent, oracle)
