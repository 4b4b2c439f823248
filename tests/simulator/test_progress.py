"""Which of a recording's trades and quotes a client has had, whichever connection brought them."""

from typing import Any

import msgspec

from connectors.venues import VENUES
from connectors.venues.protocol import instrument
from schemas import Frame
from simulator.progress import Progress

START = 1_767_225_600_000_000
LISTED = {
    "binance": instrument("binance", "BTCUSDT", "BTC", "USDT"),
    "kraken": instrument("kraken", "BTC/USD", "BTC", "USD"),
    "coinbase": instrument("coinbase", "BTC-USD", "BTC", "USD"),
}


def progress(venue: str) -> Progress:
    return Progress(VENUES[venue], {LISTED[venue].native: LISTED[venue]})


def old(client: Progress, document: dict[str, Any], connection: int = 1) -> set[int] | None:
    venue = client.venue.name
    frame = Frame(venue, f"{venue}-0", 1, connection, 1, START, "data", msgspec.json.encode(document))
    return client.old(frame)


def trade(identifier: int, seconds: int) -> dict[str, Any]:
    time = START + seconds * 1_000_000
    data = {"e": "trade", "E": time, "s": "BTCUSDT", "t": identifier, "p": "1", "q": "1", "T": time}
    return {"stream": "btcusdt@trade", "data": {**data, "m": True, "M": True}}


def best(update: int) -> dict[str, Any]:
    prices = {"b": "1", "B": "1", "a": "2", "A": "1"}
    return {"stream": "btcusdt@bookTicker", "data": {"u": update, "s": "BTCUSDT", **prices}}


def ticker(microseconds: int) -> dict[str, Any]:
    time = f"2026-01-01T00:00:00.{microseconds:06d}Z"
    row = {"symbol": "BTC/USD", "bid": 1.0, "bid_qty": 1.0, "ask": 2.0, "ask_qty": 1.0, "timestamp": time}
    return {"channel": "ticker", "type": "update", "data": [row]}


def heartbeat(identifier: int) -> dict[str, Any]:
    told = {"type": "heartbeat", "sequence": 90, "last_trade_id": identifier, "product_id": "BTC-USD"}
    return {**told, "time": "2026-01-01T00:00:00.000000Z"}


def test_ids_rise() -> None:
    client = progress("binance")
    told = [old(client, trade(one, one)) for one in (5, 6, 6, 8, 7, 9)]
    assert told == [set(), set(), None, set(), None, set()]


def test_ids_that_begin_again_are_a_new_course_and_the_old_one_is_over() -> None:
    client = progress("binance")
    assert old(client, trade(5_000, 1)) == set()
    assert old(client, trade(1, 2)) == set()
    assert old(client, trade(5_000, 1), connection=2) is None
    assert old(client, trade(1, 2), connection=2) is None
    assert old(client, trade(2, 3), connection=2) == set()
    assert old(client, trade(4_999, 1), connection=2) is None


def test_an_absurd_id_does_not_end_the_course() -> None:
    client = progress("binance")
    told = [
        old(client, trade(one, second)) for one, second in ((5_000, 1), (10**12, 1), (5_001, 2), (5_002, 3))
    ]
    assert told == [set()] * 4


def test_of_two_connections_the_one_ahead_is_heard() -> None:
    client = progress("binance")
    heard = [old(client, best(update), connection) for update, connection in ((7, 1), (7, 2), (9, 2), (8, 1))]
    assert heard == [set(), None, set(), None]
    assert old(client, best(10), 1) == set()
    assert old(client, best(3), 1) == set()  # one connection alone says what the venue said


def test_quotes_without_a_number_go_by_their_time() -> None:
    client = progress("kraken")
    heard = [old(client, ticker(time), connection) for time, connection in ((7, 1), (7, 1), (7, 2), (8, 2))]
    assert heard == [set(), set(), None, set()]
    assert old(client, ticker(7), 1) is None


def test_heartbeats_repeat_themselves_and_never_step_back() -> None:
    client = progress("coinbase")
    heard = [old(client, heartbeat(one), connection) for one, connection in ((7, 1), (7, 2), (8, 2), (7, 1))]
    assert heard == [set(), set(), set(), None]


def test_what_cannot_be_read_is_played_as_it_was() -> None:
    assert old(progress("binance"), {"stream": "btcusdt@trade", "data": {"t": "five"}}) == set()
