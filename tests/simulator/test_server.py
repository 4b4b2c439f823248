"""Real clients against the running venues: what they get, what goes wrong, and what the oracle says of it."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from connectors.venues import VENUES
from connectors.venues.protocol import Instrument
from schemas import Frame, Trade
from simulator.server import SimulatedVenues, running

SECONDS_MAX = 10.0
FIRST = {"binance": "BTC-USDT", "kraken": "BTC-USD", "coinbase": "BTC-USD"}


@pytest.fixture(scope="module")
def still() -> Iterator[SimulatedVenues]:
    """Venues whose markets move only when told to."""
    with running(seed=1, rate=0, rules={"kraken": {"rest": (1_000, 1.0)}}) as sim:
        yield sim


def until(happened: Callable[[], Any]) -> None:
    """Wait for something that must happen soon."""
    deadline = time.monotonic() + SECONDS_MAX
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def instruments(sim: SimulatedVenues, venue: str) -> dict[str, Instrument]:
    metadata = VENUES[venue].metadata
    answer = httpx2.get(sim.rest_url(venue) + metadata.path, params=dict(metadata.query))
    return VENUES[venue].decode_metadata(answer.content)


@contextmanager
def subscribed(sim: SimulatedVenues, venue: str, **options: Any) -> Iterator[ClientConnection]:
    """A client that gets trades and quotes of the venue's first symbol, as our own capture would."""
    ours = VENUES[venue]
    listed = next(one for one in instruments(sim, venue).values() if one.symbol == FIRST[venue])
    with connect(sim.websocket_url(venue) + ours.connect_path, **options) as client:
        record = sim.oracle[venue].connections[-1]
        messages = ours.subscribe([listed])
        for message in messages:
            client.send(message.decode())
        until(lambda: len(record.messages) == len(messages))
        yield client


def ended(client: ClientConnection) -> ConnectionClosed:
    """How the connection ended, after whatever came before."""
    while True:
        try:
            client.recv(timeout=SECONDS_MAX)
        except ConnectionClosed as error:
            return error


def end_code(client: ClientConnection) -> int | None:
    """The code of the venue's close frame; None where it sent none."""
    closing = ended(client).rcvd
    return closing.code if closing else None


def trades(sim: SimulatedVenues, venue: str, client: ClientConnection, count: int) -> list[Trade]:
    """The next trades that our decoder finds in what the client receives."""
    known = instruments(sim, venue)
    found: list[Trade] = []
    deadline = time.monotonic() + SECONDS_MAX
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} trades"
        payload = client.recv(timeout=SECONDS_MAX, decode=False)
        received = time.time_ns() // 1_000
        frame = Frame(venue, f"{venue}-0", 1, 1, 1, received, "data", payload)
        found += [one for one in VENUES[venue].decode(frame, known) if isinstance(one, Trade)]
    return found


@pytest.mark.parametrize("venue", list(FIRST))
def test_a_client_gets_what_the_oracle_made(venue: str) -> None:
    rules = {"kraken": {"rest": (1_000, 1.0)}}
    with running(seed=7, rate=500, rules=rules) as sim, subscribed(sim, venue) as client:
        for trade in trades(sim, venue, client, 200):
            made = sim.oracle[venue].trade(FIRST[venue], int(trade.trade_id))
            assert made is not None
            assert (float(trade.price), float(trade.quantity)) == (float(made.price), float(made.quantity))
            assert (trade.side, trade.timestamp) == (made.side, made.time)


@pytest.mark.parametrize("venue", list(FIRST))
def test_the_oracle_knows_what_was_sent_to_whom(still: SimulatedVenues, venue: str) -> None:
    with subscribed(still, venue) as one, subscribed(still, venue) as other:
        records = list(still.oracle[venue].connections)[-2:]
        still.trades_now(venue, FIRST[venue], 5)
        native = still.oracle[venue].symbol(FIRST[venue]).listing.native
        for client, record in zip((one, other), records, strict=True):
            sent = record.sent[native].ids()
            assert [int(trade.trade_id) for trade in trades(still, venue, client, len(sent))] == sent
            last = still.oracle[venue].series(FIRST[venue])[-1][1]
            assert sent[-5:] == list(range(last - 4, last + 1))


