"""A value of tape.toml is what was written, or refused."""

import pytest
from pydantic import ValidationError

from connectors.sections import Number, Section, Switch, Whole


class Table(Section):
    count: Whole = 1
    rate: Number = 1.0
    on: Switch = True


def test_what_is_written_is_what_is_meant() -> None:
    assert Table(count=2, rate=0.5, on=False).model_dump() == {"count": 2, "rate": 0.5, "on": False}
    assert Table(rate=2).rate == 2.0


@pytest.mark.parametrize(
    "wrong",
    [{"count": "2"}, {"count": 2.5}, {"count": True}, {"rate": "2"}, {"on": 1}, {"on": "yes"}, {"of": True}],
)
def test_anything_else_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Table.model_validate(wrong)
