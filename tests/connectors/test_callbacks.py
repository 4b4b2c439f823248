"""What the engine would lose is in the log."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from connectors.callbacks import failures, said_first
from connectors.errors import TapeError


@pytest.fixture(autouse=True)
def nothing_failed_before() -> Iterator[None]:
    failures.clear()
    yield
    failures.clear()


class Partition:
    name = "0000-binance-0"

    @said_first
    def double(self, number: int) -> int:
        if number < 0:
            raise ValueError("below zero")
        if not number:
            raise StopIteration
        return 2 * number

    @said_first
    def outer(self, number: int) -> int:
        return self.double(number)

    @said_first
    def refuse(self) -> None:
        raise TapeError("the disk is full", hint="free some space")


def test_an_exception_is_said_before_it_goes_on() -> None:
    with capture_logs() as said, pytest.raises(ValueError, match="below zero"):
        Partition().double(-1)

    assert [(line["event"], line["where"], line["exc_info"]) for line in said] == [
        ("the flow failed", "0000-binance-0.double", True)
    ]


def test_nothing_is_said_of_results_and_ends() -> None:
    with capture_logs() as said:
        assert Partition().double(2) == 4
        with pytest.raises(StopIteration):
            Partition().double(0)

    assert said == []


def test_of_two_that_call_each_other_it_is_said_once_and_kept() -> None:
    with capture_logs() as said, pytest.raises(ValueError, match="below zero") as caught:
        Partition().outer(-1)

    assert [line["where"] for line in said] == ["0000-binance-0.double"]
    assert failures == [caught.value]


def test_what_a_person_can_mend_is_said_without_a_traceback() -> None:
    with capture_logs() as said, pytest.raises(TapeError):
        Partition().refuse()

    assert said == [
        {
            "event": "the flow failed",
            "log_level": "error",
            "where": "0000-binance-0.refuse",
            "problem": "TapeError: the disk is full",
        }
    ]
