"""The simulator as a process of its own: there while needed, gone afterwards."""

import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from connectors.errors import TapeError
from connectors.simulation import simulated
from connectors.venues import VENUES


def alive(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def test_the_venues_answer_as_long_as_the_context() -> None:
    with simulated([VENUES["binance"]], seed=3, rate=1) as (venue,):
        assert venue.name == "binance"
        assert venue.websocket_urls[0].startswith("ws://127.0.0.1:")
        place = venue.rest_urls[0] + "/api/v3/ping"
        assert alive(place)
    assert not alive(place)


def test_a_venue_that_it_does_not_speak_is_left_out_and_named() -> None:
    other = replace(VENUES["binance"], name="elsewhere")
    with capture_logs() as lines, simulated([VENUES["kraken"], other], seed=3, rate=1) as found:
        assert [venue.name for venue in found] == ["kraken"]
    assert [(line["event"], line["venue"]) for line in lines] == [
        ("left out: the simulator does not speak it", "elsewhere")
    ]


def test_a_simulator_that_does_not_start_is_told() -> None:
    with (
        pytest.raises(TapeError, match="did not start"),
        simulated([VENUES["binance"]], seed=3, rate=1, faults="nonsense:1"),
    ):
        pass
