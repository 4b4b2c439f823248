"""The steps one after the other, over seeded tapes with every fault: what holds for any of them."""

import pickle
import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from dataflows.steps.batch import batch_of
from dataflows.steps.windows import NAMES, bars_of
from schemas import Bar, Control, DeadLetter, Frame, Gap, Quote, Record, StaleWindow, Trade
from schemas.run import records_of

TAPES = 12
SETTINGS: dict[str, Any] = {"retention_seconds": 45, "windows_max": 60}


def tapes(kit: Any, seed: int) -> list[tuple[random.Random, list[Frame]]]:
    return [(random.Random(seed + one), kit.faulty(seed + one)) for one in range(TAPES)]


def latest(records: list[Record]) -> dict[str, Gap]:
    """The last row of each gap."""
    return {row.gap_id: row for row in records if isinstance(row, Gap)}


def assert_plain(value: Any) -> None:
    assert type(value) in (int, str, bytes, bool, tuple, dict, type(None)), type(value)
    for one in [*value.items()] if isinstance(value, dict) else value if isinstance(value, tuple) else ():
        assert_plain(one)


@pytest.mark.no_cover
def test_how_the_journal_is_cut_and_where_a_run_is_killed_changes_no_row(kit: Any, seed: int) -> None:
    kills = 0
    for chance, frames in tapes(kit, seed):
        straight = kit.Chain(**SETTINGS).feed(frames)
        chain, pieces, done = kit.Chain(**SETTINGS), [], 0
        while done < len(frames):
            size = chance.choice((1, 2, 7, 40, 200))
            pieces += chain.feed(frames[done : done + size])
            done += size
            if chance.random() < 0.2:
                kills += 1
                state = chain.snapshot()
                assert_plain(state)
                chain = kit.Chain(pickle.loads(pickle.dumps(state)), **SETTINGS)
        assert pieces == straight
    assert kills, "the fault did not fire"


def test_a_snapshot_is_a_copy(kit: Any, seed: int) -> None:
    frames = kit.faulty(seed)
    chain = kit.Chain(**SETTINGS)
    chain.feed(frames[:300])
    state = chain.snapshot()
    before = pickle.dumps(state)
    chain.feed(frames[300:])
    assert pickle.dumps(state) == before


def test_every_id_is_received_or_named_missing(kit: Any, seed: int) -> None:
    statuses: Counter[str] = Counter()
    for _, frames in tapes(kit, seed):
        chain = kit.Chain(**SETTINGS)
        batch = chain.gaps.step(chain.decode.step(batch_of(frames)))
        batch.records = records_of(batch.records)
        received: dict[tuple[str, int], set[int]] = defaultdict(set)
        starts: dict[tuple[str, int], int] = {}
        for record in batch.records:
            if isinstance(record, Trade):
                key = record.symbol, record.series
                starts.setdefault(key, record.source_sequence)
                received[key].add(record.source_sequence)
        named: dict[tuple[str, int], Counter[int]] = defaultdict(Counter)
        for gap in latest(batch.records).values():
            statuses[gap.status] += 1
            ids = range(gap.first_missing, gap.last_missing + 1)
            if gap.status == "lost":
                assert received[gap.symbol, gap.series].isdisjoint(ids)
            if gap.status in ("open", "lost"):
                named[gap.symbol, gap.series].update(ids)
            if gap.status == "repaired":
                assert received[gap.symbol, gap.series].issuperset(ids)
        for key, ids in received.items():
            account = set(range(starts[key], max(ids) + 1))
            assert account <= ids | set(named[key])
            assert set(named[key].values()) <= {1}
        holes: dict[tuple[str, int], set[int]] = defaultdict(set)
        for _, symbol, series, first, last, _, _ in chain.gaps.open_holes():
            holes[symbol, series].update(range(first, last + 1))
        for gap in latest(batch.records).values():
            key = gap.symbol, gap.series
            ids = set(range(gap.first_missing, gap.last_missing + 1))
            if gap.status == "open":
                assert ids - received[key] == ids & holes[key] != set()
            elif gap.status != "split":
                assert ids.isdisjoint(holes[key])
    assert all(statuses[one] for one in ("open", "repaired", "lost", "split")), statuses


@pytest.mark.no_cover
def test_what_goes_in_comes_out_once(kit: Any, seed: int) -> None:
    totals: Counter[str] = Counter()
    for _, frames in tapes(kit, seed):
        decoded = records_of(kit.Chain().decode.step(batch_of(frames)).records)
        batch = kit.Chain(**SETTINGS).run(frames)
        batch.records = records_of(batch.records)
        totals.update(batch.counts)
        kinds = Counter(type(one) for one in decoded)
        out = Counter(type(one) for one in batch.records)
        market = kinds[Trade] + kinds[Quote]
        duplicates = sum(number for name, number in batch.counts.items() if name.startswith("duplicates_"))
        letters = out[DeadLetter] - kinds[DeadLetter]
        assert market == out[Trade] + out[Quote] + duplicates + letters
        assert out[Control] == kinds[Control]
        counted = sum(number for name, number in batch.counts.items() if name.startswith("dead_letters_"))
        assert counted == out[DeadLetter]
        assert batch.counts["trades"] + batch.counts["quotes"] == batch.counts["valid"] + sum(
            isinstance(one, DeadLetter) and one.stage == "validate" for one in batch.records
        )
        for kind in (Trade, DeadLetter, Gap, Bar):
            names = [one.message_id for one in batch.records if isinstance(one, kind)]
            assert len(names) == len(set(names)), kind
    wanted = ("duplicates_venue", "duplicates_overlap", "duplicates_repair", "duplicates_stale")
    refused = ("conflict", "malformed", "not_positive", "not_a_number")
    assert all(totals[one] for one in (*wanted, *(f"dead_letters_{one}" for one in refused))), totals
    assert totals["sequence_restarts"]
    assert totals["sequence_jumps"]


@pytest.mark.no_cover
@pytest.mark.parametrize("retention", [45, 3_600])
def test_bars_are_what_their_trades_amount_to(kit: Any, seed: int, retention: int) -> None:
    revised = forgotten = 0
    for _, frames in tapes(kit, seed):
        records = kit.Chain(retention_seconds=retention).feed(frames)
        trades = [one for one in records if isinstance(one, Trade)]
        newest: dict[tuple[str, str, int], Bar] = {}
        stale = {
            (one.symbol, one.interval, one.window_start) for one in records if isinstance(one, StaleWindow)
        }
        for bar in (one for one in records if isinstance(one, Bar)):
            key = bar.symbol, bar.interval, bar.window_start
            assert bar.revision == (newest[key].revision + 1 if key in newest else 0)
            revised += bar.revision > 0
            newest[key] = bar
        forgotten += len(stale)
        for name in NAMES[:3]:
            for expected in bars_of(trades, name):
                key = expected.symbol, name, expected.window_start
                if key not in stale and (name == "1s" or key in newest):
                    assert comparable(newest[key]) == comparable(expected)
                newest.pop(key, None)
        assert not [one for one in newest.values() if one.interval in NAMES[:3]]
    assert revised
    assert bool(forgotten) == (retention == 45)


def comparable(bar: Bar) -> tuple[Any, ...]:
    return tuple(
        getattr(bar, name)
        for name in bar.__struct_fields__
        if name not in ("message_id", "missing", "revision", "platform_sequence")
    )
