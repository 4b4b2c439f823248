"""What bars say is missing, told again from the gaps' rows alone by an account that forgets nothing."""

import pickle
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from dataflows.steps.windows import NAMES, SIZES
from schemas import Bar, Frame, Gap, Record, StaleWindow, Tick, Trade

TAPES = 15
TRADES = 200
HOUR = 3_600_000_000
SIZE = dict(zip(NAMES, SIZES, strict=True))

Key = tuple[int, int, int]


def tape_of(kit: Any, chance: random.Random) -> list[Frame]:
    """One market: holes, some named by heartbeats alone, restarts, silences of 30 h, late ends of gaps."""
    tape, time, identifier = kit.Tape(), kit.START, chance.randrange(500, 10_000)
    series = 0
    missing: list[tuple[int, int]] = []
    for _ in range(TRADES):
        identifier += 1
        time += chance.choice((1_000, 300_000, kit.SECOND, 7 * kit.SECOND, 100 * kit.SECOND))
        fate = chance.random()
        if fate < 0.15:
            skipped = chance.choice((1, 2, 9, 300))
            missing.append((identifier, identifier + skipped - 1))
            identifier += skipped
            if fate < 0.08:
                tape.frame(time, "control", [["h", "BTC-USDT", identifier - 1]])
                time = ticks(kit, tape, time, 5)
                if fate < 0.03:
                    close(chance, tape, time, series, missing)
                if fate < 0.05:
                    identifier, series = 1, series + 1
                    missing.clear()
        elif fate < 0.17:
            time = ticks(kit, tape, time, 30)
            time += 30 * HOUR
        tape.trade(identifier, time)
        if missing and chance.random() < 0.3:
            close(chance, tape, time, series, missing)
        if chance.random() < 0.2:
            time = ticks(kit, tape, time, chance.randrange(1, 20))
    ticks(kit, tape, time, 30)
    return tape.frames  # type: ignore[no-any-return]


def ticks(kit: Any, tape: Any, time: int, seconds: int) -> int:
    for _ in range(seconds):
        time += kit.SECOND
        tape.tick(time)
    return time


def close(chance: random.Random, tape: Any, time: int, series: int, missing: list[tuple[int, int]]) -> None:
    """Let some of what is missing come, or be given up, and perhaps come all the same."""
    first, last = chance.choice(missing)
    one = chance.randint(first, last)
    if chance.random() < 0.5:
        said = {"symbol": "BTC-USDT", "series": series, "first": chance.choice((first, one)), "last": last}
        tape.frame(time + 1_000, "outcome", {**said, "reason": "not_in_history", "requests": 1})
    else:
        tape.trade(one, time - 1_000, received=time + 1_000, kind="repair")


class Account:
    """Each gap's ids and where they lie, found anew from the rows, by ids and not by their order."""

    def __init__(self) -> None:
        self.newest: int | None = None
        self.spans: dict[Key, list[Any]] = {}  # of every gap that ever was
        self.split: list[Key] = []
        self.missing: set[Key] = set()

    def trade(self, trade: Trade) -> None:
        assert trade.first_sequence is not None
        for (series, _, last), span in self.spans.items():
            follows = last < trade.first_sequence if series == trade.series else span[0] <= trade.timestamp
            if span[1] is None and follows:
                span[1] = max(span[0], trade.timestamp)
        self.newest = max(self.newest or 0, trade.timestamp)

    def gap(self, row: Gap) -> None:
        key = row.series, row.first_missing, row.last_missing
        if row.status in ("repaired", "split"):
            self.missing.discard(key)
            if row.status == "split":
                self.split.append(key)
            return
        if key not in self.spans:
            whole = [one for one in self.split if one[0] == key[0] and one[1] <= key[1] and key[2] <= one[2]]
            assert bool(whole) or row.status == "open"
            self.spans[key] = list(self.spans[whole[-1]]) if whole else [self.newest, None]
        self.missing.add(key)

    def of(self, start: int, end: int) -> int:
        found = 0
        for series, first, last in self.missing:
            since, until = self.spans[series, first, last]
            found += last - first + 1 if since < end and (until is None or until >= start) else 0
        return found


