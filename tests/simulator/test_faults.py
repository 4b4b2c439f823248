"""Each fault of frames does what it says, as often as it says, and is counted."""

import json
import zlib
from collections import Counter

import msgspec
import pytest

from connectors.faults import FRAME_FAULTS, Fault, parse_faults
from connectors.venues import VENUES
from connectors.venues.protocol import instrument
from dataflows.chain import chain
from dataflows.steps.batch import batch_of
from schemas import Frame, Trade
from schemas.run import records_of
from simulator.faults import BOMB_BYTES, WRONG_AHEAD, WRONG_BACK, Chances, FrameFaults
from simulator.market import Market
from simulator.venues import FACES
from simulator.venues.protocol import Outgoing

START = 1_767_225_600_000_000


def outgoing(venue: str, count: int) -> list[Outgoing]:
    """Frames of trades, one order each."""
    face = FACES[venue]
    market = Market(face.listings, seed="1", start=START, rate=0)
    native = face.listings[0].native
    form = (True, True) if venue == "binance" else ()
    return face.render(form, face.streams(native)[:1], market.trades_now(native, count, START))


def spoiled(
    venue: str, faults: str, frames: list[Outgoing], seed: str = "1"
) -> tuple[list[Outgoing], Counter[str]]:
    fired: Counter[str] = Counter()
    return FrameFaults(venue, Chances(parse_faults(faults), seed, fired)).spoil(frames, START), fired


def ids(frames: list[Outgoing]) -> list[int]:
    return [one.trades[0].id for one in frames if one.trades]


@pytest.mark.parametrize("venue", list(FACES))
def test_without_faults_frames_pass(venue: str) -> None:
    frames = outgoing(venue, 10)
    assert spoiled(venue, "", frames) == (frames, Counter())


@pytest.mark.parametrize("venue", list(FACES))
def test_drop_and_duplicate(venue: str, seed: int) -> None:
    frames = outgoing(venue, 1_000)
    left, fired = spoiled(venue, "drop:0.1", frames, f"{seed}")
    assert fired["drop"] == 1_000 - len(left)
    assert 50 < fired["drop"] < 160
    assert set(ids(left)) < set(ids(frames))
    twice, fired = spoiled(venue, "duplicate:0.1", frames, f"{seed}")
    assert fired["duplicate"] == len(twice) - 1_000 > 50
    assert list(dict.fromkeys(ids(twice))) == ids(frames)


def test_the_same_seed_spoils_the_same_frames(seed: int) -> None:
    frames = outgoing("binance", 300)
    everything = ",".join(f"{name}:0.05" for name in FRAME_FAULTS if name not in {"huge", "bomb"})
    first, fired = spoiled("binance", everything, frames, f"{seed}")
    assert spoiled("binance", everything, frames, f"{seed}") == (first, fired)
    assert spoiled("binance", everything, frames, f"{seed}+")[0] != first


def test_reorder_swaps_neighbours() -> None:
    frames = outgoing("binance", 5)
    fired: Counter[str] = Counter()
    chances = Chances({}, "1", fired)
    chances.asked["reorder"] = 1
    first = frames[0].trades[0].id
    assert ids(FrameFaults("binance", chances).spoil(frames, START)) == [
        first + one for one in (1, 0, 2, 3, 4)
    ]
    assert fired == {"reorder": 1}


def test_delay_sends_later() -> None:
    frames = outgoing("binance", 3)
    chances = Chances({"delay": Fault(0.0, 2.0)}, "1", Counter())
    chances.asked["delay"] = 1
    faults = FrameFaults("binance", chances)
    assert faults.spoil(frames, START) == frames[1:]
    assert faults.spoil([], START + 1_999_999) == []
    assert faults.spoil([], START + 2_000_000) == frames[:1]
    assert faults.spoil([], START + 9_000_000) == []


@pytest.mark.parametrize("venue", list(FACES))
def test_other_price_repeats_an_id_with_another_price(venue: str) -> None:
    frames = outgoing(venue, 1)
    out, fired = spoiled(venue, "other_price:1", frames)
    assert (out[0], fired) == (frames[0], {"other_price": 1})
    assert not out[1].trades
    true, false = (json.loads(one.payload) for one in out)
    key = {"binance": ("data", "p"), "kraken": ("data", "price"), "coinbase": ("price",)}[venue]
    for one in (true, false):
        inner = one[key[0]] if len(key) == 2 else one
        inner = inner[0] if isinstance(inner, list) else inner
        one["price"] = inner.pop(key[-1])
    assert true.pop("price") != false.pop("price")
    assert true == false


@pytest.mark.parametrize("venue", list(FACES))
def test_a_wrong_id_is_a_dead_letter_or_another_series_and_never_a_hole(venue: str) -> None:
    frames = outgoing(venue, 8)
    own = ids(frames)
    out, fired = spoiled(venue, "wrong_id:0.5", frames, "3")
    assert fired == {"wrong_id": 4}
    listing = FACES[venue].listings[0]
    listed = (instrument(venue, listing.native, listing.base, listing.quote),)
    shard = f"{venue}-0"
    received = [Frame(venue, shard, 1, 1, 1, START, "metadata", msgspec.json.encode(listed))]
    received += [
        Frame(venue, shard, number, 1, number, START + number, "data", one.payload)
        for number, one in enumerate(out, 2)
    ]
    batch = batch_of(received)
    for begin in chain(VENUES):
        batch = begin(shard, None).step(batch)
    told = [
        (int(one.trade_id), one.series) if isinstance(one, Trade) else type(one).__name__
        for one in records_of(batch.records)
    ]
    assert told == [
        "Control",
        *((one, 0) for one in own[:4]),
        (own[3] - WRONG_BACK, 1),
        (own[4], 0),
        "DeadLetter",
        (own[5], 0),
        (own[6], 0),
        (own[6] + WRONG_AHEAD, 2),
        (own[7], 0),
        "DeadLetter",
    ]


@pytest.mark.parametrize("venue", list(FACES))
def test_malformed_frames_come_besides_the_good_ones(venue: str, seed: int) -> None:
    frames = outgoing(venue, 200)
    out, fired = spoiled(venue, "malformed:0.5", frames, f"{seed}")
    assert [one for one in out if one.trades] == frames
    bad = {one.payload for one in out if not one.trades}
    assert fired["malformed"] == len(out) - 200 > 50
    assert {b"", b"null", b"[" * 20_000} <= bad
    assert any(b"NaN" in one for one in bad)
    assert any(b"\xff" in one for one in bad)


def test_the_bomb_unpacks_to_what_it_says() -> None:
    out, fired = spoiled("binance", "bomb:1", outgoing("binance", 1))
    assert fired == {"bomb": 1}
    framed = out[1].payload
    assert len(framed) < 64 * 1024
    assert framed[0] == 0xC1
    unpacked = zlib.decompressobj(-15).decompress(framed[4:] + b"\x00\x00\xff\xff")
    assert len(unpacked) == BOMB_BYTES