@pytest.mark.parametrize("venue", list(FIRST))
def test_history_repairs_what_the_stream_dropped(still: SimulatedVenues, venue: str) -> None:
    with subscribed(still, venue) as client:
        still.trades_now(venue, FIRST[venue], 1)
        still.drop_next(venue, 3)
        still.trades_now(venue, FIRST[venue], 5)
        last = still.oracle[venue].series(FIRST[venue])[-1][1]
        received: list[int] = []
        while last not in received:
            received += [int(one.trade_id) for one in trades(still, venue, client, 1)]
        assert [one for one in received if one > last - 6] == [last - 5, last - 1, last]
        ours, listed = VENUES[venue], instruments(still, venue)
        hole = next(one for one in listed.values() if one.symbol == FIRST[venue])
        before = still.oracle[venue].trade(FIRST[venue], last - 5)
        assert before is not None
        request = ours.repair(hole, last - 4, last - 2, before.time)
        body = httpx2.get(still.rest_url(venue) + request.path, params=dict(request.query)).content
        assert all(str(one).encode() in body for one in range(last - 4, last - 1))


@pytest.mark.parametrize(
    ("venue", "path", "count", "message"),
    [
        ("binance", "/stream", 6, '{"method":"LIST_SUBSCRIPTIONS","id":1}'),
        ("coinbase", "", 9, '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["heartbeat"]}'),
    ],
)
def test_a_client_that_talks_too_much_is_cut(
    still: SimulatedVenues, venue: str, path: str, count: int, message: str
) -> None:
    with connect(still.websocket_url(venue) + path) as client:
        for _ in range(count):
            client.send(message)
        closing = ended(client).rcvd
        assert closing is not None
        assert (closing.code, closing.reason) == (1008, "Too many requests")


def test_pings_come_and_a_life_ends() -> None:
    with running(seed=1, rate=0, rules={"binance": {"ping": 0.2, "pong": 0.2, "lifetime": 1.0}}) as sim:
        with connect(sim.websocket_url("binance") + "/ws") as client:
            assert end_code(client) == 1001
        record = sim.oracle["binance"].connections[-1]
        until(lambda: record.closed)
        assert record.closed is not None
        assert 1_000_000 <= record.closed - record.opened < 3_000_000


def test_who_answers_no_ping_is_cut() -> None:
    with running(seed=1, rate=0, rules={"binance": {"ping": 0.1, "pong": 0.2}}) as sim:
        host, port = sim.websocket_url("binance").removeprefix("ws://").split(":")
        with socket.create_connection((host, int(port)), timeout=SECONDS_MAX) as mute:
            mute.sendall(
                b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
            )
            received = b""
            while data := mute.recv(65_536):
                received += data
        assert b"\x89" in received
        assert b"pong timeout" in received
        until(lambda: sim.oracle["binance"].connections[-1].close_code == 1011)


def test_too_many_connects_are_refused_and_counted() -> None:
    with running(seed=1, rate=0, rules={"binance": {"connects": (2, 300.0)}}) as sim:
        url = sim.websocket_url("binance") + "/ws"
        with connect(url), connect(url), pytest.raises(InvalidStatus) as refused, connect(url):
            pass
        assert refused.value.response.status_code == 429
        assert [admitted for _, admitted in sim.oracle["binance"].connects] == [True, True, False]


def test_coinbase_takes_eight_connects_a_second() -> None:
    with running(seed=1, rate=0, venues=("coinbase",), clock=lambda: 1_767_225_600_000_000) as sim:
        with ExitStack() as stack:
            for _ in range(8):
                stack.enter_context(connect(sim.websocket_url("coinbase")))
            with pytest.raises(InvalidStatus) as refused, connect(sim.websocket_url("coinbase")):
                pass
        assert refused.value.response.status_code == 429


def test_a_venue_may_refuse_everybody(still: SimulatedVenues) -> None:
    still.refuse_connections("kraken", True)
    with pytest.raises(InvalidStatus), connect(still.websocket_url("kraken")):
        pass
    still.refuse_connections("kraken", False)
    with connect(still.websocket_url("kraken")) as client:
        assert json.loads(client.recv(timeout=SECONDS_MAX))["channel"] == "status"


@pytest.mark.parametrize("venue", list(FIRST))
def test_cut_ends_in_the_middle_of_a_frame(still: SimulatedVenues, venue: str) -> None:
    before = still.oracle[venue].fired["cut"]
    with subscribed(still, venue) as client:
        record = still.oracle[venue].connections[-1]
        still.cut(venue)
        error = ended(client)
        assert (error.rcvd, type(error)) == (None, ConnectionClosedError)
        until(lambda: record.close_code == 1006)
        assert still.oracle[venue].fired["cut"] == before + 1


@pytest.mark.parametrize("code", [1008, 1011, 1012, 1013])
def test_close_says_its_code(still: SimulatedVenues, code: int) -> None:
    with connect(still.websocket_url("coinbase")) as client:
        record = still.oracle["coinbase"].connections[-1]
        still.close("coinbase", code)
        assert end_code(client) == code
        until(lambda: record.close_code == code)


