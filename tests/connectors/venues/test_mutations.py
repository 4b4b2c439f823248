"""Broken bytes never raise: a hundred thousand seeded mutations of what each conformance table holds, each of
frames by themselves, frames in batches, pages and metadata.

`--fuzz-inputs` says how many instead (`make fuzz`: a million), `--seed` repeats a run.
"""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from connectors.venues import VENUES as REGISTERED
from connectors.venues.decoding import pack_page
from connectors.venues.protocol import Instruments, PageHeader, Venue
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.run import Run, records_of
from tests.conformance.tables import VENUES, table

# What decoders trip over, put in place of something else.
PIECES = [
    b"", b"null", b"true", b"-1", b"0", b"1e999", b"1e-9", b'"', b'""', b"{}", b"[]", b"[", b"{", b"}", b"]",
    b",", b":", b"\\", b"\\u0000", b"\\ud800", b"\xff", b"\xc3\xa9", b"\x00", b"9" * 30,
    b"9" * 400, b"9" * 4300, b"NaN", b'"NaN"',
    b"9223372036854775808", b"-0.0", b"0001-01-01", b" ", b"\n", b"\xef\xbb\xbf",
    b'"e":"trade"', b'"type":"match"',
]  # fmt: skip

# Of the mutations that are accepted, in a batch: one that only frame by frame is read slows all of it.
TOGETHER = 4

PLAIN = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?").fullmatch


def mutated(choose: Callable[[], float], originals: list[bytes]) -> bytes:
    """One of the originals with up to four changes."""
    data = originals[int(choose() * len(originals))]
    for _ in range(1 + int(choose() * 4)):
        at = int(choose() * (len(data) + 1))
        sort = choose()
        if sort < 0.4:
            data = data[:at] + bytes((int(choose() * 256),)) + data[at + 1 :]
        elif sort < 0.6:
            data = data[:at] + PIECES[int(choose() * len(PIECES))] + data[at + int(choose() * 12) :]
        elif sort < 0.75:
            data = data[:at] + data[at + int(choose() * 30) :]
        elif sort < 0.9:
            data = data[:at] + data[int(choose() * len(data)) :][: int(choose() * 30)] + data[at:]
        else:
            data = data[:at]
    return data


def check(frame: Frame, records: list[Any]) -> int:
    """Fail unless each record is one that may leave a decoder; how many were accepted."""
    accepted = 0
    for record in records:
        if type(record) is Trade:
            assert PLAIN(record.price)
            assert PLAIN(record.quantity)
            assert 10**15 <= record.timestamp < 10**16
            assert 0 <= int(record.trade_id) < 2**63
            assert record.side in ("BUY", "SELL")
            assert all(type(word) is str for word in json.loads(record.vendor_data or "").values())
            accepted += 1
        elif type(record) is Quote:
            offers = (record.bid_price, record.bid_quantity, record.ask_price, record.ask_quantity)
            assert all(text is None or PLAIN(text) for text in offers)
            accepted += 1
        elif type(record) is DeadLetter:
            assert record.payload == frame.payload
        else:
            assert type(record) is Control
    return accepted


@pytest.fixture
def count(name: str, fuzz_inputs: int) -> int:
    """How many mutations; the venue of a page, which nobody runs, gets a tenth."""
    return fuzz_inputs if name in REGISTERED else fuzz_inputs // 10


def hammer(originals: list[bytes], count: int, seed: int, one: Callable[[bytes], int]) -> None:
    """Feed mutations; some must be accepted and some not, or the mutations are no test."""
    choose = random.Random(seed).random
    accepted = 0
    for number in range(count):
        data = mutated(choose, originals)
        try:
            accepted += one(data)
        except BaseException:
            print(f"seed {seed}, input {number}: {data!r}")  # noqa: T201  # shown when the test fails
            raise
    assert 0 < accepted < count


def frame_of(venue: Venue, payload: bytes, position: int = 7) -> Frame:
    return Frame(venue.name, f"{venue.name}-0", position, 3, 5, 1_795_253_400_000_000, "data", payload)


@pytest.mark.no_cover
@pytest.mark.fuzz
@pytest.mark.parametrize("name", VENUES)
def test_no_frame_breaks_a_decoder_by_itself_or_in_a_batch(name: str, seed: int, count: int) -> None:
    """Each mutation by itself, and in what would be a run: refused, behind a good trade; else with others."""
    venue, held = VENUES[name], table(name)
    instruments = venue.decode_metadata(json.dumps(held["metadata"]).encode())
    good = [row["frame"].encode() for row in held["frames"] if not isinstance(row["verdict"], str)]
    found = [one for one in good if type(venue.decode(frame_of(venue, one), instruments)[0]) is Trade]
    runs = [one for one in found if makes_runs(venue, frame_of(venue, one), instruments)]
    trade = (runs or found)[0]
    ends = [frame_of(venue, trade, position) for position in (1, 2 + TOGETHER)]
    first, last = ((frame, venue.decode(frame, instruments)) for frame in ends)
    accepted: list[tuple[Frame, list[Any]]] = []
    in_runs = 0

    def batch(*parts: tuple[Frame, list[Any]]) -> list[Any]:
        found = venue.decode_many([frame for frame, _ in parts], instruments)
        assert records_of(found) == [record for _, alone in parts for record in alone]
        return found

    def one(data: bytes) -> int:
        nonlocal in_runs
        frame = frame_of(venue, data, 2 + len(accepted))
        this = frame, venue.decode(frame, instruments)
        if DeadLetter in map(type, this[1]):
            batch(first, this)
        else:
            accepted.append(this)
            if len(accepted) == TOGETHER:
                found = batch(first, *accepted, last)
                in_runs += max(0, sum(len(record) for record in found if type(record) is Run) - len(ends))
                accepted.clear()
        return check(*this)

    hammer(good, count, seed, one)
    # What is read together was mutated too, unless this venue reads frame by frame.
    assert in_runs > count // 1_000 if runs else not in_runs


def makes_runs(venue: Venue, frame: Frame, instruments: Instruments) -> bool:
    """Whether it is one of those that are read together."""
    found = venue.decode_many([frame, frame], instruments)
    return [type(record) for record in found] == [Run]


@pytest.mark.no_cover
@pytest.mark.fuzz
@pytest.mark.parametrize("name", VENUES)
def test_no_page_breaks_a_decoder(name: str, seed: int, count: int) -> None:
    venue, held = VENUES[name], table(name)
    instruments = venue.decode_metadata(json.dumps(held["metadata"]).encode())
    good = []
    for row in held["pages"]:
        native, first, last, since = row["ask"]
        if native in instruments:
            request = venue.repair(instruments[native], first, last, since)
            good.append(pack_page(PageHeader(native, first, last, since, request, 200), row["body"].encode()))

    def one(data: bytes) -> int:
        frame = frame_of(venue, data)
        page = venue.decode_page(frame, instruments)
        return check(frame, list(page.records))

    hammer(good, count, seed, one)


@pytest.mark.no_cover
@pytest.mark.fuzz
@pytest.mark.parametrize("name", VENUES)
def test_metadata_is_read_or_refused(name: str, seed: int, count: int) -> None:
    venue = VENUES[name]
    good = [json.dumps(table(name)["metadata"]).encode()]

    def one(data: bytes) -> int:
        try:
            return int(bool(venue.decode_metadata(data)))
        except ValueError:
            return 0

    hammer(good, count, seed, one)
