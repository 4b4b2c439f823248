"""The policies as values and functions: no socket, no clock, no waiting."""

import socket
import ssl
from dataclasses import replace
from itertools import islice
from random import Random

import pytest

from connectors.errors import TapeError
from connectors.resilience import (
    Allowance,
    Breaker,
    Policy,
    Problem,
    backoff,
    checked,
    choose,
    endpoints,
    network_problem,
    retry_after,
    rotation_due,
    silence_limit,
    with_room_for_pongs,
)
from connectors.venues import VENUES
from connectors.venues.protocol import Budget

POLICY = Policy()


class Highest(Random):
    """Chance that always gives the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_waits_double_up_to_a_minute_and_stay_there() -> None:
    assert list(islice(backoff(POLICY, Highest()), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_waits_are_spread_over_all_of_their_length(seed: int) -> None:
    source = Random(seed)
    thirds = {int(3 * next(backoff(POLICY, source))) for _ in range(200)}
    assert thirds == {0, 1, 2}


def test_a_breaker_opens_at_the_third_failure_in_a_row() -> None:
    breaker = Breaker(POLICY)
    breaker.fail(0.0)
    breaker.fail(1.0)
    breaker.succeed()
    breaker.fail(2.0)
    breaker.fail(3.0)
    assert (breaker.state(3.0), breaker.rest(3.0)) == ("closed", 0.0)
    breaker.fail(4.0)
    assert (breaker.state(4.0), breaker.rest(4.0)) == ("open", 30.0)
    assert (breaker.state(33.9), breaker.state(34.0), breaker.rest(34.0)) == ("open", "half_open", 0.0)


def opened() -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(3):
        breaker.fail(0.0)
    return breaker


def test_a_half_open_breaker_lets_one_trial_through_at_a_time() -> None:
    breaker = opened()
    breaker.begin(40.0)
    assert (breaker.state(41.0), breaker.rest(41.0)) == ("half_open", 29.0)
    breaker.succeed()
    assert (breaker.state(41.0), breaker.rest(41.0)) == ("half_open", 0.0)
    breaker.begin(42.0)
    breaker.succeed()
    assert (breaker.state(42.0), breaker.rest(42.0)) == ("closed", 0.0)


def test_a_failed_trial_opens_the_breaker_again_and_forgets_the_success_before() -> None:
    breaker = opened()
    breaker.begin(40.0)
    breaker.succeed()
    breaker.begin(41.0)
    breaker.fail(42.0)
    assert (breaker.state(42.0), breaker.rest(42.0)) == ("open", 30.0)
    breaker.begin(72.0)
    breaker.succeed()
    assert breaker.state(72.0) == "half_open"


def test_after_a_failure_the_venues_next_url_is_tried_and_a_resting_one_is_left_out() -> None:
    places = endpoints(("wss://a", "wss://b", "wss://c"), POLICY)

    def chosen(failures: int) -> str | None:
        found = choose(places, failures, 0.0)
        return found.url if found else None

    assert [chosen(failures) for failures in range(4)] == ["wss://a", "wss://b", "wss://c", "wss://a"]
    for _ in range(3):
        places[1].breaker.fail(0.0)
    assert [chosen(failures) for failures in range(4)] == ["wss://a", "wss://c", "wss://c", "wss://a"]
    for place in places:
        for _ in range(3):
            place.breaker.fail(0.0)
    assert chosen(0) is None


def test_no_window_of_any_position_has_more_than_the_budget(seed: int) -> None:
    source = Random(seed)
    allowance = Allowance(Budget(count=5, seconds=1.0))
    now, taken = 0.0, []
    for _ in range(500):
        now += source.choice((0.0, 0.01, 0.3, 2.0))
        now += allowance.delay(now)
        assert allowance.delay(now) == 0.0
        allowance.take(now)
        taken.append(now)
    windows = [sum(start <= time < start + 1.0 for time in taken) for start in taken]
    assert max(windows) == 5


def test_a_budget_counts_weights_and_says_exactly_when_enough_is_back() -> None:
    allowance = Allowance(Budget(count=10, seconds=60.0))
    allowance.take(0.0, 4)
    allowance.take(5.0, 4)
    # A twentieth later than 60 s, for requests that travel faster than the one before.
    assert [allowance.delay(6.0, weight) for weight in (2, 3, 6, 7, 99)] == [0.0, 57.0, 57.0, 62.0, 62.0]
    assert allowance.delay(63.0, 6) == 0.0


@pytest.mark.parametrize(("count", "ours"), [(5, 3), (7, 4), (1, 1)])
def test_pongs_have_their_room_in_the_message_budget(count: int, ours: int) -> None:
    assert with_room_for_pongs(Budget(count=count, seconds=1.0)) == Budget(count=ours, seconds=1.0)


def test_a_half_open_peer_is_noticed_within_fifteen_seconds_at_every_venue() -> None:
    limits = {name: silence_limit(venue.limits, POLICY) for name, venue in VENUES.items()}
    # Looked at every second at most, ended without a goodbye.
    assert {name: seconds + 1.0 < 15.0 for name, seconds in limits.items()} == dict.fromkeys(VENUES, True)


def test_rotation_is_due_ten_minutes_before_the_venue_cuts() -> None:
    limits = VENUES["binance"].limits
    assert rotation_due(100.0, limits, POLICY) == 100.0 + 24 * 3_600 - 600
    assert rotation_due(100.0, replace(limits, lifetime_seconds=60.0), POLICY) == 130.0
    assert rotation_due(100.0, replace(limits, lifetime_seconds=None), POLICY) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("7", 7.0), (" 0 ", 0.0), (None, None), ("Wed, 21 Oct 2026", None), ("-3", None), ("1e308", None)),
        *(("inf", None), ("nan", None), ("²", None), ("9" * 5_000, 259_200.0)),
    ],
)
def test_retry_after_is_read_as_seconds(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ssl.SSLCertVerificationError("expired"), "tls"),
        (socket.gaierror("Name or service not known"), "unresolved"),
        (ConnectionRefusedError("no"), "refused"),
        (ConnectionResetError("gone"), "cut"),
        (EOFError("gone"), "cut"),
        (TimeoutError("late"), "timeout"),
        (OSError("Network is unreachable"), "network"),
    ],
)
def test_what_the_system_says_has_a_kind_also_when_a_library_wrapped_it(error: Exception, kind: str) -> None:
    wrapped = RuntimeError("library")
    wrapped.__cause__ = error
    expected = Problem(kind, f"{type(error).__name__}: {error}")  # type: ignore[arg-type]
    assert (network_problem(error), network_problem(wrapped)) == (expected, expected)


def test_what_is_not_the_network_is_not_called_so() -> None:
    assert network_problem(KeyError("bug")) is None


@pytest.mark.parametrize("url", ["ws://stream.example.com", "http://10.0.0.1", "ws://localhost.example.com"])
def test_nothing_leaves_this_machine_without_encryption(url: str) -> None:
    with pytest.raises(TapeError, match="without encryption"):
        checked(url)


@pytest.mark.parametrize(
    "url", ["wss://stream.example.com", "https://a", "ws://127.0.0.1:1", "http://[::1]:2"]
)
def test_encrypted_and_local_addresses_pass(url: str) -> None:
    assert checked(url) == url
