"""An outage is waited for, said twice, and never for what waiting does not change."""

from threading import Event

import pytest
import structlog
from structlog.testing import capture_logs

from connectors import outages
from connectors.outages import outlast


class Tried:
    """Raises what it is given, one after the other, and then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def waits(error: Exception) -> bool:
    return isinstance(error, OSError)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.001)


def test_an_outage_is_said_when_it_begins_and_when_it_is_over() -> None:
    with capture_logs() as logged:
        tried = Tried(*[OSError("gone")] * 5)
        assert outlast("go on", tried, waits=waits, until=Event(), logger=structlog.get_logger()) == "done"
    assert tried.times == 6
    assert [line["event"] for line in logged] == ["cannot go on, trying again", "can go on again"]
    assert logged[0]["problem"] == "gone"


def test_what_works_is_not_said() -> None:
    with capture_logs() as logged:
        assert outlast("go on", Tried(), waits=waits, until=Event(), logger=structlog.get_logger()) == "done"
    assert logged == []


def test_what_waiting_does_not_change_is_raised() -> None:
    tried = Tried(OSError("gone"), KeyError("bug"))
    with pytest.raises(KeyError):
        outlast("go on", tried, waits=waits, until=Event(), logger=structlog.get_logger())
    assert tried.times == 2


def test_an_outage_that_nobody_waits_for_is_raised() -> None:
    until = Event()
    until.set()
    with pytest.raises(OSError, match="gone"):
        outlast("go on", Tried(OSError("gone")), waits=waits, until=until, logger=structlog.get_logger())
