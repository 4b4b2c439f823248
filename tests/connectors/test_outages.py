"""An outage is waited for, said twice, and never for what waiting does not change; a beginning as long as the
process may last.
"""

from threading import Event

import pytest
import structlog
from structlog.testing import capture_logs

from connectors import outages
from connectors.outages import has_begun, outlast


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


class Beginning:
    """Begins or fails when it is looked at for that time."""

    def __init__(self, begins: int = 0, failure: Exception | None = None) -> None:
        self.begun, self.stop, self.looks = Event(), Event(), 0
        self._begins, self._failure = begins, failure

    def check(self) -> None:
        self.looks += 1
        if self._failure is not None:
            raise self._failure
        if self.looks == self._begins:
            self.begun.set()

    def has_begun(self, *, wait: bool) -> bool:
        otherwise = TimeoutError("ended before")
        return has_begun(self.begun, wait=wait, check=self.check, stop=self.stop, otherwise=otherwise)


def test_whoever_does_not_wait_is_told_at_once() -> None:
    beginning = Beginning()
    assert not beginning.has_begun(wait=False)
    beginning.begun.set()
    assert beginning.has_begun(wait=False)


def test_a_beginning_is_waited_for_until_the_process_has_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "STOP_SECONDS", 0.25 / 64)
    monkeypatch.setattr(outages, "BEGIN_SECONDS", 1.25 / 64)
    assert Beginning(begins=20).has_begun(wait=True)
    ending = Beginning(begins=20)
    ending.stop.set()
    with pytest.raises(TimeoutError, match="ended before"):
        ending.has_begun(wait=True)
    assert ending.looks == 6


def test_what_ended_it_is_raised_whether_or_not_one_waits() -> None:
    for wait in (True, False):
        with pytest.raises(KeyError, match="bug"):
            Beginning(failure=KeyError("bug")).has_begun(wait=wait)
