"""What the live table counts and says."""

import msgspec

from connectors.venues import VENUES
from connectors.venues.protocol import instrument
from operate.board import Board, age
from schemas import Frame

LISTED = [instrument("binance", "BTCUSDT", "BTC", "USDT")]
SECOND = 1_000_000
START = 1_795_000_000 * SECOND


def frame(position: int, received: int, stream: str, **data: object) -> Frame:
    payload = msgspec.json.encode({"stream": f"btcusdt@{stream}", "data": data})
    return Frame("binance", "binance-0", position, 1, position, received, "data", payload)


def trade(position: int, received: int, price: str) -> Frame:
    names = {
        "e": "trade",
        "E": received,
        "s": "BTCUSDT",
        "t": position,
        "p": price,
        "q": "1.5",
        "T": received,
    }
    return frame(position, received, "trade", **names, m=False, M=True)


def board_of(*symbols: str) -> Board:
    board = Board(VENUES, [("binance", symbol) for symbol in symbols])
    listed = msgspec.json.encode(LISTED)
    board.take(Frame("binance", "binance-0", 0, 1, 0, START, "metadata", listed))
    board.frames = 0
    return board


def test_a_board_shows_the_newest_price_and_the_rate_of_whole_seconds() -> None:
    board = board_of("BTC-USDT", "ETH-USDT")
    for number in range(20):
        board.take(trade(number + 1, START + number * SECOND // 2, f"100.{number}"))
    quote = {"u": 1, "s": "BTCUSDT", "b": "99", "B": "1", "a": "101", "A": "2"}
    board.take(frame(21, START + 10 * SECOND, "bookTicker", **quote))
    first, second = board.rows(START + 10 * SECOND + 400_000)
    assert first == {
        "venue": "binance",
        "symbol": "BTC-USDT",
        "price": "100.19",
        "side": "BUY",
        "bid": "99",
        "ask": "101",
        "trades": 20,
        "trades_per_second": 2.0,
        "quotes": 1,
        "age": "live · 0.4 s",
    }
    assert (second["symbol"], second["price"], second["trades"]) == ("ETH-USDT", None, 0)
    assert second["age"] == "waiting"


def test_what_cannot_be_read_is_counted_and_what_is_ours_is_not_a_market() -> None:
    board = board_of("BTC-USDT")
    board.take(Frame("binance", "binance-0", 1, 1, 1, START, "data", b'{"stream":'))
    board.take(Frame("binance", "binance-0", 2, 1, 2, START, "tick", b"{}"))
    assert (board.frames, board.dead_letters) == (2, 1)
    assert board.warnings(START) == ["1 dead letters"]


def test_a_quiet_market_is_told_from_a_journal_that_nobody_writes() -> None:
    board = board_of("BTC-USDT")
    board.take(trade(1, START, "100"))
    board.take(Frame("binance", "binance-0", 2, 1, 2, START + 20 * SECOND, "tick", b"{}"))
    assert board.rows(START + 21 * SECOND)[0]["age"] == "quiet · 21 s"
    assert board.warnings(START + 21 * SECOND) == []
    assert board.warnings(START + 31 * SECOND) == ["binance-0 journals nothing · 11 s"]


def test_age_says_how_fresh() -> None:
    assert age(0, START) == "waiting"
    assert age(START + 5, START) == "live · 0.0 s"
    assert age(START, START + 14 * SECOND) == "quiet · 14 s"


def test_a_board_knows_how_a_shard_is_connected() -> None:
    board = board_of("BTC-USDT")
    opened = b'{"what":"opened","connection":5,"url":"wss://x"}'
    board.take(Frame("binance", "binance-0", 1, 1, 1, START, "connection", opened))
    assert board.connections == {"binance-0": "opened"}
