"""`tape live-check` against simulated venues: honest ones pass, and each way of lying is found out."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.venues import VENUES
from connectors.venues.protocol import Venue
from operate import cli, live_check
from schemas import Trade
from schemas.run import records_of
from simulator.server import SimulatedVenues, running
from simulator.venues import FACES

SECONDS = "3"
# One request a second, and a minute's wait for who is a little early, is more than these tests can spare.
PATIENT = {"kraken": {"rest": (1_000, 1.0)}}
Check = Callable[..., tuple[dict[str, dict[str, Any]], str]]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Check]:
    """Run the check against a simulator; its rows by venue and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(
        code: int, *venues: str, sim: SimulatedVenues, **options: str
    ) -> tuple[dict[str, dict[str, Any]], str]:
        for name in VENUES:
            monkeypatch.setenv(f"TAPE_VENUES__{name.upper()}__ENABLED", json.dumps(name in venues))
            if name in venues:
                monkeypatch.setenv(f"TAPE_VENUES__{name.upper()}__WEBSOCKET_URLS", sim.websocket_url(name))
                monkeypatch.setenv(f"TAPE_VENUES__{name.upper()}__REST_URLS", sim.rest_url(name))
        assert cli.run(["live-check", "--seconds", SECONDS, "--json"]) == code
        told = capsys.readouterr()
        return {row["venue"]: row for row in json.loads(told.out)}, told.err

    yield run
    assert not (tmp_path / "data").exists()


def test_honest_venues_are_good_with_holes_and_all(check: Check, seed: int) -> None:
    with running(seed=seed, rate=60, faults="drop:0.03", rules=PATIENT) as sim:
        rows, said = check(0, *FACES, sim=sim)
        assert sim.oracle.fired("drop") > 0
    assert "verdict: good" in said
    assert set(rows) == set(FACES)
    for row in rows.values():
        assert row["verdict"] == "good"
        assert row["compared"] == row["sides_agree"] == row["contents_agree"] > 20
        assert row["trades"] > row["compared"] / 2
        assert (row["lost"], row["dead_letters"]) == (0, [])
    assert sum(row["holes"] for row in rows.values()) > 0
    assert all(row["repaired"] == row["holes"] for row in rows.values())


def test_a_decoder_that_takes_makers_for_takers_is_found_out(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, honest in list(VENUES.items()):
        monkeypatch.setitem(VENUES, name, replace(honest, decode_many=partial(inverted, honest)))
    with running(seed=1, rate=60, rules=PATIENT) as sim:
        rows, said = check(1, *FACES, sim=sim)
    assert set(rows) == set(FACES)
    for row in rows.values():
        assert row["verdict"] == "bad"
        assert row["sides_agree"] == 0
        assert row["contents_agree"] == row["compared"] > 20
    assert "the stream said Said(side='" in said
    assert "verdict: bad" in said


def inverted(honest: Venue, frames: Any, listed: Any) -> list[Any]:
    other = {"BUY": "SELL", "SELL": "BUY"}
    return [
        msgspec.structs.replace(one, side=other[one.side]) if isinstance(one, Trade) else one
        for one in records_of(honest.decode_many(frames, listed))
    ]


def test_a_venue_that_gives_one_id_to_two_trades_is_found_out(check: Check) -> None:
    with running(seed=1, rate=60, faults="other_price:0.1") as sim:
        rows, _ = check(1, "binance", sim=sim)
        assert sim.oracle.fired("other_price") > 0
    assert rows["binance"]["verdict"] == "bad"
    assert rows["binance"]["dead_letters"] == [f"conflict {sim.oracle.fired('other_price')}"]


def test_a_decoder_that_misreads_a_price_is_found_out(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = VENUES["binance"]

    def careless(frames: Any, listed: Any) -> list[Any]:
        return [
            msgspec.structs.replace(one, price="1") if isinstance(one, Trade) and is_fourth(one) else one
            for one in records_of(honest.decode_many(frames, listed))
        ]

    monkeypatch.setitem(VENUES, "binance", replace(honest, decode_many=careless))
    with running(seed=1, rate=60) as sim:
        rows, _ = check(1, "binance", sim=sim)
    row = rows["binance"]
    assert row["sides_agree"] == row["compared"] > row["contents_agree"] > 0


def is_fourth(trade: Trade) -> bool:
    return int(trade.trade_id) % 4 == 0


def test_what_rest_cannot_repair_is_bad(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_check, "GRACE_SECONDS", 0.5)
    with running(seed=1, rate=60, faults="drop:0.1") as sim:
        sim.retain("binance", 2)
        rows, said = check(1, "binance", sim=sim)
        assert sim.oracle.fired("drop") > 0
    assert rows["binance"]["holes"] > rows["binance"]["repaired"]
    assert "still" in said


def test_a_venue_that_is_not_there_leaves_it_unproven(check: Check) -> None:
    with running(seed=1, rate=0) as sim:
        sim.refuse_connections("kraken", True)
        rows, said = check(2, "kraken", sim=sim)
    assert rows["kraken"]["verdict"] == "unproven"
    assert rows["kraken"]["trades"] == 0
    assert "verdict: unproven" in said
