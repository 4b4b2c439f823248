"""Numbers are exact, times are strict, and neither can be made to work for long."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from msgspec import Raw

from connectors.venues.values import (
    Refused,
    clock_time,
    clock_times,
    epoch_time,
    exact,
    number,
    offered,
    plain_number,
    sane_time,
    seconds_time,
    token,
)
from schemas.nanos import Nanos


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("0.00000001", "0.00000001"),
        ("1e-8", "0.00000001"),
        ("1E+2", "100"),
        ("-2.50e1", "-25.0"),
        ("0e0", "0"),
        ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
    ],
)
def test_a_number_is_written_out_exactly(text: str, plain: str) -> None:
    assert number(text, "price") == plain


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1e18446744073709551616", "precision"),
        ("1e-99", "precision"),
        ("1e20", "precision"),
        ("1" * 21, "precision"),
        ("1." + "1" * 19, "precision"),
        ("1" * 10_000_000, "precision"),
        ("1.e5", "not_a_number"),
        ("e5", "not_a_number"),
        ("", "not_a_number"),
        ("NaN", "not_a_number"),
        ("\u0661", "not_a_number"),
        ("1\n", "not_a_number"),
        ("1e5\n", "not_a_number"),
        ("x" * 10_000_000, "not_a_number"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        number(text, "price")
    assert refused.value.reason == reason
    assert len(refused.value.detail) < 120


def test_expanding_an_exponent_keeps_the_value(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(2_000):
        digits = f"{choose.randrange(10**9)}.{choose.randrange(10**6):06d}"
        text = f"{digits}e{choose.randrange(-11, 11)}"
        plain = number(text, "price")
        assert Decimal(plain) == Decimal(text)
        assert plain_number(plain)


def test_a_token_is_what_the_venue_wrote() -> None:
    assert token(Raw(b"0.30000000000000004")) == "0.30000000000000004"
    assert offered(Raw(b"0.10")) == "0.10"
    assert offered(Raw(b"null")) is None
    with pytest.raises(UnicodeDecodeError):
        token(Raw(b'"\xff"'))


def test_a_clock_time_is_exact_to_the_microsecond(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(2_000):
        moment = datetime(2001, 9, 10, tzinfo=UTC) + timedelta(microseconds=choose.randrange(8 * 10**15))
        text = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        assert clock_time(text) == expected
        assert clock_time(text[:-1] + "999Z") == expected  # nanoseconds are cut off


def test_a_clock_time_is_sane_and_ends_with_its_z() -> None:
    assert clock_time("2001-09-09T01:46:40.000000Z") == 10**15
    assert clock_times(["2001-09-09T01:46:40.000000Z"] * 2) == [10**15] * 2
    assert clock_times(["2286-11-20T17:46:39.999999Z"]) == [10**16 - 1]
    second = "2286-11-20T17:46:39"
    for text in ("2001-09-09T01:46:39.999999Z", "2286-11-20T17:46:40Z", *(f"{second}{end}" for end in ENDS)):
        with pytest.raises(Refused, match="time"):
            clock_time(text)
        with pytest.raises(Refused, match="time"):
            clock_times([text, f"{second}.000000Z"])


ENDS = (
    "",
    ".",
    ".1",
    ".Z",
    ".999999",
    ".999999z",
    ".999999Zx",
    '.999999Z","x":"',
    ".999999ZZ",
    ".9999999999Z",
)


def test_seconds_are_exact_where_a_float_is_not() -> None:
    assert seconds_time("1688669597.8277369") == 1_688_669_597_827_736
    assert seconds_time("1688669597") == 1_688_669_597_000_000
    assert seconds_time("9999999999.999999") == 9_999_999_999_999_999
    for text in ("", "-1", "0", "1e99", "1688669597000", "inf"):
        with pytest.raises(Refused):
            seconds_time(text)


def test_microseconds_and_milliseconds_are_told_apart() -> None:
    assert epoch_time(1_672_515_782_136) == 1_672_515_782_136_000
    assert epoch_time(1_672_515_782_136_123) == 1_672_515_782_136_123
    for value in (0, -1, 1_672_515_782, 10_000_000_000_000, 10**16, 10**300, -(10**300)):
        with pytest.raises(Refused, match="time"):
            epoch_time(value)


def test_times_are_sane_between_2001_and_2286() -> None:
    assert sane_time(10**15) == 10**15
    assert sane_time(10**16 - 1) == 10**16 - 1
    for value in (10**15 - 1, 10**16):
        with pytest.raises(Refused):
            sane_time(value)


@pytest.mark.no_cover
def test_many_numbers_are_what_each_is_by_itself(seed: int) -> None:
    chance = random.Random(seed)
    odd = ["-1.50", "0.00", "7", "1e-7", "12.5", "0." + "0" * 17 + "1", "9" * 20, "007.50000000"]
    for _ in range(300):
        texts = [f"{chance.randrange(10**6)}.{chance.randrange(10**8):08d}" for _ in range(40)]
        for _ in range(chance.randrange(3)):
            texts[chance.randrange(40)] = chance.choice(odd)
        wanted = [number(text, "price") for text in texts]
        known = Nanos()
        assert tuple(map(list, exact(texts, "price"))) == (wanted, [known[text] for text in wanted])
        assert tuple(map(list, exact([Raw(text.encode()) for text in texts], "price"))) == (wanted, [])
        for bad in ("1_0", "\u0661", "1 1", "", ".5", "5.", "NaN", "1" * 21 + ".5", "+1.5"):
            with pytest.raises(Refused):
                exact([*texts, bad], "price")
            with pytest.raises(Refused):
                exact([bad, *texts], "price")
        for bad in ('"1"', '"1 2"', "null", "[1, 2]", "1" * 21, "1." + "0" * 19, "1e30"):
            raws = [Raw(text.encode()) for text in (*texts, bad, *texts)]
            with pytest.raises(Refused):
                exact(raws, "price")


@pytest.mark.no_cover
def test_many_times_are_what_each_is_by_itself(seed: int) -> None:
    chance = random.Random(seed)
    minute = "2023-09-25T07:49:"
    odd = [
        minute + "59.999999Z", minute + "60.000000Z", minute + "61.000000Z", minute + "00.5Z", minute + "00Z",
        "2023-09-25T07:50:00.000000Z", "2023-13-25T07:49:00.000000Z", "2023/09/25T07:49:00.000000Z",
        "", "Z", "\n", "Z\n", minute, minute + "\n", minute + "00.000000", minute + "00.000000z",
        minute + "00.000000ZZ", "\n" + minute + "00.000000Z", minute + "00.000000Z\n" + minute + "00.000000Z",
        minute + "00.000000,100.000000Z", minute + "\u0661\u0661.000000Z", minute + "00.00000\ufeffZ",
        "2001-09-09T01:46:39.999999Z", "2001-09-09T01:46:40.000000Z", "2286-11-20T17:46:39.999999Z",
        "2286-11-20T17:46:40.000000Z", minute + '00.000000Z","x":"',
        minute + "01.000000Z\n", "Z\n" + minute, "1" + minute + "00.000000Z", ",1" + minute + "00.000000Z",
    ]  # fmt: skip
    kinds = set()
    for _ in range(3_000):
        texts = [
            f"{minute}{chance.randrange(60):02d}.{chance.randrange(10**6):06d}Z"
            for _ in range(chance.randrange(1, 6))
        ]
        for _ in range(chance.randrange(3)):
            texts[chance.randrange(len(texts))] = chance.choice(odd)
        try:
            wanted = [clock_time(text) for text in texts]
        except Refused:
            kinds.add("refused")
            with pytest.raises(Refused, match="time"):
                clock_times(texts)
        else:
            kinds.add("read")
            assert clock_times(texts) == wanted
    assert kinds == {"read", "refused"}
