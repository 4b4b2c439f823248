"""Which windows a gap overlaps, and which are due."""

import random
from typing import Any

from dataflows.steps.book import Book, restored
from dataflows.steps.windows import SIZES, fold, market_of

SECOND = 1_000_000


def book_of(kit: Any, watermark: int) -> Book:
    book = Book(market_of(kit.trade(1, kit.START)))
    book.watermark = watermark
    return book


def test_windows_are_due_once_the_watermark_has_passed_them(kit: Any) -> None:
    book = book_of(kit, 10 * SECOND)
    window = fold([kit.trade(1, 1)])
    for start in (10, 9, 8):
        book.add(0, start * SECOND, window.copy())
    assert book.due(0) == [8 * SECOND, 9 * SECOND]
    assert book.due(1) == []


def test_a_gap_overlaps_the_closed_windows_between_its_neighbours(kit: Any, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        book = book_of(kit, chance.randrange(200) * SECOND // 2)
        since = chance.randrange(100 * SECOND)
        until = chance.choice((None, since + chance.randrange(90 * SECOND)))
        for level in (0, 1):
            size = SIZES[level]
            closed = [start for start in range(0, 200 * SECOND, size) if start + size <= book.watermark]
            for start in chance.sample(closed, len(closed) // chance.choice((1, 2, 30))):
                book.closed[level][start] = b""
            overlapped = {one for one in closed if since < one + size and (until is None or until >= one)}
            found = list(book.overlapped(level, (since, until)))
            ends = {min(overlapped), max(overlapped)} if overlapped else set()
            assert len(found) == len(set(found))
            assert set(found) == (overlapped & set(book.closed[level])) | ends
            book.gaps = {(0, 5, 7): (since, until)}
            assert [one for one in closed if book.missing(level, one)] == sorted(overlapped)


def test_a_gap_ends_where_the_next_trade_is(kit: Any) -> None:
    book = book_of(kit, 0)
    book.open_gap((0, 5, 7), (100, None))
    book.open_gap((0, 8, 9), (100, None))
    assert book.unresolved
    assert book.resolve(0, 7, 200) == []
    assert book.resolve(0, 8, 200) == [(100, None)]
    assert book.unresolved
    assert book.resolve(0, 10, 50) == [(100, None)]
    assert not book.unresolved
    assert book.gaps == {(0, 5, 7): (100, 200), (0, 8, 9): (100, 100)}


def test_a_trade_of_another_series_that_is_not_older_ends_a_gap(kit: Any) -> None:
    book = book_of(kit, 0)
    book.open_gap((1, 5, 7), (100, None))
    assert book.resolve(2, 1, 99) == []
    assert book.unresolved
    assert book.resolve(2, 2, 100) == [(100, None)]
    assert not book.unresolved
    book.open_gap((2, 5, 7), (100, None))
    assert book.resolve(1, 1, 150) == [(100, None)]  # a rogue's series ends too
    assert book.gaps == {(1, 5, 7): (100, 100), (2, 5, 7): (100, 150)}


def test_a_book_is_restored_whole(kit: Any) -> None:
    book = book_of(kit, 77)
    book.add(0, 0, fold([kit.trade(3, 9)]))
    book.newest = 9
    book.set_limit(5 * SECOND)
    assert (book.limit, book.last) == (SECOND, 3)
    book.newest, book.last, book.close, book.high, book.low = 10, 4, 7, 8, 6
    book.buys, book.sales, book.bought, book.sold, book.notional = 1, 2, 5, 9, 99
    book.open_gap((0, 5, 7), (100, None))
    book.changed[0, 5] = True
    book.closed[1][0] = b"x"
    state = book.snapshot()
    again = restored(state)
    assert again.snapshot() == state
    assert (again.last, again.buys, again.sales) == (4, 0, 0)
    window = again.open[0][0]
    assert (window.count, window.buy_count, window.last) == (4, 2, (10, 0, 4, "4"))
    whole, nano = 10**18, 10**9
    assert (window.open, window.close, window.high, window.low) == (
        100 * whole,
        7 * nano,
        100 * whole,
        6 * nano,
    )
    assert (window.volume, window.buy_volume) == (whole + 14 * nano, whole + 5 * nano)
    assert window.notional == 100 * whole + 99
