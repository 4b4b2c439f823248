"""How fields are read: a field says its kind, its meaning and whether it may be null."""

from typing import Annotated, Literal

import pytest
from msgspec import Meta, Struct

from schemas import Quote, Trade
from schemas.avro import VERSIONS
from schemas.columns import Column, columns
from schemas.fields import Money, Side


class Example(Struct, frozen=True):
    plain: str
    open_word: Annotated[Literal["a", "b"], Meta(description="a word")]
    closed_word: Annotated[Side, Meta(description="a side")]
    amount: Annotated[Money | None, Meta(description="an amount")]
    codes: tuple[str, ...] = ()


def test_each_kind_is_read_from_its_type() -> None:
    sides = ("BUY", "SELL", "SELL_SHORT", "UNKNOWN")
    assert columns(Example) == (
        Column("plain", "text", ""),
        Column("open_word", "text", "a word"),
        Column("closed_word", "enum", "a side", enum="TradeSide", words=sides),
        Column("amount", "decimal", "an amount", nullable=True),
        Column("codes", "words", ""),
    )


def test_a_type_that_nothing_stores_is_refused() -> None:
    class Floating(Struct):
        price: float

    with pytest.raises(KeyError):
        columns(Floating)


@pytest.mark.parametrize("record_type", VERSIONS, ids=lambda record_type: record_type.__name__)
def test_every_stored_field_says_what_it_means(record_type: type[Struct]) -> None:
    assert [column.name for column in columns(record_type) if not column.meaning] == []


@pytest.mark.parametrize("record_type", [Trade, Quote])
def test_fields_beyond_the_contract_may_be_null(record_type: type[Struct]) -> None:
    assert [column.name for column in columns(record_type)[15:] if not column.nullable] == []
    assert record_type.__struct_defaults__ == (None,) * (len(columns(record_type)) - 15)
