"""What the engine would lose is in the log."""

import pytest
from structlog.testing import capture_logs

from connectors.callbacks import said_first


class Partition:
    name = "0000-binance-0"

    @said_first
    def double(self, number: int) -> int:
        if number < 0:
            raise ValueError("below zero")
        if not number:
            raise StopIteration
        return 2 * number


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
