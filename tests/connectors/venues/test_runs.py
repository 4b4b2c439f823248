"""Decoding many frames at once gives what decoding each by itself gives, whatever the frames are."""

import random
import re
from itertools import pairwise

import msgspec
import pytest

from connectors.venues import VENUES
from connectors.venues.decoding import guarded
from connectors.venues.protocol import FRAME_BYTES_MAX, Decoded
from connectors.venues.runs import PAYLOAD_BYTES_MAX, flat
from connectors.venues.shipped import shipped_instruments
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.run import Run, records_of
from tests.connectors.venues.test_mutations import mutated, table

GOOD = {
    "binance": b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782136900,"s":"BTCUSDT","t":%d,'
    b'"p":"67000.10","q":"0.5","T":1672515782136000,"m":true,"M":true}}',
    "kraken": b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":4136.4,'
    b'"qty":0.23374249,"ord_type":"limit","trade_id":%d,"timestamp":"2023-09-25T07:49:37.708706Z"}]}',
    "coinbase": b'{"type":"match","trade_id":%d,"maker_order_id":"a","taker_order_id":"b","side":"buy",'
    b'"size":"5.23","price":"400.23","product_id":"BTC-USD","sequence":50,'
    b'"time":"2014-11-07T08:19:27.028459Z"}',
}


def framed(name: str, payloads: list[bytes]) -> list[Frame]:
    return [
        Frame(name, f"{name}-0", number, 3, number, 1_700_000_000_000_000, "data", payload)
        for number, payload in enumerate(payloads, 1)
    ]


def one_by_one(name: str, frames: list[Frame]) -> list[Decoded]:
    instruments = shipped_instruments(name)
    return [record for frame in frames for record in VENUES[name].decode(frame, instruments)]


def check(name: str, payloads: list[bytes]) -> list[Decoded]:
    frames = framed(name, payloads)
    together = records_of(VENUES[name].decode_many(frames, shipped_instruments(name)))
    assert together == one_by_one(name, frames)
    return together


def good(name: str, count: int, first: int = 1) -> list[bytes]:
    return [GOOD[name] % number for number in range(first, first + count)]


@pytest.mark.parametrize("name", GOOD)
def test_a_run_of_trades_is_the_trades_of_its_frames(name: str) -> None:
    for count in (1, 2, 3, 100):
        records = check(name, good(name, count))
        assert [record.trade_id for record in records if isinstance(record, Trade)] == [
            str(number) for number in range(1, count + 1)
        ]


@pytest.mark.no_cover
@pytest.mark.parametrize("name", GOOD)
def test_mutations_among_good_frames_change_no_other_record(name: str, seed: int) -> None:
    choose = random.Random(seed).random
    originals = [row["frame"].encode() for row in table(name)["frames"] if "frame" in row]
    originals += good(name, 3)
    if name == "kraken":
        originals += [long(1, 20), long(21, 3)]
    refused = 0
    for _ in range(1_000):
        payloads = [
            mutated(choose, originals) if choose() < 0.3 else originals[int(choose() * len(originals))]
            for _ in range(int(choose() * 8))
        ]
        records = check(name, payloads)
        refused += any(isinstance(record, DeadLetter) for record in records)
        # Nearly a run: one frame of it is another.
        check(name, [*good(name, 2), mutated(choose, good(name, 1, 7)), *good(name, 2, 8)])
    assert refused > 50


