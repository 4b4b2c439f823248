"""Each rule lets pass what it should and names what it refuses."""

from typing import Any

import msgspec
import pytest

from dataflows.steps.batch import Batch, batch_of
from dataflows.steps.validate import AHEAD_MAX, BEHIND_MAX, CALENDAR_FIRST, DAY, Validate
from schemas import DeadLetter, Record
from schemas.run import records_of
from tests.schemas.test_run import run_of_frames

NOW = 1_760_000_000_000_000


def checked(kit: Any, record: Record, **settings: Any) -> Record:
    """What becomes of a record between two good ones, which pass."""
    tape = kit.Tape()
    frame = tape.frame(NOW, "data", b"[]")
    good = kit.trade(1, NOW, received=NOW)
    record = msgspec.structs.replace(record, ingestion_timestamp=NOW, platform_sequence=frame.position)
    batch = Batch("plain-0", 1, 1, tape.frames, [good, record, good], {})
    Validate(None, **settings).step(batch)
    assert batch.records[0] is batch.records[2] is good
    if isinstance(batch.records[1], DeadLetter):
        assert batch.counts == {
            "trades": 2 + (type(record).__name__ == "Trade"),
            "quotes": type(record).__name__ == "Quote",
            "valid": 2,
            f"dead_letters_{batch.records[1].reason}": 1,
        }
    return batch.records[1]


BEFORE = ("time", f"time 1230767999999999, received {NOW}")
CLOCK = ("time", f"time {NOW + AHEAD_MAX + 1}, received {NOW}")
TRADES = [
    ({}, None),
    ({"price": "0.000000000000000001", "quantity": "9" * 20}, None),
    ({"price": "0"}, ("not_positive", "price is 0")),
    ({"quantity": "0.000"}, ("not_positive", "quantity is 0.000")),
    ({"price": "-5"}, ("not_positive", "price is -5")),
    ({"price": "NaN"}, ("not_a_number", "price is 'NaN'")),
    ({"price": "1e5"}, ("not_a_number", "price is '1e5'")),
    ({"price": "1 1"}, ("not_a_number", "price is '1 1'")),
    ({"quantity": ""}, ("not_a_number", "quantity is ''")),
    ({"quantity": "1" * 21}, ("precision", f"quantity is '{'1' * 21}'")),
    ({"quantity": "0.0000000000000000001"}, ("precision", "quantity is '0.0000000000000000001'")),
    ({"side": "buy"}, ("side", "side 'buy'")),
    ({"side": None}, ("side", "side None")),
    ({"side": "SELL_SHORT"}, None),
    ({"side": "UNKNOWN"}, None),
    ({"timestamp": NOW + AHEAD_MAX}, None),
    ({"timestamp": NOW + AHEAD_MAX + 1}, CLOCK),
    ({"timestamp": NOW - BEHIND_MAX}, None),
    ({"timestamp": NOW - BEHIND_MAX - 1}, ("time", f"time {NOW - BEHIND_MAX - 1}, received {NOW}")),
    ({"timestamp": NOW - BEHIND_MAX - 1, "origin": "repair"}, None),
    ({"timestamp": CALENDAR_FIRST, "origin": "batch"}, None),
    ({"timestamp": 1_230_767_999_999_999, "origin": "replay"}, BEFORE),
    ({"timestamp": NOW + AHEAD_MAX + 1, "origin": "repair"}, CLOCK),
    ({"trade_id": "x" * 65}, ("too_large", "id of 65, words of 0 characters")),
    ({"trade_id": "x" * 64}, None),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "verdict"), TRADES)
def test_a_trade_is_valid_or_a_dead_letter_that_says_why(
    kit: Any, fields: dict[str, Any], verdict: Any
) -> None:
    trade = msgspec.structs.replace(kit.trade(2, NOW), **fields)
    result = checked(kit, trade)
    if verdict is None:
        assert result == msgspec.structs.replace(trade, ingestion_timestamp=NOW)
    else:
        assert isinstance(result, DeadLetter)
        assert (result.stage, result.reason, result.detail) == ("validate", *verdict)
        assert (result.index, result.payload) == (1, b"[]")


