"""The brokers that topics rest on: how they are reached, which of their answers no waiting will change, and
what to do about those.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError as Answer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from connectors.errors import TapeError
from connectors.kafka_settings import KafkaSettings
from connectors.registry import Unanswered

# A broker that is there answers at once; one that begins again needs some seconds.
ANSWER_SECONDS = 5.0
# How long a client leaves a broker that is away alone, at most.
RECONNECT_SECONDS_MAX = 5

ALL_AWAY = Answer._ALL_BROKERS_DOWN
# What a client adds to what it says, and nobody can do anything about.
AFTER = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")

MAKE = "the next start makes it again: let nobody remove topics meanwhile"
LARGER = "raise max.message.bytes of the topic: `tape topics` says to what"
FEWER = "set kafka.replication to at most as many as there are brokers"
RULES = "the brokers have rules for topics: make them as `tape topics` shows them"
LOGIN = "set kafka.user, TAPE_KAFKA__PASSWORD or …_FILE, and kafka.sasl_mechanism"
GRANT = "grant this user Create, Describe, DescribeConfigs, Read and Write on topics named market.*"
AGAIN = "nothing is lost: start again"

# What they say no with, as metrics name it, and what to do.
REFUSALS: dict[int, tuple[str, str]] = {
    Answer._AUTHENTICATION: ("authentication", LOGIN),
    Answer.SASL_AUTHENTICATION_FAILED: ("authentication", LOGIN),
    Answer.UNSUPPORTED_SASL_MECHANISM: ("authentication", LOGIN),
    Answer._SSL: ("authentication", "set kafka.ca_file to who signed the brokers' certificates"),
    Answer.TOPIC_AUTHORIZATION_FAILED: ("authorization", GRANT),
    Answer.CLUSTER_AUTHORIZATION_FAILED: ("authorization", GRANT),
    Answer.GROUP_AUTHORIZATION_FAILED: ("authorization", GRANT),
    Answer.MSG_SIZE_TOO_LARGE: ("too_large", LARGER),
    Answer.INVALID_MSG_SIZE: ("too_large", LARGER),
    Answer._UNKNOWN_TOPIC: ("unknown_topic", MAKE),
    Answer.UNKNOWN_TOPIC_OR_PART: ("unknown_topic", MAKE),
    Answer._UNKNOWN_PARTITION: ("unknown_topic", "the next start looks at all partitions again"),
    Answer._FATAL: ("fenced", AGAIN),
    Answer._FENCED: ("fenced", AGAIN),
    Answer.INVALID_PRODUCER_EPOCH: ("fenced", AGAIN),
    Answer.OUT_OF_ORDER_SEQUENCE_NUMBER: ("fenced", AGAIN),
    Answer.INVALID_REPLICATION_FACTOR: ("configuration", FEWER),
    Answer.POLICY_VIOLATION: ("configuration", RULES),
    Answer.INVALID_CONFIG: ("configuration", "the brokers know another configuration: see what they are"),
    Answer._INVALID_ARG: ("configuration", "see the settings of kafka: `tape config show`"),
}  # fmt: skip
KINDS = (
    "transport",
    "authentication",
    "authorization",
    "too_large",
    "unknown_topic",
    "fenced",
    "configuration",
)


T = TypeVar("T")


class KafkaError(TapeError):
    """Kafka cannot be used as asked."""


class Unreachable(KafkaError):
    """No broker answers as it should: that passes."""


def client_properties(
    settings: KafkaSettings, said: Callable[[Any], None] = lambda _: None
) -> dict[str, Any]:
    """What every client must know of the brokers; `said` gets what goes wrong meanwhile."""
    found: dict[str, Any] = {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "security.protocol": settings.security_protocol,
        "client.id": "tapekeeper",
        "reconnect.backoff.max.ms": 1_000 * RECONNECT_SECONDS_MAX,
        "socket.keepalive.enable": True,
        "log_level": 0,  # what it has to say comes through `said`
        "error_cb": said,
    }
    if settings.security_protocol.startswith("SASL"):
        found |= {
            "sasl.mechanism": settings.sasl_mechanism,
            "sasl.username": settings.user,
            "sasl.password": settings.password.get_secret_value(),
        }
    if settings.ca_file:
        found["ssl.ca.location"] = settings.ca_file
    return found


def kind_of(answer: Any) -> str:
    """What sort of problem it is; one of KINDS."""
    return REFUSALS.get(answer.code(), ("transport", ""))[0]


def named(problem: str, answer: Any) -> KafkaError:
    """Our error for what a client said."""
    if answer.code() in REFUSALS:
        return KafkaError(f"{problem}: {words(answer)}", hint=REFUSALS[answer.code()][1])
    return Unreachable(
        f"{problem}: {words(answer)}", hint="see whether they run; set kafka.bootstrap_servers"
    )


def words(answer: Any) -> str:
    """What a client said, without the names that it has for itself."""
    said = str(answer.str()).removeprefix("Local: ").removeprefix("Broker: ")
    return AFTER.sub("", said).strip().rstrip(".") or str(answer.name())


def is_outage(error: Exception) -> bool:
    """Whether waiting helps."""
    return isinstance(error, Unreachable | Unanswered)


def answered(properties: Mapping[str, Any], ask: Callable[[AdminClient], T]) -> T:
    """What brokers answer a client of its own; what it hears of them meanwhile says whether waiting helps."""
    heard: list[Any] = []

    def said(error: Any) -> None:
        heard.append(error)
        properties["error_cb"](error)

    told: dict[str, Any] = {**properties, "error_cb": said}
    admin = AdminClient(told)
    try:
        return ask(admin)
    except Unreachable as error:
        admin.poll(0)
        # That all are away says no more than that one is, and why.
        reasons = sorted(heard, key=lambda each: (each.code() not in REFUSALS, each.code() == ALL_AWAY))
        if not reasons:
            raise
        raise named("Kafka cannot be reached", reasons[0]) from error


def asked(problem: str, ask: Callable[[], Any]) -> Any:
    """What a client answers, or our error."""
    try:
        return ask()
    except KafkaException as error:
        raise named(problem, error.args[0]) from error
