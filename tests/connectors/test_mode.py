"""Live or simulated: what is asked, what is said, what is remembered."""

from dataclasses import replace
from pathlib import Path

from connectors.mode import decide, remembered
from connectors.venues import VENUES
from simulator.server import running

CLOSED = "http://127.0.0.1:9"  # discard: nothing listens there


def test_what_was_asked_for_is_done_without_asking_anybody(tmp_path: Path) -> None:
    decision = decide("simulated", tmp_path, [])
    assert decision.kind == "simulated"
    assert remembered("auto", tmp_path) == "simulated"
    assert remembered("live", tmp_path) == "live"


def test_auto_takes_the_real_market_where_one_venue_answers(tmp_path: Path) -> None:
    with running(seed=1, rate=0) as sim:
        venues = [
            replace(VENUES["binance"], rest_urls=(CLOSED,)),
            replace(VENUES["kraken"], rest_urls=(sim.rest_url("kraken"),)),
        ]
        decision = decide("auto", tmp_path, venues)
    assert decision.kind == "live"
    assert decision.said == f"kraken answered: live data in {tmp_path / 'live'}"
    assert remembered("auto", tmp_path) == "live"


def test_auto_simulates_where_none_answers_and_says_why(tmp_path: Path) -> None:
    venues = [replace(venue, rest_urls=(CLOSED,)) for venue in VENUES.values()]
    decision = decide("auto", tmp_path, venues)
    assert decision.kind == "simulated"
    assert decision.said.startswith("no venue answered (binance: ")
    assert "running the simulator" in decision.said
    assert remembered("auto", tmp_path) == "simulated"


def test_auto_never_turns_a_live_store_into_a_simulated_one(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    venues = [replace(VENUES["binance"], rest_urls=(CLOSED,))]
    assert decide("auto", tmp_path, venues).kind == "live"


def test_a_venue_that_answers_with_an_error_has_not_answered(tmp_path: Path) -> None:
    with running(seed=1, rate=0) as sim:
        sim.rest_fail("kraken", 404, times=10)
        venues = [replace(VENUES["kraken"], rest_urls=(sim.rest_url("kraken"),))]
        decision = decide("auto", tmp_path, venues)
    assert (decision.kind, "kraken: HTTP 404" in decision.said) == ("simulated", True)
