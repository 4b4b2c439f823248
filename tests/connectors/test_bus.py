"""What waits is counted and bounded; a bus that never began has nothing, and one that failed says so."""

from threading import Event
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from connectors import bus as buses
from connectors import outages
from connectors.brokers import KINDS, KafkaError, Unreachable
from connectors.bus import MESSAGE_BYTES, Bus, Outgoing
from connectors.messages import Message
from tests.campaigns.kafka_driver import store_of, until


def message(value: bytes, position: int = 7) -> Message:
    return Message("market.crypto.trades.x", 2, b"key", value, b"x:spot:A-B:0:1", position)


def bus(stop: Event | None = None) -> Bus:
    return Bus(["x-0"], store_of("x-0"), stop=stop or Event(), logger=structlog.get_logger())


def test_what_waits_is_counted_until_it_is_acknowledged() -> None:
    outgoing = Outgoing("x-0", store_of("x-0"))
    numbers = [outgoing.put(message(b"12345", position))[0] for position in (7, 8)]
    _, headers = outgoing.put(message(b"", 9))
    assert headers == [
        ("id", b"x:spot:A-B:0:1"),
        ("frame", b"simulated-a store:x-0:9"),
    ]
    assert outgoing.taken == 3 * MESSAGE_BYTES + 10
    outgoing.take(numbers[0])
    assert [each.position for each in outgoing.waiting.values()] == [8, 9]
    assert outgoing.taken == 2 * MESSAGE_BYTES + 5


def test_what_waits_for_room_ends_when_the_process_is_to_end_without_brokers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = Event()
    monkeypatch.setattr(buses, "QUEUE_BYTES_MAX", MESSAGE_BYTES)
    found = bus(stop)
    outgoing = found.outgoing["x-0"]
    outgoing.put(message(b""))
    found.wait_for_room(outgoing)
    outgoing.put(message(b""))
    stop.set()
    found._is_outage, found._problem = True, "host:1: refused"
    with pytest.raises(KafkaError, match="ended while Kafka could not be written: host:1: refused"):
        found.wait_for_room(outgoing)
    found.drain(outgoing, 0, 60)  # an epoch ends all the same


def test_one_that_never_began_has_nothing_left_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "STOP_SECONDS", 0.01)
    monkeypatch.setattr(outages, "BEGIN_SECONDS", 0.05)
    stop = Event()
    found = bus(stop)
    assert found.close(1)
    assert not found.has_begun(wait=False)
    stop.set()
    with pytest.raises(KafkaError, match="ended before Kafka could be used"):
        found.has_begun(wait=True)
    status = found.status()
    assert not status.begun
    assert dict(status.errors) == dict.fromkeys(KINDS, 0)


def test_what_ended_it_is_raised_by_whoever_asks_next() -> None:
    found = bus()

    def refuse() -> Any:
        raise KafkaError("no")

    with capture_logs() as logged:
        found.start(refuse, {})
        found._thread.join()
    assert logged == []
    for ask in (
        found.check,
        lambda: found.has_begun(wait=True),
        lambda: found.send(found.outgoing["x-0"], []),
    ):
        with pytest.raises(KafkaError, match=r"^no$"):
            ask()


def test_an_outage_at_the_start_is_said_and_counted() -> None:
    stop = Event()
    found = bus(stop)

    def unreachable() -> Any:
        raise Unreachable("host:1: refused")

    with capture_logs() as logged:
        found.start(unreachable, {})
        until(lambda: found.status().errors["transport"])
        status = found.status()
        stop.set()
        found._thread.join()
    assert [line["event"] for line in logged] == ["cannot use Kafka, trying again"]
    assert (status.problem, status.begun) == ("host:1: refused", False)
    assert status.outage_seconds > 0
