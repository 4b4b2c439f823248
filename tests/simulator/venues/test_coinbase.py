"""Coinbase's face, frame by frame."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

Visit = Callable[..., Any]

MATCHES = '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches"]}'


def test_a_subscription_is_confirmed_and_begins_with_the_last_match(visit: Visit) -> None:
    frames = visit("coinbase").says(MATCHES)
    assert frames[0] == ('{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}')
    last = json.loads(frames[1])
    assert (last["type"], last["trade_id"], last["product_id"]) == ("last_match", 910_000_002, "BTC-USD")


def test_channels_may_name_their_own_products(visit: Visit) -> None:
    client = visit("coinbase")
    client.says(MATCHES)
    request = {
        "type": "subscribe",
        "product_ids": ["ETH-USD"],
        "channels": ["ticker", {"name": "heartbeat", "product_ids": ["BTC-USD", "ETH-USD"]}],
    }
    assert client.says(json.dumps(request))[0] == (
        '{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]},'
        '{"name":"ticker","product_ids":["ETH-USD"]},'
        '{"name":"heartbeat","product_ids":["BTC-USD","ETH-USD"]}]}'
    )
    unsubscribe = '{"type":"unsubscribe","product_ids":["BTC-USD"],"channels":["matches","heartbeat"]}'
    assert client.says(unsubscribe) == [
        '{"type":"subscriptions","channels":[{"name":"ticker","product_ids":["ETH-USD"]},'
        '{"name":"heartbeat","product_ids":["ETH-USD"]}]}'
    ]


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("nothing", '{"type":"error","message":"Malformed JSON"}'),
        (
            '{"type":"jump"}',
            '{"type":"error","message":"Type has to be either subscribe or unsubscribe"}',
        ),
        (
            '{"type":"subscribe","product_ids":["NO-USD"],"channels":["matches"]}',
            '{"type":"error","message":"Failed to subscribe","reason":"NO-USD is not a valid product"}',
        ),
        (
            '{"type":"subscribe","product_ids":["BTC-USD"],"channels":["full"]}',
            '{"type":"error","message":"Failed to subscribe",'
            '"reason":"level2, level3, and full channels now require authentication"}',
        ),
    ],
)
def test_refusals(visit: Visit, message: str, answer: str) -> None:
    assert visit("coinbase").says(message) == [answer]


def test_a_match_names_the_maker_and_a_ticker_the_taker(visit: Visit) -> None:
    client = visit("coinbase")
    client.says('{"type":"subscribe","product_ids":["BTC-USD"],"channels":["matches","ticker"]}')
    assert client.trades(1) == [
        '{"type":"match","trade_id":910000003,"maker_order_id":"363d7f83-af29-4f45-8744-725247622f00",'
        '"taker_order_id":"363d7f83-c8da-4732-9f71-725247622f00","side":"sell","size":"0.50438681",'
        '"price":"87000.04","product_id":"BTC-USD","sequence":20930000069,'
        '"time":"2026-01-01T00:00:01.500000Z"}',
        '{"type":"ticker","sequence":20930000069,"product_id":"BTC-USD","price":"87000.04",'
        '"open_24h":"87000","volume_24h":"94381.28000000","low_24h":"43500","high_24h":"174000",'
        '"volume_30d":"2295579.57000000","best_bid":"87000.04","best_bid_size":"4.00813316",'
        '"best_ask":"87000.06","best_ask_size":"2.06506521","side":"buy",'
        '"time":"2026-01-01T00:00:01.500000Z","trade_id":910000003,"last_size":"0.50438681"}',
    ]


def test_sequences_rise_in_jumps(visit: Visit) -> None:
    client = visit("coinbase")
    client.says(MATCHES)
    sequences = [json.loads(one)["sequence"] for one in client.trades(500)]
    steps = {after - before for before, after in pairwise(sequences)}
    assert min(steps) > 1
    assert len(steps) > 1


def test_each_product_has_a_heartbeat_each_second(visit: Visit) -> None:
    client = visit("coinbase")
    client.says('{"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channels":["heartbeat"]}')
    tend = client.face.tend
    due = client.texts(tend(client.session, client.market, client.rules, client.now + 1_000_000))
    assert due == [
        '{"type":"heartbeat","last_trade_id":910000002,"product_id":"BTC-USD","sequence":20930000063,'
        '"time":"2026-01-01T00:00:01.000000Z"}',
        '{"type":"heartbeat","last_trade_id":720000002,"product_id":"ETH-USD","sequence":16560000063,'
        '"time":"2026-01-01T00:00:01.000000Z"}',
    ]
    assert client.texts(tend(client.session, client.market, client.rules, client.now + 1_500_000)) == []


def test_a_client_that_asks_for_nothing_is_cut_after_five_seconds(visit: Visit) -> None:
    client = visit("coinbase")
    tend = client.face.tend
    assert tend(client.session, client.market, client.rules, client.now + 4_999_999).close is None
    assert tend(client.session, client.market, client.rules, client.now + 5_000_000).close is not None
    client.says(MATCHES)
    assert tend(client.session, client.market, client.rules, client.now + 9_000_000).close is None


def test_history_is_newest_first_with_cursors(visit: Visit) -> None:
    client = visit("coinbase")
    client.trades(3)
    page = client.get("/products/BTC-USD/trades", limit="2")
    assert page.body == (
        b'[{"trade_id":910000005,"side":"sell","size":"0.93104017","price":"87000.05000000",'
        b'"time":"2026-01-01T00:00:01.500000Z"},{"trade_id":910000004,"side":"sell","size":"0.91711726",'
        b'"price":"87000.05000000","time":"2026-01-01T00:00:01.500000Z"}]'
    )
    assert page.headers == {"CB-BEFORE": "910000005", "CB-AFTER": "910000004"}
    older = client.get("/products/BTC-USD/trades", limit="1000", after="910000004")
    assert [row["trade_id"] for row in json.loads(older.body)] == [910_000_003, 910_000_002, 910_000_001]
    newer = client.get("/products/BTC-USD/trades", before="910000004")
    assert [row["trade_id"] for row in json.loads(newer.body)] == [910_000_005]
    none = client.get("/products/BTC-USD/trades", after="910000001")
    assert (none.body, none.headers) == (b"[]", {})


def test_ten_requests_a_second_after_a_burst_of_fifteen(visit: Visit) -> None:
    client = visit("coinbase")
    statuses = [client.get("/time").status for _ in range(16)]
    assert statuses == [200] * 15 + [429]
    client.now += 100_000
    assert [client.get("/time").status for _ in range(2)] == [200, 429]


def test_products_and_what_is_not_there(visit: Visit) -> None:
    client = visit("coinbase")
    products = json.loads(client.get("/products").body)
    assert [(one["id"], one["base_currency"], one["quote_currency"]) for one in products] == [
        ("BTC-USD", "BTC", "USD"),
        ("ETH-USD", "ETH", "USD"),
        ("SHIB-USD", "SHIB", "USD"),
    ]
    assert json.loads(client.get("/products/ETH-USD").body) == products[1]
    for path in ("/products/NO-USD", "/products/BTC-USD/nothing", "/nothing"):
        assert client.get(path).status == 404