def test_freeze_silences_everything_or_all_but_heartbeats(still: SimulatedVenues) -> None:
    before = still.oracle["coinbase"].fired.copy()
    with subscribed(still, "coinbase") as client:
        while True:
            try:
                client.recv(timeout=0.2)
            except TimeoutError:
                break
        still.freeze("coinbase", 1.5, heartbeats=True)
        still.trades_now("coinbase", "BTC-USD", 1)
        lost = still.oracle["coinbase"].series("BTC-USD")[-1][1]
        heartbeat = json.loads(client.recv(timeout=SECONDS_MAX))
        assert (heartbeat["type"], heartbeat["last_trade_id"]) == ("heartbeat", lost)
        still.freeze("coinbase", 1.5)
        with pytest.raises(TimeoutError):
            client.recv(timeout=1.3)
        deadline = time.monotonic() + SECONDS_MAX
        while json.loads(client.recv(timeout=SECONDS_MAX))["type"] != "heartbeat":
            assert time.monotonic() < deadline
        assert still.oracle["coinbase"].fired["freeze"] == before["freeze"] + 1
        assert still.oracle["coinbase"].fired["freeze_data"] == before["freeze_data"] + 1


def test_half_open_answers_nothing_and_stays(still: SimulatedVenues) -> None:
    with subscribed(still, "binance", ping_interval=None, close_timeout=0.2) as client:
        record = still.oracle["binance"].connections[-1]
        assert client.ping().wait(SECONDS_MAX)
        still.half_open("binance", seconds=2.0)
        still.trades_now("binance", "BTCUSDT", 1)
        assert not client.ping().wait(0.5)
        assert record.closed is None
        assert record.frames == 1
    until(lambda: record.closed)
    assert record.close_code == 1006


def test_stall_silences_one_symbol_and_rest_goes_on(still: SimulatedVenues) -> None:
    with connect(still.websocket_url("binance") + "/stream?streams=btcusdt@trade/ethusdt@trade") as client:
        still.stall("binance", "BTCUSDT", 30)
        still.trades_now("binance", "BTCUSDT", 1)
        still.trades_now("binance", "ETHUSDT", 1)
        assert json.loads(client.recv(timeout=SECONDS_MAX))["data"]["s"] == "ETHUSDT"
        last = still.oracle["binance"].series("BTCUSDT")[-1][1]
        page = httpx2.get(still.rest_url("binance") + "/api/v3/trades?symbol=BTCUSDT&limit=1").json()
        assert page[0]["id"] == last
        still.stall("binance", "BTCUSDT", 0)


def test_a_shutdown_is_announced_and_then_happens() -> None:
    with running(seed=1, rate=0, rules={"binance": {"notice": 0.5}}) as sim:
        url = sim.websocket_url("binance") + "/stream?streams=btcusdt@trade"
        with connect(url) as client:
            sim.shutdown_notice("binance")
            assert json.loads(client.recv(timeout=SECONDS_MAX))["stream"] == "!serverShutdown"
            with connect(url) as newer:
                assert end_code(client) == 1012
                sim.trades_now("binance", "BTCUSDT", 1)
                assert json.loads(newer.recv(timeout=SECONDS_MAX))["stream"] == "btcusdt@trade"


def test_an_id_reset_is_the_truth_from_then_on() -> None:
    with running(seed=1, rate=0) as sim, subscribed(sim, "binance") as client:
        sim.trades_now("binance", "BTCUSDT", 1)
        sim.id_reset("binance", "BTCUSDT")
        sim.trades_now("binance", "BTCUSDT", 2)
        assert [one.trade_id for one in trades(sim, "binance", client, 3)] == ["5600000101", "1", "2"]
        assert sim.oracle["binance"].series("BTCUSDT") == [(5_600_000_001, 5_600_000_101), (1, 2)]


def test_rest_fails_as_often_as_asked(still: SimulatedVenues) -> None:
    url = still.rest_url("coinbase") + "/products/BTC-USD/trades?limit=1"
    still.rest_fail("coinbase", 503, times=2)
    answers = [httpx2.get(url) for _ in range(3)]
    assert [one.status_code for one in answers] == [503, 503, 200]
    assert answers[0].headers["Retry-After"] == "1"
    recorded = [(what, status) for _, what, status in still.oracle["coinbase"].requests][-3:]
    assert recorded == [("/products/BTC-USD/trades?limit=1", status) for status in (503, 503, 200)]