@pytest.mark.parametrize("name", GOOD)
def test_frames_that_only_together_are_documents_are_refused_each(name: str) -> None:
    one, two, three = good(name, 3)
    halves = [
        [b'{"x":[' + one, one + b"]}", two + three],
        [b'{"x":' + one[:-1], b"}" + two, three + one],
        [one[:-1], b"}", one + two],
        [one[:20], one[20:], two + b"\n" + three],
        [b'{"channel":"trade","x":{"e}}', b'{"type":"match"}}', two + three],
        [one + b",", two, three],
        [one + b"\n" + two, b"", three],
        [one + b"\n", b"\n" + two, b"\n"],
        [one + two + three, b" ", b" "],
    ]
    for payloads in halves:
        for start, end in pairwise((0, 1, 2)):
            around = good(name, start, 50) + payloads + good(name, end, 60)
            records = check(name, around)
            letters = [record for record in records if isinstance(record, DeadLetter)]
            assert letters
            assert {letter.payload for letter in letters} <= set(payloads)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_not_plain_text_is_read_frame_by_frame(name: str) -> None:
    one, two, three = good(name, 3)
    words = ' "note":"Grüße"}'.encode()
    assert not [r for r in check(name, [one, two[:-1] + b"," + words, three]) if type(r) is DeadLetter]
    (letter,) = [r for r in check(name, [one, two[:-1] + b',"note":"\xff"}', three]) if type(r) is DeadLetter]
    assert letter.reason == "malformed"
    long = two[:-1] + b',"note":"' + b"a" * FRAME_BYTES_MAX + b'"}'
    (letter,) = [r for r in check(name, [one, long, three]) if type(r) is DeadLetter]
    assert letter.reason == "too_large"


@pytest.mark.parametrize("name", GOOD)
def test_trades_between_other_frames_stay_where_they_were(name: str) -> None:
    heartbeat = {
        "binance": b'{"result":null,"id":1}',
        "kraken": b'{"channel":"heartbeat"}',
        "coinbase": b'{"type":"heartbeat","product_id":"BTC-USD","last_trade_id":5}',
    }[name]
    one, two, three = good(name, 3)
    records = check(name, [heartbeat, one, two, heartbeat, b"{", three, heartbeat])
    assert [record.platform_sequence for record in records] == [1, 2, 3, 4, 5, 6, 7]


def test_a_frame_of_many_trades_gives_them_in_the_order_of_their_ids() -> None:
    (many,) = good("kraken", 1, 9)
    row = many[many.index(b"[") + 1 : -2]
    second = row.replace(b":9,", b":4,")
    assert second != row
    payloads = [many.replace(row, row + b"," + second), *good("kraken", 2, 20)]
    numbers = [record.trade_id for record in check("kraken", payloads) if isinstance(record, Trade)]
    assert numbers == ["4", "9", "20", "21"]
    # As many trades as frames, and yet not one in each.
    check("kraken", [payloads[0], many.replace(row, b""), payloads[1]])
    check("kraken", [many.replace(b'"type"', b'"channel":"ticker","type"'), *payloads])


def long(first: int, count: int, **other: bytes) -> bytes:
    """A frame of several trades, of which the last but one has other fields."""
    (whole,) = good("kraken", 1)
    rows = [
        whole[whole.index(b"[") + 1 : -2].replace(b":1,", b":%d,") % (first + one) for one in range(count)
    ]
    for name, value in other.items():
        rows[-2] = re.sub(rb'("%b":)[^,]+' % name.encode(), rb"\g<1>" + value, rows[-2])
    return whole[: whole.index(b"[") + 1] + b",".join(rows) + whole[-2:]


def test_frames_of_many_trades_are_a_run_however_long_they_are() -> None:
    payloads = [long(1, 50), long(51, 1), long(52, 1_000), b'{"channel":"heartbeat"}', long(1_052, 20)]
    frames = framed("kraken", payloads)
    assert len(frames[0].payload) > PAYLOAD_BYTES_MAX
    ends, between, again = VENUES["kraken"].decode_many(frames, shipped_instruments("kraken"))
    assert (len(ends), type(between), len(again)) == (1_051, Control, 20)
    trades = [record for record in check("kraken", payloads) if isinstance(record, Trade)]
    assert [(trade.source_sequence, trade.platform_sequence) for trade in trades] == [
        *((number, 1) for number in range(1, 51)),
        (51, 2),
        *((number, 3) for number in range(52, 1_052)),
        *((number, 5) for number in range(1_052, 1_072)),
    ]


