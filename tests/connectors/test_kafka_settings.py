"""The section of Kafka: off without brokers, encrypted unless on this machine, every problem at once."""

from pathlib import Path

import pytest

from connectors.configuration import SettingsError, load
from connectors.kafka_settings import KafkaSettings

CANARY = "canary-9f3b"

EVERYTHING_WRONG = """\
[kafka]
bootstrap_servers = ["localhost", "http://localhost:9092", "a:0"]
security_protocol = "SASL"
sasl_mechanism = "SCRAM"
user = ""
password = "canary-9f3b"
registry_url = "http://registry.example:8081"
schema_version = "v4"
partitions = 0
replication = -1
retention_days = 0.5
compression = "gzip"
topics = 3
"""


def problems(path: Path, text: str, environment: dict[str, str] | None = None) -> list[str]:
    path.write_text(text)
    with pytest.raises(SettingsError) as told:
        load(path, environment or {})
    assert CANARY not in str(told.value)
    return [line.replace(f"{path.parent}/", "") for line in str(told.value).splitlines()]


def test_without_brokers_there_is_no_kafka_and_one_variable_switches_it_on() -> None:
    assert load(environment={}).settings.kafka == KafkaSettings()
    assert KafkaSettings().bootstrap_servers == ()
    loaded = load(environment={"TAPE_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:9092, [::1]:9093"})
    assert loaded.settings.kafka.bootstrap_servers == ("127.0.0.1:9092", "[::1]:9093")


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    assert sorted(problems(tmp_path / "tape.toml", EVERYTHING_WRONG)) == sorted(
        [
            'tape.toml:2: kafka.bootstrap_servers: expected HOST:PORT, got "localhost" '
            '(try "localhost:9092")',
            'tape.toml:2: kafka.bootstrap_servers: expected HOST:PORT, got "http://localhost:9092" '
            '(try "HOST:9092")',
            'tape.toml:2: kafka.bootstrap_servers: expected HOST:PORT, got "a:0" (try "HOST:9092")',
            "tape.toml:3: kafka.security_protocol: expected one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL, "
            'got "SASL" (try "SSL")',
            "tape.toml:4: kafka.sasl_mechanism: expected one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, "
            'got "SCRAM"',
            "tape.toml:6: kafka.password: a secret does not belong in a file that is shown and copied "
            "(set TAPE_KAFKA__PASSWORD, or TAPE_KAFKA__PASSWORD_FILE to a file that holds it)",
            'tape.toml:7: kafka.registry_url: "http://" only to this machine '
            '(try "https://registry.example:8081")',
            'tape.toml:8: kafka.schema_version: expected one of v2, v3, got "v4"',
            "tape.toml:9: kafka.partitions: expected at least 1, got 0 (try 1)",
            "tape.toml:10: kafka.replication: expected at least 0, got -1 (try 0)",
            "tape.toml:11: kafka.retention_days: expected a whole number, got 0.5 (try 7)",
            'tape.toml:12: kafka.compression: expected one of lz4, zstd, got "gzip"',
            f"tape.toml:13: kafka.topics: unknown key (known: {', '.join(KafkaSettings.model_fields)})",
        ]
    )


AWAY = 'bootstrap_servers = ["kafka.example:9093"]'


@pytest.mark.parametrize(
    ("text", "environment", "told"),
    [
        (AWAY, {}, 'tape.toml:1: kafka.security_protocol: "PLAINTEXT" only to this machine (try "SSL")'),
        (
            f'{AWAY}\nsecurity_protocol = "SASL_PLAINTEXT"\nuser = "tape"',
            {"TAPE_KAFKA__PASSWORD": CANARY},
            'tape.toml:3: kafka.security_protocol: "SASL_PLAINTEXT" only to this machine (try "SASL_SSL")',
        ),
        (
            f'{AWAY}\nsecurity_protocol = "SASL_SSL"',
            {},
            "tape.toml:1: kafka.user: is empty, and SASL_SSL needs one",
        ),
        (
            f'{AWAY}\nsecurity_protocol = "SASL_SSL"\nuser = "tape"',
            {},
            "tape.toml:1: kafka.password: is empty, and user is set "
            "(set TAPE_KAFKA__PASSWORD, or TAPE_KAFKA__PASSWORD_FILE)",
        ),
        (
            f'{AWAY}\nsecurity_protocol = "SSL"\nuser = "tape"',
            {"TAPE_KAFKA__PASSWORD": CANARY},
            'tape.toml:4: kafka.user: is not used with SSL (try "SASL_SSL")',
        ),
        (
            "",
            {"TAPE_KAFKA__PASSWORD": CANARY},
            "TAPE_KAFKA__PASSWORD: kafka.password: is set, and user is empty",
        ),
        (
            'registry_user = "tape"',
            {},
            "tape.toml:1: kafka.registry_password: is empty, and registry_user is set "
            "(set TAPE_KAFKA__REGISTRY_PASSWORD, or TAPE_KAFKA__REGISTRY_PASSWORD_FILE)",
        ),
    ],
)
def test_one_problem(tmp_path: Path, text: str, environment: dict[str, str], told: str) -> None:
    (line,) = problems(tmp_path / "tape.toml", f"[kafka]\n{text}", environment)
    assert line == told


def test_a_password_comes_from_a_file_and_is_never_shown(tmp_path: Path) -> None:
    held = tmp_path / "password"
    held.write_text(f"{CANARY}\n")
    loaded = load(
        environment={
            "TAPE_KAFKA__BOOTSTRAP_SERVERS": "kafka.example:9093",
            "TAPE_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "TAPE_KAFKA__USER": "tape",
            "TAPE_KAFKA__PASSWORD_FILE": str(held),
        }
    )
    assert loaded.settings.kafka.password.get_secret_value() == CANARY
    assert ("kafka.password", "***", "TAPE_KAFKA__PASSWORD_FILE") in list(loaded.rows())
    assert CANARY not in repr(loaded)
