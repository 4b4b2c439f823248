"""What is asked of a simulator is understood, or refused with what was meant."""

import pytest

from connectors.errors import TapeError
from connectors.faults import FAULTS, SECONDS, Fault, known_faults, parse_faults


def test_faults_are_read_from_text() -> None:
    assert parse_faults("drop:0.01, freeze:0.5:3,") == {"drop": Fault(0.01), "freeze": Fault(0.5, 3.0)}
    assert parse_faults("delay:1") == {"delay": Fault(1.0, SECONDS["delay"])}
    assert parse_faults("") == {}
    assert set(SECONDS) < set(FAULTS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("gaps:0.1", "unknown fault 'gaps'"),
        ("drop", "is not name:probability"),
        ("drop:2", "a probability is 0 to 1"),
        ("drop:0.1:2:3", "is not name:probability"),
        ("delay:0.1:-1", "seconds are not negative"),
        ("drop:often", "not a number"),
        ("drop:nan", "a probability is 0 to 1"),
        ("drop:0.1,drop:0.2", "'drop' is named twice"),
        ("drop:0.1:5", "drop takes no seconds"),
    ],
)
def test_what_is_no_fault_is_refused(text: str, why: str) -> None:
    with pytest.raises(TapeError, match=why):
        parse_faults(text)


def test_a_misspelt_fault_is_told_with_what_was_meant() -> None:
    with pytest.raises(TapeError) as refused:
        parse_faults("dorp:0.1")
    assert refused.value.hint == "did you mean drop?"


def test_settings_are_told_what_was_meant() -> None:
    assert known_faults("drop:0.1") == "drop:0.1"
    with pytest.raises(ValueError, match=r"unknown fault 'dorp' \(did you mean drop\?\)"):
        known_faults("dorp:0.1")


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(TapeError) as refused:
        parse_faults("dorp:0.1,drop:0.1,cut:3")
    assert (
        str(refused.value)
        == "unknown fault 'dorp'; 'cut:3': a probability is 0 to 1, and seconds are not negative"
    )
    assert refused.value.hint == "did you mean drop?"
