"""`tape topics`: what is there, what differs, and an exit code that says so."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka.admin import AdminClient

from connectors.brokers import client_properties
from connectors.kafka_settings import KafkaSettings
from connectors.topics import make, wanted_topics
from operate import cli
from tests.campaigns.kafka_servers import without_topics
from tests.campaigns.rounds import free_addresses
from tests.campaigns.running import Job

if TYPE_CHECKING:
    from tests.services.kafka import Kafka


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPE_VENUES__KRAKEN__ENABLED", "false")
    monkeypatch.setenv("TAPE_VENUES__COINBASE__ENABLED", "false")


def test_without_brokers_it_says_how_to_have_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["topics"]) == 2
    assert capsys.readouterr().err == (
        "error: no Kafka is configured\n"
        "hint: set kafka.bootstrap_servers (TAPE_KAFKA__BOOTSTRAP_SERVERS=HOST:9092)\n"
    )


def test_brokers_that_are_away_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place,) = free_addresses(1)
    monkeypatch.setenv("TAPE_KAFKA__BOOTSTRAP_SERVERS", place)
    monkeypatch.setattr("connectors.topics.ANSWER_SECONDS", 0.5)
    assert cli.run(["topics"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: Kafka cannot be reached: {place}/bootstrap: ")
    assert "hint: see whether they run; set kafka.bootstrap_servers\n" in said


def test_topics_are_shown_with_what_differs(
    kafka: "Kafka", monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_topics(Job("", brokers=kafka.plain))
    admin = AdminClient(client_properties(KafkaSettings(bootstrap_servers=(kafka.plain,))))
    monkeypatch.setenv("TAPE_KAFKA__BOOTSTRAP_SERVERS", kafka.plain)
    assert cli.run(["topics", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["differs"] for row in rows] == ["missing"] * 6
    make(admin, wanted_topics(KafkaSettings(retention_days=3), ["binance"]))
    monkeypatch.setenv("TAPE_KAFKA__RETENTION_DAYS", "3")
    assert cli.run(["topics"]) == 0
    assert capsys.readouterr().out.count("\n") == 7
    monkeypatch.setenv("TAPE_KAFKA__PARTITIONS", "16")
    assert cli.run(["topics", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == {
        "topic": "market.crypto.trades.binance",
        "partitions": 8,
        "replication": 1,
        "cleanup": "delete",
        "retention_days": 3.0,
        "compression": "lz4",
        "differs": "partitions is 8, wanted 16: to add partitions now would break the order of symbols",
    }
