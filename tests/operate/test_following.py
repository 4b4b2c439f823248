"""Topics are followed by the ids of their schemas: every version, each message once, none lost in silence."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace
from structlog.testing import capture_logs

from connectors.kafka_settings import KafkaSettings
from connectors.slots import Kind
from operate import cli
from operate.following import follow_topics
from schemas import DeadLetter, Trade
from tests.campaigns.kafka_driver import PATIENCE_SECONDS, Driven, read, store_of
from tests.campaigns.kafka_servers import without_topics
from tests.campaigns.lake_driver import rows_of
from tests.campaigns.running import Job

if TYPE_CHECKING:
    from tests.services.kafka import Kafka
    from tests.services.registry import Registry

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def settings(kafka: "Kafka", registry: "Registry") -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(kafka.plain,), registry_url=registry.url, partitions=2, retention_days=36_500
    )


def published(settings: KafkaSettings, venue: str, first: int, last: int, kind: Kind = "simulated") -> None:
    """Have frames of a venue's shard in the topics."""
    with capture_logs():
        driven = Driven(settings, replace(store_of(f"{venue}-0", store=f"{first}"), kind=kind))
        driven.write(first, last)
        driven.begun()
        assert driven.sink.close(10)


def test_every_version_is_followed_each_message_once(
    settings: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    venue = f"v{uuid.uuid4().hex[:12]}"
    published(settings, venue, 1, 20)
    landing = follow_topics(settings, Trade, [venue], "ETH-USDT")
    published(settings, venue, 21, 40)
    published(settings.model_copy(update={"schema_version": "v2"}), venue, 41, 60)
    topic = f"market.crypto.trades.{venue}"
    *_, last = read(settings, topic)
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers[0], "log_level": 0})
    producer.produce(topic, last.value, last.key, last.partition, headers=list(last.headers.items()))
    producer.produce(topic, b"\x00\x00", partition=0)
    assert producer.flush(10) == 0
    wanted = {
        row.message_id
        for position in range(21, 61)
        for row in rows_of(f"{venue}-0", position)
        if isinstance(row, Trade) and row.symbol == "ETH-USDT"
    }
    found: list[Trade] = []
    said = ""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < len(wanted) or "cannot read" not in said:
        assert time.monotonic() < deadline
        found += next(landing)
        said += capsys.readouterr().err
    found += next(landing)
    landing.close()
    assert sorted(row.message_id for row in found) == sorted(wanted)
    assert {row.shard for row in found} == {f"{venue}-0", None}
    simulated, broken = said.splitlines()
    assert simulated == f"SIMULATED · no real venue speaks in {topic}"
    assert broken.startswith(f"cannot read {topic} 0/")
    assert broken.endswith("2 bytes, shorter than the header of 5")


def test_what_no_venue_said_is_called_simulated_before_it_is_shown(
    settings: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    live, simulated = (f"v{uuid.uuid4().hex[:12]}" for _ in range(2))
    published(settings, live, 1, 1, "live")
    published(settings, simulated, 1, 1)
    landing = follow_topics(settings, Trade, [live, simulated], None)

    def comes_from(venue: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while venue not in {row.exchange for row in next(landing)}:
            assert time.monotonic() < deadline

    published(settings, live, 2, 30, "live")
    comes_from(live)
    assert capsys.readouterr().err == ""
    published(settings, simulated, 2, 30)
    comes_from(simulated)
    published(settings, simulated, 31, 60)
    comes_from(simulated)
    said = capsys.readouterr().err
    assert said == f"SIMULATED · no real venue speaks in market.crypto.trades.{simulated}\n"
    landing.close()


def test_without_topics_it_is_said(
    settings: KafkaSettings,
    kafka: "Kafka",
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    without_topics(Job("", brokers=kafka.plain))
    monkeypatch.setenv("TAPE_KAFKA__BOOTSTRAP_SERVERS", kafka.plain)
    assert cli.run(["tail", "--venue", "kraken"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: Kafka has no market.crypto.trades.kraken",
        "hint: `tape run` makes topics; --tables follows the tables",
    ]


@pytest.mark.long
def test_the_verb_follows_topics_where_kafka_is_configured(
    tmp_path: Path, settings: KafkaSettings, kafka: "Kafka", registry: "Registry"
) -> None:
    published(settings, "kraken", 1, 3)
    out, err = tmp_path / "out", tmp_path / "err"
    environment = {
        "TAPE_DATA_DIR": str(tmp_path),
        "TAPE_MODE": "auto",  # its word is the messages'
        "TAPE_KAFKA__BOOTSTRAP_SERVERS": kafka.plain,
        "TAPE_KAFKA__REGISTRY_URL": registry.url,
        "PYTHONPATH": str(ROOT),
    }
    with out.open("w") as output, err.open("w") as talk:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "operate",
                "tail",
                "--stage",
                "dead-letter",
                "--venue",
                "kraken",
                "--json",
            ],
            env={**os.environ, **environment},
            stdout=output,
            stderr=talk,
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "following" not in err.read_text():
            assert process.poll() is None, err.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        published(settings, "kraken", 4, 40)
        while len(out.read_text().splitlines()) < 2:
            assert process.poll() is None, err.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_SECONDS)
    assert code == 130
    assert err.read_text().splitlines() == [
        f"following dead-letters of Kafka at {kafka.plain}, Ctrl-C ends",
        "SIMULATED · no real venue speaks in market.crypto.dead-letters.kraken",
    ]
    wanted = [
        row
        for position in range(4, 41)
        for row in rows_of("kraken-0", position)
        if isinstance(row, DeadLetter)
    ]
    told = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["message_id"] for row in told] == [row.message_id for row in wanted]
