"""The account of ids: each is received, or named by exactly one gap, whatever comes in whatever order."""

import pickle
import random

import pytest

from dataflows.steps import series as module
from dataflows.steps.series import Change, Series, restored

NOW = 77


def series(first: int, following: int, *holes: tuple[int, int]) -> Series:
    made = Series(0, first)
    for low, high in holes:
        made.next = low
        made.open(low, high, "ids", NOW)
    made.next, made.time = following, 1_000
    return made


def test_a_gap_keeps_its_name_until_all_its_ids_are_in() -> None:
    made = series(1, 20, (5, 9))
    assert made.receive(6, 7, repair=True) == []
    assert made.receive(5, 5, repair=False) == []
    assert made.receive(7, 7, repair=False) == []
    assert made.receive(8, 9, repair=False) == [Change(5, 9, "repaired", "repair", NOW)]
    assert made.holes == []


def test_what_is_given_up_whole_is_lost_under_its_name() -> None:
    made = series(1, 20, (5, 9), (12, 13))
    assert made.give_up(1, 30, "retention") == [
        Change(5, 9, "lost", "retention", NOW),
        Change(12, 13, "lost", "retention", NOW),
    ]
    assert made.give_up(1, 30, "again") == []


def test_a_gap_that_ends_partly_is_split_into_gaps_that_tile_it() -> None:
    made = series(1, 20, (3, 12))
    made.receive(6, 7, repair=True)
    assert made.give_up(4, 9, "empty") == [
        Change(3, 12, "split", "partly", NOW),
        Change(3, 3, "open", "ids", NOW),
        Change(4, 5, "lost", "empty", NOW),
        Change(6, 7, "repaired", "repair", NOW),
        Change(8, 9, "lost", "empty", NOW),
        Change(10, 12, "open", "ids", NOW),
    ]
    # A lost id that comes after all is received, and the rest of its gap stays lost.
    assert made.receive(9, 9, repair=False) == [
        Change(8, 9, "split", "partly", NOW),
        Change(8, 8, "lost", "empty", NOW),
        Change(9, 9, "repaired", "late", NOW),
    ]
    assert made.receive(8, 8, repair=True) == [Change(8, 8, "repaired", "repair", NOW)]


def test_parts_of_a_gap_know_when_it_began() -> None:
    since = 500
    made = Series(0, 1)
    made.next, made.time = 3, since
    made.open(3, 12, "ids", NOW)
    made.next, made.time = 20, 1_000
    made.give_up(4, 9, "empty")
    made.receive(5, 5, repair=True)
    parts = [(hole.first, hole.last, hole.found, hole.since) for hole in made.holes]
    assert parts == [(low, high, NOW, since) for low, high in ((3, 3), (4, 4), (6, 9), (10, 12))]


def test_memory_is_bounded_and_what_it_drops_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVALS_MAX", 2)
    made = series(1, 20, (3, 3), (5, 8))
    made.next = 10
    assert made.open(10, 12, "ids", NOW) == [
        Change(10, 12, "open", "ids", NOW),
        Change(3, 3, "lost", "memory", NOW),
    ]
    assert (made.floor, len(made.missing)) == (4, 2)
    # A page in the middle makes one interval two.
    assert made.receive(6, 6, repair=True) == [
        Change(5, 8, "split", "partly", NOW),
        Change(5, 5, "lost", "memory", NOW),
        Change(6, 6, "repaired", "repair", NOW),
        Change(7, 8, "lost", "memory", NOW),
    ]
    assert (made.floor, made.missing.snapshot()) == (9, ((10, 12),))


@pytest.mark.parametrize(
    ("first", "time", "live", "belongs"),
    [
        (5_000, 2_000, True, True),  # the next
        (5_000 + 1_000_000, 2_000, True, True),
        (5_000 + 1_000_001, 2_000, True, False),  # an absurd jump
        (5_000 + 1_000_001, 2_000, False, False),
        (1, 1_001, True, False),  # received before and yet newer: a restart
        (1, 1_000, True, True),  # a repetition
        (1, 1_001, False, True),  # history never restarts
        (4_900, 1_001, True, True),  # near: content will tell
        (4_899, 1_001, True, False),
        (4_000, 1_001, True, True),  # fills a hole
        (-10, 1_001, True, False),  # before all we saw, and newer
        (-10, 1_000, True, True),
    ],
)
def test_restarts_and_jumps_belong_elsewhere(first: int, time: int, live: bool, belongs: bool) -> None:
    made = series(0, 5_000, (4_000, 4_001))
    assert made.continues(first, first, time, live=live) is belongs


def test_a_restart_is_seen_far_back_even_if_the_clock_was_set_back() -> None:
    made = series(1, 2_000_000)
    made.time = 10 * module.CLOCK_SET_BACK_MAX
    assert not made.continues(5, 5, made.time - module.CLOCK_SET_BACK_MAX + 1, live=True)
    assert made.continues(5, 5, made.time - module.CLOCK_SET_BACK_MAX, live=True)


@pytest.mark.no_cover
def test_every_id_has_one_fate(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVALS_MAX", 6)
    chance = random.Random(seed)
    forgotten = 0
    for _ in range(300):
        made, received = Series(0, 1), {1}
        made.next = 2
        rows: dict[tuple[int, int], str] = {}
        for _ in range(60):
            first = chance.randrange(max(1, made.next - 15), made.next + 4)
            last = first + chance.choice((0, 0, 0, 2))
            changes: list[Change] = []
            if chance.random() < 0.15:
                changes = made.give_up(first, last, "empty")
            elif last >= made.floor and (first >= made.next or last < made.next):
                if first > made.next:
                    changes = made.open(made.next, first - 1, "ids", NOW)
                elif first < made.next:
                    changes = made.receive(first, last, repair=chance.random() < 0.5)
                made.next = max(made.next, last + 1)
                received.update(one for one in range(first, last + 1) if one >= made.floor or one in received)
            for change in changes:
                rows[change.first, change.last] = change.status
                forgotten += change.reason == "memory"
            made = restored(pickle.loads(pickle.dumps(made.snapshot())))
        for identifier in range(max(made.first, made.floor), made.next):
            owners = [
                status
                for (first, last), status in rows.items()
                if first <= identifier <= last and status in ("open", "lost")
            ]
            if identifier in received:
                assert owners in ([], ["open"])
            else:
                assert len(owners) == 1
        assert all(status != "open" for (_, last), status in rows.items() if last < made.floor)
    assert forgotten
