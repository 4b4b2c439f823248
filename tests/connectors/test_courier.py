"""The courier: bronze first, one round for all shards, paced, and never louder than needed."""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from connectors import courier as couriers
from connectors import outages
from connectors.catalog import Refused
from connectors.courier import Courier
from connectors.publishing import Pending
from connectors.staging import Staged
from connectors.tokens import Token

SHARDS = ("a-0", "b-0")


class Table:
    """A table that only remembers."""

    def __init__(self, name: str, said: list[Any]) -> None:
        self.name, self.said = name, said
        self.errors: list[Exception] = []
        self.tokens = {shard: Token("s", 1, "w", 0, {}) for shard in SHARDS}

    def take_over(self, shards: Sequence[str]) -> None:
        self.said.append(("take over", self.name, *shards))

    def commit(self, due: Mapping[str, Sequence[Pending]]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.said.append(
            (self.name, {shard: [epoch.last for epoch in epochs] for shard, epochs in due.items()})
        )
        for shard, epochs in due.items():
            position = max(self.tokens[shard].position, *(epoch.last for epoch in epochs))
            self.tokens[shard] = msgspec.structs.replace(self.tokens[shard], position=position)


@pytest.fixture
def said() -> list[Any]:
    return []


def start(said: list[Any], seconds: float = 0.0) -> Courier:
    tables: Any = [Table("bronze", said), Table("silver", said)]
    stop = threading.Event()
    courier = Courier(SHARDS, commit_seconds=seconds, stop=stop, logger=structlog.get_logger())
    courier.start(lambda: tables)
    courier.has_begun(wait=True)
    return courier


def pending(last: int, rows: int = 1) -> Pending:
    return Pending(last, (), (Staged("bronze", "x", 1, last, rows),))


def test_what_is_durable_goes_to_every_table_in_order_and_the_rest_stays(said: list[Any]) -> None:
    courier = start(said)
    for shard in SHARDS:
        courier.freeze(shard, pending(5))
    courier.freeze("a-0", pending(9))
    for shard in SHARDS:
        courier.reached(shard, 5)
    assert courier.close(10) is False
    assert said == [
        ("take over", "bronze", *SHARDS),
        ("take over", "silver", *SHARDS),
        ("bronze", {"a-0": [5], "b-0": [5]}),
        ("silver", {"a-0": [5], "b-0": [5]}),
    ]
    assert [epoch.last for epoch in courier.waiting("a-0")] == [9]
    assert courier.waiting("b-0") == []


def test_what_is_durable_and_in_the_table_of_frames_is_told(said: list[Any]) -> None:
    courier = start(said)
    told: dict[str, int] = {}
    courier.published = told.__setitem__
    ahead: Any = courier.tables[0]
    ahead.tokens["b-0"] = Token("s", 1, "w", 90, {})  # its recovery is older than the table
    for shard in SHARDS:
        courier.freeze(shard, pending(5))
        courier.reached(shard, 7)
    assert courier.close(10)
    assert told == {"a-0": 5, "b-0": 7}


def test_a_courier_that_never_began_has_nothing_left(said: list[Any]) -> None:
    stop = threading.Event()
    assert Courier(SHARDS, commit_seconds=0.0, stop=stop, logger=structlog.get_logger()).close(10)


def test_rounds_keep_their_distance_but_for_many_rows(
    said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "ROWS_MAX", 100)
    courier = start(said, seconds=3_600)
    courier.freeze("a-0", pending(1))
    courier.reached("a-0", 1)
    until(lambda: len(said) == 4)
    courier.freeze("a-0", pending(2))
    courier.reached("a-0", 2)
    time.sleep(0.3)  # longer than shards are waited for
    assert len(said) == 4
    courier.freeze("b-0", pending(7, rows=1_000))
    courier.reached("b-0", 7)
    until(lambda: len(said) == 6)
    assert said[4] == ("bronze", {"a-0": [2], "b-0": [7]})
    assert courier.close(10)


def test_an_outage_is_said_once_and_when_it_is_over(said: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.001)
    with capture_logs() as lines:
        courier = start(said)
        courier.tables[1].errors = [ConnectionError("refused")] * 5  # type: ignore[attr-defined]
        courier.freeze("a-0", pending(1))
        courier.reached("a-0", 1)
        assert courier.close(10)
    assert [line["event"] for line in lines] == [
        "cannot publish to silver, trying again",
        "can publish to silver again",
    ]
    assert lines[0]["problem"] == "refused"
    assert [name for name, *_ in said[2:]] == ["bronze", "silver"]


def test_what_is_refused_ends_the_beginning_and_is_waited_for_later(
    said: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Capture must not end because somebody changed a password."""
    monkeypatch.setattr(outages, "SECONDS_FIRST", 0.001)
    courier = start(said)
    courier.tables[0].errors = [PermissionError("denied")] * 3  # type: ignore[attr-defined]
    courier.freeze("a-0", pending(1))
    courier.reached("a-0", 1)
    assert courier.close(10)
    assert ("bronze", {"a-0": [1]}) in said

    def refused() -> Any:
        raise PermissionError("denied")

    first = Courier(SHARDS, commit_seconds=0.0, stop=threading.Event(), logger=structlog.get_logger())
    first.start(refused)
    with pytest.raises(Refused, match="the lake cannot be used: denied"):
        first.has_begun(wait=True)


def test_a_defect_is_raised_by_whoever_asks_next(said: list[Any]) -> None:
    courier = start(said)
    courier.tables[0].errors = [KeyError("bug")]  # type: ignore[attr-defined]
    courier.freeze("a-0", pending(1))
    courier.reached("a-0", 1)
    with pytest.raises(KeyError, match="bug"):
        courier.close(10)
    with pytest.raises(KeyError, match="bug"):
        courier.check()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