@pytest.mark.parametrize(
    ("fault", "status"), [("rest_error", 500), ("rest_throttle", 429), ("rest_html", 502)]
)
def test_rest_faults_answer_as_they_say(still: SimulatedVenues, fault: str, status: int) -> None:
    before = still.oracle["binance"].fired[fault]
    still.force("binance", fault)
    url = still.rest_url("binance") + "/api/v3/ping"
    assert [httpx2.get(url).status_code for _ in range(2)] == [status, 200]
    assert still.oracle["binance"].fired[fault] == before + 1


def test_rest_may_reset_be_slow_and_forget(still: SimulatedVenues) -> None:
    url = still.rest_url("binance")
    still.force("binance", "rest_reset")
    with pytest.raises(httpx2.TransportError):
        httpx2.get(url + "/api/v3/ping")
    still.force("binance", "rest_slow")
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.get(url + "/api/v3/ping", timeout=0.3)
    still.trades_now("binance", "BNBUSDT", 50)
    oldest = still.oracle["binance"].series("BNBUSDT")[0][0]
    history = url + f"/api/v3/historicalTrades?symbol=BNBUSDT&fromId={oldest}&limit=1"
    still.force("binance", "retention")
    assert [httpx2.get(history).json()[0]["id"] - oldest for _ in range(2)] == [50, 0]
    still.retain("binance", 10)
    assert httpx2.get(history).json()[0]["id"] - oldest == 140
    still.retain("binance", None)
    assert httpx2.get(history).json()[0]["id"] == oldest


def test_chance_alone_makes_every_fault_of_connections_and_venues(seed: int) -> None:
    faults = (
        "freeze:0.5:0.1,freeze_data:0.5:0.1,half_open:0.3:0.1,cut:0.5,close:0.5,"
        "stall:1:0.1,id_reset:1,shutdown:1"
    )
    wanted = {one.split(":")[0] for one in faults.split(",")}
    with (
        running(seed=seed, rate=100, faults=faults, rules={"binance": {"notice": 0.1}}) as sim,
        ExitStack() as stack,
    ):
        deadline = time.monotonic() + 30
        while not wanted <= set(sim.oracle["binance"].fired):
            assert time.monotonic() < deadline, sim.oracle["binance"].fired
            if len(sim.servers["binance"].visitors) < 20:
                url = sim.websocket_url("binance") + "/ws/btcusdt@trade"
                stack.enter_context(connect(url, close_timeout=0.1))
            time.sleep(0.01)


@pytest.mark.parametrize("fault", ["huge", "bomb"])
def test_frames_that_are_too_much_end_a_careful_client(still: SimulatedVenues, fault: str) -> None:
    before = still.oracle["binance"].fired[fault]
    with connect(still.websocket_url("binance") + "/ws/btcusdt@trade", max_size=2**20) as client:
        still.force("binance", fault)
        still.trades_now("binance", "BTCUSDT", 1)
        closing = ended(client).sent
        assert closing is not None
        assert closing.code == 1009
        assert still.oracle["binance"].fired[fault] == before + 1


def test_another_process_can_interfere_and_ask(still: SimulatedVenues) -> None:
    control = still.control_url()
    order = {"do": "trades_now", "venue": "kraken", "symbol": "ETH/USD", "count": 2}
    before = httpx2.get(control + "/trades?venue=kraken&symbol=ETH-USD").json()
    assert httpx2.post(control + "/control", json=order).json() == {"ok": True}
    after = httpx2.get(control + "/trades?venue=kraken&symbol=ETH-USD").json()
    assert len(after) == len(before) + 2
    assert set(after[-1]) == {"id", "time", "price", "quantity", "side"}
    oracle = httpx2.get(control + "/oracle?venue=kraken").json()
    assert oracle["kraken"]["symbols"]["ETH/USD"]["series"] == [[before[0]["id"], after[-1]["id"]]]
    assert httpx2.get(control + "/urls").json() == still.urls()


@pytest.mark.parametrize(
    "order",
    [
        b"nothing",
        b'{"do":"explode"}',
        b'{"venue":"kraken"}',
        b'{"do":"cut","venue":"nowhere"}',
        b'{"do":"cut","venue":"kraken","extra":1}',
        b'{"do":"force","venue":"kraken","fault":"none"}',
    ],
)
def test_orders_that_make_no_sense_are_refused(still: SimulatedVenues, order: bytes) -> None:
    assert httpx2.post(still.control_url() + "/control", content=order).status_code == 400
    assert httpx2.get(still.control_url() + "/nothing").status_code == 404


def test_symbols_and_venues_may_be_chosen() -> None:
    with running(seed=1, rate=0, venues=("kraken",), symbols={"kraken": ["ETH-USD"]}) as sim:
        assert set(sim.urls()) == {"kraken", "control"}
        assert [one.listing.native for one in sim.servers["kraken"].market] == ["ETH/USD"]
