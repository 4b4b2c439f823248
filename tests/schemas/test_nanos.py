"""Nanos are exact, or not above nought, and what is remembered of them is bounded."""

import pytest

from schemas import nanos
from schemas.money import plain
from schemas.nanos import Nanos, of_nanos


def test_nanos_are_exact_or_not_above_nought() -> None:
    known = Nanos()
    for text, value in {
        "1.5": 1_500_000_000,
        "0.000000001": 1,
        "12": 12 * 10**9,
        "1.00000000000": 10**9,
        "007.50": 7_500_000_000,
    }.items():
        assert known[text] == value
    for text in ("0", "0.0", "-1", "-1.50", "1.0000000001", "0." + "0" * 17 + "1"):
        assert known[text] == 0, text


@pytest.mark.parametrize("places", range(1, 10))
def test_of_as_many_places_all_are_read_together(places: int) -> None:
    values = [0, 1, 10**places, 123 * 10**places + 1, 10 ** (places + 12)]
    texts = [f"{value // 10**places}.{value % 10**places:0{places}d}" for value in values]
    padding = "0" * (9 - places) + " "
    assert of_nanos(padding.join(texts) + padding) == [value * 10 ** (9 - places) for value in values]
    assert [Nanos()[text] for text in texts] == [value * 10 ** (9 - places) for value in values]
    assert [plain(value * 10 ** (18 - places)) for value in values][1] == "0." + "0" * (places - 1) + "1"


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nanos, "REMEMBERED_MAX", 3)
    known = Nanos()
    assert [known[str(one)] for one in range(10)] == [one * 10**9 for one in range(10)]
    assert len(known) <= 3
