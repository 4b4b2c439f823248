"""Many records at once: the same bytes as one by one, whatever a schema allows, and the same refusals."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from schemas import Bar
from schemas.avro import encode
from schemas.avro_columns import GROUP, LONG_MAX, encode_columns, encode_many, longs, unsigned, whole
from tests.schemas.anything import EVERY_VERSION, TRADE, records


@pytest.mark.parametrize(
    ("record_type", "version"),
    EVERY_VERSION,
    ids=[f"{one.__name__}-{number}" for one, number in EVERY_VERSION],
)
def test_bytes_are_those_of_one_by_one(record_type: type[Struct], version: int) -> None:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(records(record_type), max_size=12), st.integers(1, 3))
    def are_the_same(different: list[Struct], times: int) -> None:
        batch = different * times  # so that columns repeat themselves
        assert encode_many(batch, version) == [encode(one, version) for one in batch]

    are_the_same()


EDGES = [0, 1, 63, 64, 8191, 8192, GROUP - 1, GROUP, 2**27 - 1, 2**27, 2**28, 2**31, 2**62, LONG_MAX]
EDGES += [-number - 1 for number in EDGES]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(EDGES) | st.integers(-(2**63), LONG_MAX), min_size=1, max_size=8))
def test_numbers_are_what_avro_says(numbers: list[int]) -> None:
    def by_the_book(number: int) -> bytes:
        left, out = (number << 1) ^ (number >> 63), bytearray()
        while left > 0x7F:
            out.append(left & 0x7F | 0x80)
            left >>= 7
        return bytes([*out, left])

    assert whole(longs(numbers), len(numbers)) == [by_the_book(number) for number in numbers]


@pytest.mark.parametrize("size", [63, 64, 8_191, 8_192, 16_383, 16_384, 100_000])
def test_a_length_of_any_size_is_a_number(size: int) -> None:
    long, other = (
        replace(TRADE, native_symbol=one * size, vendor_data=msgspec.json.encode({"a": one * size}).decode())
        for one in "xy"
    )
    for batch in ([long, TRADE], [long, other]):
        assert encode_many(batch, 3) == [encode(one, 3) for one in batch]
    assert unsigned(2**70)[-1] < 0x80


@settings(max_examples=20, deadline=None)
@given(records(Bar))
def test_one_number_may_be_in_columns_that_can_be_absent_and_in_others(bar: Any) -> None:
    same = replace(bar, missing=bar.trade_count)
    assert encode_many([same], 1) == [encode(same, 1)]


def test_nothing_is_nothing_and_a_prefix_stands_before_each() -> None:
    assert encode_many([], 3) == []
    assert encode_many([TRADE, TRADE], 3, b"id:") == [b"id:" + encode(TRADE, 3)] * 2


OBJECTS = {
    "alike": ['{"a":"1","b":"x"}', '{"a":"2","b":"x"}', '{"a":"3","b":""}'],
    "other keys": ['{"a":"1"}', '{"b":"1"}', '{"a":"2"}'],
    "more keys": ['{"a":"1"}', '{"a":"1","b":"2"}', "{}"],
    "a key twice": ['{"a":"1","a":"2"}', '{"a":"3","a":"4"}'],
    "spaces": ['{"a": "1"}', '{"a": "2"}'],
    "escaped": ['{"a":"\\""}', '{"a":"\\\\"}', '{"a":"\\u00e9"}'],
    "not ASCII": ['{"ä":"é"}', '{"ä":"\U0001f600"}', '{"ä":"\u2028"}'],
    "nothing": ["{}", "{}"],
}


@pytest.mark.parametrize("case", OBJECTS)
def test_objects_are_maps_however_they_are_written(case: str) -> None:
    batch = [replace(TRADE, vendor_data=value) for value in OBJECTS[case]]
    assert encode_many(batch, 3) == [encode(one, 3) for one in batch]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.decimals(-(10**19), 10**19, places=8), min_size=1, max_size=6), st.integers(1, 18))
def test_prices_of_one_venue_have_as_many_places_each(prices: list[Decimal], places: int) -> None:
    texts = [f"{price:.{min(places, 8)}f}" for price in prices]
    batch = [replace(TRADE, price=text) for text in texts]
    assert encode_many(batch, 3) == [encode(one, 3) for one in batch]


def test_columns_are_taken_as_they_are() -> None:
    columns = [[value] * 3 for value in msgspec.structs.astuple(TRADE)]
    assert encode_columns(type(TRADE), 2, columns) == [encode(TRADE, 2)] * 3


NO_NUMBER = r"is not a plain number within decimal\(38,18\)"
TOO_LARGE = "beyond 64 bits|do not match"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"price": "0.1234567890123456789"}, NO_NUMBER),
        ({"price": "100000000000000000000"}, NO_NUMBER),
        ({"price": "1\n2"}, NO_NUMBER),
        ({"price": "1.00000000\n2.00000000"}, NO_NUMBER),  # two of as many places as the others have
        ({"price": "1."}, NO_NUMBER),
        ({"price": ""}, NO_NUMBER),
        ({"price": "1_0"}, NO_NUMBER),
        ({"price": "\u0661"}, NO_NUMBER),
        ({"quantity": "1e-8"}, NO_NUMBER),
        ({"quantity": "NaN"}, NO_NUMBER),
        ({"vendor_data": "{"}, "truncated"),
        ({"vendor_data": '{"a":1}'}, "Expected `str`"),
        ({"vendor_data": "[]"}, "Expected `object`"),
        ({"timestamp": 2**63}, TOO_LARGE),
        ({"source_sequence": 2**63}, TOO_LARGE),
        ({"source_sequence": -(2**63) - 1}, TOO_LARGE),
        ({"side": "HOLD"}, "'HOLD' is not"),
        ({"symbol": "\ud800"}, "surrogates not allowed"),
    ],
    ids=ascii,
)
def test_what_the_schema_cannot_hold_is_refused_alone_and_among_others(
    wrong: dict[str, Any], why: str
) -> None:
    bad = replace(TRADE, **wrong)
    for attempt in (
        lambda: encode(bad, 3),
        lambda: encode_many([bad], 3),
        lambda: encode_many([TRADE, bad], 3),
        lambda: encode_many([TRADE, TRADE, TRADE, bad], 3),
    ):
        with pytest.raises(ValueError, match=why):
            attempt()
