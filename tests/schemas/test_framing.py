"""Messages: Confluent's header, any version read as the newest, and no bytes that do harm."""

import copy
import io
import random
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace

from schemas import DeadLetter, Quote, Trade
from schemas.avro import avro_schema, encode
from schemas.avro_columns import sized, whole
from schemas.framing import HEADER_BYTES, READERS_MAX, Reader, Unreadable, framed, header, identifier_of
from tests.schemas.anything import EVERY_VERSION, TRADE, records

SCHEMAS = {
    7: avro_schema(Trade, 2),
    8: avro_schema(Trade, 3),
    9: avro_schema(Quote, 3),
}
SECOND = Trade(*[getattr(TRADE, name) for name in Trade.__struct_fields__[:15]])


def read(message: bytes) -> Trade:
    return Reader(Trade, SCHEMAS.__getitem__).record(message)


def shortest(record: Trade) -> Trade:
    return replace(record, price="43250.1")


def test_a_message_is_a_zero_the_id_and_the_avro_bytes() -> None:
    assert framed(258, [TRADE], 3) == [b"\x00\x00\x00\x01\x02" + encode(TRADE, 3)]


def test_versions_mixed_in_one_topic_are_read_as_the_newest() -> None:
    reader = Reader(Trade, SCHEMAS.__getitem__)
    messages = [framed(number, [TRADE], version)[0] for number, version in ((7, 2), (8, 3), (7, 2), (8, 3))]
    assert [reader.record(message) for message in messages] == [shortest(SECOND), shortest(TRADE)] * 2


@pytest.mark.parametrize(
    ("record_type", "version"),
    EVERY_VERSION,
    ids=[f"{one.__name__}-{number}" for one, number in EVERY_VERSION],
)
def test_what_is_written_is_read(record_type: type[Struct], version: int) -> None:
    reader = Reader(record_type, lambda _: avro_schema(record_type, version))
    known = [field["name"] for field in avro_schema(record_type, version)["fields"]]

    @settings(max_examples=50, deadline=None)
    @given(st.lists(records(record_type), max_size=3))
    def is_read(batch: list[Struct]) -> None:
        expected = [record_type(**{name: getattr(one, name) for name in known}) for one in batch]
        assert [reader.record(message) for message in framed(1, batch, version)] == expected

    is_read()


def test_a_version_that_we_do_not_know_yet_is_read_as_ours() -> None:
    newer = copy.deepcopy(avro_schema(Trade, 3))
    newer["fields"].append({"name": "fee", "type": ["null", "string"], "default": None})
    newer["fields"].reverse()
    row = {field["name"]: None for field in newer["fields"]} | {
        "message_id": "a:spot:A-B:0:1", "trade_id": "1", "symbol": "A-B", "exchange": "a",
        "asset_class": "crypto", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("0.5"),
        "quantity": Decimal(3), "currency": "B", "side": "SELL", "trade_conditions": ["x"],
        "ingestion_timestamp": datetime(2026, 1, 2, tzinfo=UTC), "vendor_data": {"k": "v"}, "fee": "0.1",
    }  # fmt: skip
    out = io.BytesIO(header(20))
    out.seek(HEADER_BYTES)
    fastavro.schemaless_writer(out, fastavro.parse_schema(newer, named_schemas={}), row)
    found = Reader(Trade, {20: newer}.__getitem__).record(out.getvalue())
    times = (1_767_225_600_000_000, 1_767_312_000_000_000)
    assert found == Trade(
        "a:spot:A-B:0:1", "1", "A-B", "a", "crypto", times[0], "0.5", "3", "B", "SELL", ("x",), None,
        times[1], None, '{"k":"v"}',
    )  # fmt: skip


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "0 bytes, shorter than the header of 5"),
        (b"\x00\x00\x00\x00", "4 bytes, shorter than the header of 5"),
        (b"\x01\x00\x00\x00\x08", "begins with 1, not with 0"),
        (b"not Avro", "begins with 110, not with 0"),
        (b"\x00\xff\xff\xff\xff", "no schema has the id 4294967295"),
        (framed(8, [TRADE], 3)[0] + b"\x00", "1 bytes behind what schema 8 writes"),
        (framed(8, [TRADE], 3)[0][:-1], "not what schema 8 writes"),
        (b"\x00\x00\x00\x00\x08" + b"\xff" * 12, "not what schema 8 writes"),
        (b"\x00\x00\x00\x00\x08" + b"\x01", "not what schema 8 writes"),  # a length below zero
        (b"\x00\x00\x00\x00\x08" + b"\xfe\xff\xff\xff\x0f" + b"x", "not what schema 8 writes"),  # of 2 GiB
        (framed(9, [TRADE], 3)[0], "schema 9 is not one of a Trade: the record: Quote was written"),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_message_of_ours_is_told(message: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said.replace("(", r"\(")):
        read(message)


def test_a_number_beyond_our_digits_is_told() -> None:
    good = framed(8, [replace(TRADE, price="1")], 3)[0]
    one = b"\x10" + (10**18).to_bytes(8, "big")
    assert one in good
    for digits in (10**38).to_bytes(16, "big"), b"\x7f" * 3_000:
        with pytest.raises(Unreadable, match="more than 38 digits"):
            read(good.replace(one, whole(sized([digits]), 1)[0]))


@pytest.mark.fuzz
def test_broken_bytes_are_read_or_refused_and_nothing_else(seed: int, fuzz_inputs: int) -> None:
    chance = random.Random(seed)
    batch: list[Any] = [TRADE, replace(TRADE, trade_conditions=("x" * 200,) * 3)]
    messages = framed(7, batch, 2) + framed(8, batch, 3)
    reader, letters = Reader(Trade, SCHEMAS.__getitem__), Reader(DeadLetter, SCHEMAS.__getitem__)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(min(fuzz_inputs, 1_000_000) // 5):
        message = bytearray(chance.choice(messages))
        for _ in range(chance.randint(1, 3)):
            message[chance.randrange(len(message))] = chance.choice(
                (0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256))
            )
        if chance.random() < 0.2:
            del message[chance.randrange(len(message)) :]
        for one in (reader, letters):
            try:
                one.record(bytes(message))
                outcomes["read"] += 1
            except Unreadable:
                outcomes["refused"] += 1
            except KeyError:  # from who knows the schemas
                assert identifier_of(bytes(message)) not in SCHEMAS
    assert min(outcomes.values()) > 0


def test_ids_that_somebody_makes_up_do_not_fill_the_memory() -> None:
    reader = Reader(Trade, lambda _: avro_schema(Trade, 3))
    for identifier in range(3 * READERS_MAX):
        reader.record(framed(identifier, [TRADE], 3)[0])
    assert len(reader._readers) <= READERS_MAX
    assert identifier_of(framed(2**31 - 1, [TRADE], 3)[0]) == 2**31 - 1