@pytest.mark.parametrize("characters", [64, 65, 5_000])
@pytest.mark.parametrize("rows", [2, 50])
def test_a_run_holds_nothing_long_that_a_venue_says(rows: int, characters: int) -> None:
    payloads = [long(1, 50), long(51, rows, ord_type=b'"' + b"x" * characters + b'"'), long(200, 1)]
    found = VENUES["kraken"].decode_many(framed("kraken", payloads), shipped_instruments("kraken"))
    assert [type(one) for one in found] == ([Run] if characters == 64 else [Trade] * (51 + rows))
    records = check("kraken", payloads)
    (odd,) = [one for one in records if isinstance(one, Trade) and "xx" in (one.vendor_data or "")]
    assert (odd.source_sequence, msgspec.json.decode(odd.vendor_data or "")["ord_type"]) == (
        51 + rows - 2,
        "x" * characters,
    )


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("symbol", b'"' + b"x" * 65 + b'"', "unknown_symbol"),
        ("side", b'"bought"', "side"),
        ("qty", b'"x"', "not_a_number"),
        ("trade_id", b"-1", "wrong_type"),
        ("timestamp", b'"2023-09-25"}', "time"),
    ],
)
def test_a_bad_trade_of_a_long_frame_costs_only_itself(field: str, value: bytes, reason: str) -> None:
    payloads = [long(1, 50), long(51, 50, **{field: value}), long(101, 50)]
    records = check("kraken", payloads)
    (letter,) = [one for one in records if isinstance(one, DeadLetter)]
    assert (letter.reason, letter.platform_sequence, letter.index) == (reason, 2, 49)
    trades = [one.source_sequence for one in records if isinstance(one, Trade)]
    assert trades == [*range(1, 99), 100, *range(101, 151)]


def test_numbers_that_must_be_rewritten_or_refused_are() -> None:
    one, two, three = good("kraken", 3)
    small = two.replace(b"0.23374249", b"1E-7")
    assert [r.quantity for r in check("kraken", [one, small, three]) if isinstance(r, Trade)] == [
        "0.23374249",
        "0.0000001",
        "0.23374249",
    ]
    for text in (b"null", b'"1 2"', b'"4"', b"[1, 2]", b"1e99", b"1.5e", b"-1", b"1" * 30):
        check("kraken", [one, two.replace(b"0.23374249", text), three])


def test_the_frames_of_messages_are_repeated_for_each_of_their_trades() -> None:
    class Wire(msgspec.Struct):
        id: int

    frames = framed("kraken", [b"a", b"b"])
    repeated, wires = flat(frames, [[Wire(3), Wire(1)], [Wire(2)]])
    assert [(frame.payload, wire.id) for frame, wire in zip(repeated, wires, strict=True)] == [
        (b"a", 1),
        (b"a", 3),
        (b"b", 2),
    ]


def test_a_parser_alone_gives_the_same_as_a_decoder_of_runs() -> None:
    from connectors.venues import binance  # noqa: PLC0415

    frames, instruments = framed("binance", good("binance", 5)), shipped_instruments("binance")
    assert guarded(binance.parse)(frames, instruments) == records_of(
        binance.BINANCE.decode_many(frames, instruments)
    )


def test_what_a_frame_became_stays_together_and_quotes_stay_in_order() -> None:
    """One frame has a quote and a quote that cannot be read: the latter counts behind the former."""

    def ticker(bid: str, *more: str) -> bytes:
        quotes = [
            f'{{"symbol":"BTC/USD","bid":{one},"bid_qty":1,"ask":9000,"ask_qty":1}}' for one in (bid, *more)
        ]
        return f'{{"channel":"ticker","type":"update","data":[{",".join(quotes)}]}}'.encode()

    sent = [*good("kraken", 2), ticker("1"), *good("kraken", 2, 3), ticker("2", '"x"'), ticker("3")]
    sent += good("kraken", 2, 5)
    frames = framed("kraken", sent)
    together = VENUES["kraken"].decode_many(frames, shipped_instruments("kraken"))
    assert records_of(together) == one_by_one("kraken", frames)
    shown = [one.bid_price if isinstance(one, Quote) else type(one).__name__ for one in together]
    assert shown == ["Run", "1", "2", "DeadLetter", "Run", "3"]
