"""Exact numbers: what decimal(38,18) holds passes unchanged, everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import plain, units

BIGGEST = 10**38 - 1
counts = st.integers(-BIGGEST, BIGGEST)


@pytest.mark.parametrize(
    ("text", "count", "shortest"),
    [
        ("1", 10**18, "1"),
        ("0.000000000000000001", 1, "0.000000000000000001"),
        ("43250.10000000", 43250_100000000000000000, "43250.1"),
        ("100", 100 * 10**18, "100"),
        ("-0.5", -5 * 10**17, "-0.5"),
        ("-0", 0, "0"),
        ("0.0", 0, "0"),
        ("99999999999999999999.999999999999999999", BIGGEST, "99999999999999999999.999999999999999999"),
    ],
)
def test_plain_numbers_are_counted_exactly(text: str, count: int, shortest: str) -> None:
    assert (units(text), plain(count)) == (count, shortest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1\n",
        "1_000",
        "1e-8",
        "1E+3",
        "1e-999999999",
        ".5",
        "5.",
        "+1",
        "NaN",
        "Infinity",
        "\u0661",  # a digit one, but not ours
        "0x10",
        "1,5",
        "100000000000000000000",
        "0.1234567890123456789",
        "340282366920938463463374607431768211456",
    ],
)
def test_what_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a plain number"):
        units(text)


@given(counts)
def test_text_and_count_are_one_to_one(count: int) -> None:
    text = plain(count)
    assert units(text) == count
    assert not text.endswith((".", ".0"))
    assert "E" not in text


@given(counts, st.integers(0, 18))
def test_equal_numbers_have_one_shortest_text(count: int, zeros: int) -> None:
    text = plain(count)
    _, _, fraction = text.partition(".")
    padded = text + ("" if fraction else ".") + "0" * min(zeros, 18 - len(fraction))
    assert plain(units(padded.rstrip("."))) == text