def told(records: list[Record]) -> Iterator[tuple[Account, Record]]:
    account = Account()
    for one in records:
        if isinstance(one, Trade):
            account.trade(one)
        elif isinstance(one, Gap):
            account.gap(one)
        yield account, one


def test_bars_say_what_the_gaps_say(kit: Any, seed: int) -> None:
    seen: Counter[str] = Counter()
    for number in range(TAPES):
        bars: dict[tuple[str, int], Bar] = {}
        for account, one in told(kit.Chain().feed(tape_of(kit, random.Random(seed + number)))):
            if isinstance(one, Bar):
                bars[one.interval, one.window_start] = one
                assert one.missing == account.of(one.window_start, one.window_end), (seed + number, one)
                seen["complete" if one.missing == 0 else "incomplete"] += 1
                seen["again"] += one.revision > 0
            elif isinstance(one, StaleWindow):  # for the tables to build again: it is forgotten here
                bars.pop((one.interval, one.window_start), None)
            elif isinstance(one, Gap):
                seen[one.status] += 1
                seen[one.reason] += 1
            elif isinstance(one, Trade):
                seen["restarts"] += bool(one.series)
        newest = account.newest or 0
        for (interval, start), bar in bars.items():  # the last ticks have issued again what had changed
            if start + SIZE[interval] > newest - HOUR // 2:
                assert bar.missing == account.of(start, bar.window_end), (seed + number, bar)
    wanted = ("complete", "incomplete", "again", "split", "lost", "repaired", "heartbeat", "restarts")
    assert all(seen[one] for one in wanted), seen


@pytest.mark.no_cover
def test_a_restart_changes_no_row_whatever_happened_before_it(kit: Any, seed: int) -> None:
    kills = 0
    for number in range(TAPES):
        chance = random.Random(seed + number)
        frames = tape_of(kit, chance)
        straight = kit.Chain().feed(frames)
        chain, pieces, done = kit.Chain(), [], 0
        while done < len(frames):
            size = chance.choice((1, 1, 2, 7, 40))
            pieces += chain.feed(frames[done : done + size])
            done += size
            if chance.random() < 0.5:
                kills += 1
                chain = kit.Chain(pickle.loads(pickle.dumps(chain.snapshot())))
        assert pieces == straight, seed + number
    assert kills, "the fault did not fire"


def test_a_market_does_not_wait_for_a_trade_that_cannot_come(kit: Any, seed: int) -> None:
    heartbeats = 0
    for number in range(TAPES):
        chain = kit.Chain()
        frames = tape_of(kit, random.Random(seed + number))
        records = chain.feed(frames)
        heartbeats += sum(isinstance(one, Gap) and one.reason == "heartbeat" for one in records)
        tape = kit.Tape()
        tape.frames = frames
        last = max(one.timestamp for one in records if isinstance(one, Trade))
        at = max(one.time for one in records if isinstance(one, Tick))
        tape.trade(10**7, max(at, last) + kit.SECOND)  # further than any hole: of a new series
        tape.trade(10**7 + 1, at + 30 * HOUR)
        tape.trade(10**7 + 2, at + 30 * HOUR + 90 * kit.SECOND)
        tape.trade(10**7 + 3, at + 30 * HOUR + 180 * kit.SECOND)
        after = chain.feed(tape.frames[-4:])
        late = [one for one in after if isinstance(one, Bar) and one.window_start > at + 29 * HOUR]
        assert {one.interval for one in late} >= {"1s", "1m"}
        assert not any(one.missing for one in late), (seed + number, late)
        assert chain.snapshot()[4][2][0][1][5] == (), seed + number  # gaps
    assert heartbeats, "the fault did not fire"
