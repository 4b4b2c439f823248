"""What a finding says."""

from operate.auditing.findings import NAMED_MAX, Offences, judged, unchecked, violations


def test_the_first_are_named_and_all_are_counted() -> None:
    offences, others = Offences(), Offences()
    offences.add("0", 3)
    for number in range(1, 8):
        others.add(str(number))
    offences.take(others)
    found = judged("A1", 9, "frames", offences)
    assert (found.verdict, found.violations) == ("violated", 10)
    assert found.offenders == tuple("01234")[:NAMED_MAX]
    assert violations([found, judged("A2", 1, "connections", Offences())]) == 10


def test_what_was_not_looked_at_does_not_hold() -> None:
    found = unchecked("A11", "no topics")
    assert (found.verdict, found.violations, found.note) == ("not checked", 0, "no topics")
