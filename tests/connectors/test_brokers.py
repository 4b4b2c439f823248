"""What brokers say becomes an outage or a refusal, in words and with what to do."""

from typing import Any

import pytest
from confluent_kafka import KafkaError as Answer
from confluent_kafka import KafkaException

from connectors.brokers import (
    KINDS,
    REFUSALS,
    KafkaError,
    Unreachable,
    answered,
    asked,
    client_properties,
    is_outage,
    kind_of,
    named,
    words,
)
from connectors.kafka_settings import KafkaSettings
from connectors.registry import Unanswered
from tests.campaigns.rounds import free_addresses


def test_every_refusal_has_a_kind_and_a_hint() -> None:
    for code, (kind, hint) in REFUSALS.items():
        error = named("it cannot be sent", Answer(code))
        assert type(error) is KafkaError
        assert kind_of(Answer(code)) == kind
        assert kind in KINDS
        assert error.hint == hint
        assert not is_outage(error)


@pytest.mark.parametrize("code", [Answer._TRANSPORT, Answer.NOT_ENOUGH_REPLICAS, Answer.REQUEST_TIMED_OUT])
def test_everything_else_passes(code: int) -> None:
    error = named("it cannot be sent", Answer(code))
    assert is_outage(error)
    assert kind_of(Answer(code)) == "transport"
    assert is_outage(Unanswered("the registry is away"))
    assert not is_outage(KeyError("bug"))


def test_words_are_for_people() -> None:
    said = "host:9092/bootstrap: Connect failed: Connection refused"
    assert words(Answer(Answer._TRANSPORT, f"{said} (after 0ms in state CONNECT)")) == said
    assert words(Answer(Answer._TRANSPORT, "Local: Broker transport failure")) == "Broker transport failure"
    assert words(Answer(Answer.MSG_SIZE_TOO_LARGE, "")) == "MSG_SIZE_TOO_LARGE"


def test_what_a_client_raises_is_ours() -> None:
    def refuse() -> None:
        raise KafkaException(Answer(Answer.TOPIC_AUTHORIZATION_FAILED))

    with pytest.raises(KafkaError, match="it cannot be made: ") as told:
        asked("it cannot be made", refuse)
    assert "market.*" in told.value.hint
    assert asked("", lambda: 5) == 5


def test_a_broker_that_is_away_is_named() -> None:
    (place,) = free_addresses(1)
    heard: list[Any] = []
    properties = client_properties(KafkaSettings(bootstrap_servers=(place,)), heard.append)
    with pytest.raises(
        Unreachable, match=rf"^Kafka cannot be reached: {place}/bootstrap: .*Connection refused$"
    ):
        answered(properties, lambda admin: asked("no", lambda: admin.list_topics(timeout=0.5)))
    assert heard


def test_a_user_and_an_authority_are_handed_on() -> None:
    settings = KafkaSettings.model_validate(
        {
            "bootstrap_servers": ("a.example:1", "b.example:2"),
            "security_protocol": "SASL_SSL",
            "user": "tape",
            "password": "canary",
            "ca_file": "ca.pem",
        }
    )
    found = client_properties(settings)
    assert found["bootstrap.servers"] == "a.example:1,b.example:2"
    assert (found["sasl.username"], found["sasl.password"]) == ("tape", "canary")
    assert (found["security.protocol"], found["ssl.ca.location"]) == ("SASL_SSL", "ca.pem")
    assert not [name for name in client_properties(KafkaSettings()) if name.startswith(("sasl", "ssl"))]
