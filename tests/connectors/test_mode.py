"""Live or simulated: what is asked, what is said, what is remembered."""

import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.mode import decide, plain, remembered
from connectors.resilience import network_problem
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
    why = "; ".join(f"{venue.name}: connection refused" for venue in venues)
    assert decision.said.startswith(f"no venue answered ({why}): ")
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name not resolved"),
        (ConnectionRefusedError(111, "Connection refused"), "connection refused"),
        (TimeoutError(), "no answer in time"),
        (ssl.SSLError(1, "self-signed"), "TLS refused (SSLError: self-signed)"),
        (OSError(101, "Network is unreachable"), "OSError: [Errno 101] Network is unreachable"),
    ],
)
def test_what_kept_a_venue_from_answering_is_said_in_plain_words(error: OSError, words: str) -> None:
    problem = network_problem(error)
    assert problem is not None
    assert plain(problem).replace("('self-signed',)", "self-signed") == words