QUOTES = [
    (("99", "1"), ("100", "1"), None),
    (("100", "1"), ("100", "1"), None),  # locked, not crossed
    ((None, None), ("100", "1"), None),
    (("99", "1"), (None, None), None),
    ((None, None), (None, None), None),
    (("101", "1"), ("100.5", "1"), ("crossed", "bid 101 above ask 100.5")),
    (("100.0000000000001", "1"), ("100", "1"), ("crossed", "bid 100.0000000000001 above ask 100")),
    (("0", "1"), ("100", "1"), ("not_positive", "bid price is 0")),
    (("99", "1"), ("100", "0"), ("not_positive", "ask size is 0")),
    (("99", None), ("100", "1"), ("missing_field", "bid has a price or a quantity, not both")),
    (("x", "1"), ("100", "1"), ("not_a_number", "bid price is 'x'")),
]


@pytest.mark.parametrize(("bid", "ask", "verdict"), QUOTES)
def test_a_quote_is_valid_or_a_dead_letter_that_says_why(kit: Any, bid: Any, ask: Any, verdict: Any) -> None:
    quote = kit.quote(5, NOW, bid, ask, kit.Tape().frame(NOW, "data", b"[]"))
    result = checked(kit, quote)
    if verdict is None:
        assert result == quote
    else:
        assert isinstance(result, DeadLetter)
        assert (result.reason, result.detail) == verdict


def test_quotes_may_cross_in_an_auction(kit: Any) -> None:
    quote = kit.quote(5, NOW, ("101", "1"), ("100", "1"), kit.Tape().frame(NOW, "data", b"[]"))
    auction = msgspec.structs.replace(quote, vendor_data='{"auction":"true"}')
    assert checked(kit, auction) == auction


def test_a_symbol_must_be_one_of_those_known_where_they_are(kit: Any) -> None:
    assert checked(kit, kit.trade(2, NOW), symbols={"BTC-USDT"}) == kit.trade(2, NOW, received=NOW)
    tape = kit.Tape()
    tape.trade(2, NOW, "1", "1", "BUY")
    batch = kit.Chain().decode.step(batch_of(tape.frames))
    (letter,) = Validate(None, symbols=frozenset(("ETH-USDT",))).step(batch).records
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.detail, letter.symbol) == (
        "unknown_symbol",
        "symbol 'BTC-USDT'",
        "BTC-USDT",
    )


@pytest.mark.parametrize(
    ("times", "received"),
    [
        ((NOW + AHEAD_MAX + 1, NOW + DAY), (NOW, NOW + DAY)),  # ahead of its own frame, not of the other
        ((NOW, NOW + DAY - BEHIND_MAX - 1), (NOW, NOW + DAY)),  # behind its own frame, not behind the other
    ],
)
def test_in_a_run_each_time_is_judged_by_its_own_frame(
    times: tuple[int, int], received: tuple[int, int]
) -> None:
    run, _ = run_of_frames(2)
    run.times, run.received = list(times), list(received)
    run.frames = [
        msgspec.structs.replace(frame, received=when)
        for frame, when in zip(run.frames, received, strict=True)
    ]
    batch = Batch("binance-0", 1, 2, list(run.frames), [run], {})
    Validate(None).step(batch)
    refused = [one for one in records_of(batch.records) if isinstance(one, DeadLetter)]
    assert [(letter.reason, letter.received) for letter in refused] == [
        ("time", when)
        for time, when in zip(times, received, strict=True)
        if not when - BEHIND_MAX <= time <= when + AHEAD_MAX
    ]
    assert len(refused) == 1


def test_in_a_run_the_trades_of_each_frame_are_counted() -> None:
    """As a snapshot of a quiet market: many trades in a frame, and none may stay."""
    run, _ = run_of_frames(9)
    counts = (4, 1, 3, 1)
    some = run.frames[: len(counts)]
    run.frames = [frame for frame, count in zip(some, counts, strict=True) for _ in range(count)]
    run.price_nanos, run.prices = [0] * 9, ["0"] * 9
    halves = [run.cut(0, 2), run.cut(2, 9)]
    batch = Batch("binance-0", 1, 4, list(some), [*halves], {})
    Validate(None).step(batch)
    letters = [one for one in records_of(batch.records) if isinstance(one, DeadLetter)]
    assert [(letter.platform_sequence, letter.index) for letter in letters] == [
        (position, index) for position, count in enumerate(counts, 1) for index in range(count)
    ]
