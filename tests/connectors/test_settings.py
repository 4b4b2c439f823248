"""Defaults, and what the settings make of what is said."""

from dataclasses import asdict

import pytest
from pydantic import SecretStr, ValidationError

from connectors.resilience import Policy
from connectors.settings import LakeSettings, Settings, VenueSettings


def test_without_configuration_the_most_traded_symbols_are_captured() -> None:
    settings = Settings()
    chosen = {name: venue.symbols for name, venue in settings.enabled().items()}
    assert chosen["binance"] == ("BTC-USDT", "ETH-USDT", "BNB-USDT")
    assert chosen["kraken"] == chosen["coinbase"] == ("BTC-USD", "ETH-USD")
    assert (settings.mode, str(settings.data_dir)) == ("auto", "data")


def test_the_resilience_defaults_are_the_documented_ones() -> None:
    capture = Settings().capture
    assert (capture.backoff_seconds_first, capture.backoff_seconds_max) == (1, 60)
    assert (capture.breaker_failures, capture.breaker_seconds, capture.breaker_successes) == (3, 30, 2)
    assert capture.idle_seconds == 30


def test_capture_is_as_patient_as_its_settings_say() -> None:
    policy = asdict(Policy())
    settings = Settings().capture.model_dump(exclude={"segment_bytes_max"})
    assert settings == {key: policy[key] for key in settings}
    assert Policy(**settings) == Policy()


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.mode = "live"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        settings.capture.idle_seconds = 1.0  # type: ignore[misc]


def test_every_key_says_what_it_is_for() -> None:
    schema = Settings.model_json_schema()
    for table in [schema, *schema["$defs"].values()]:
        for key, told in table["properties"].items():
            assert "description" in told or "$ref" in told, key


def test_a_named_venue_keeps_its_other_defaults() -> None:
    settings = Settings.model_validate({"venues": {"kraken": {"shards": 2}}})
    assert settings.venues["kraken"] == VenueSettings(symbols=("BTC-USD", "ETH-USD"), shards=2)
    assert set(settings.venues) >= {"binance", "kraken", "coinbase"}


def test_symbols_of_the_command_line_replace_the_configured_ones() -> None:
    settings = Settings().with_symbols("kraken:SOL-USD")
    assert {name: venue.symbols for name, venue in settings.enabled().items()} == {"kraken": ("SOL-USD",)}


def test_a_lake_is_named_by_what_we_can_open_and_its_secrets_are_not_shown() -> None:
    lake = LakeSettings(catalog_secret=SecretStr("hidden"), store_secret_key=SecretStr("hidden"))
    assert "hidden" not in repr(lake)
    assert (lake.access()["secret"], lake.access()["secret_key"]) == ("hidden", "hidden")
    for wrong in (
        {"catalog": "mysql://host/lake"},
        {"catalog": "postgresql://tape:hidden@host/lake"},
        {"catalog": "http://catalog.example"},
        {"warehouse": "gs://bucket"},
        {"store_endpoint": "http://s3.example"},
    ):
        with pytest.raises(ValidationError):
            LakeSettings.model_validate(wrong)
    for right in (
        {"catalog": "postgresql://tape@host/lake", "warehouse": "s3://bucket/lake"},
        {"catalog": "https://catalog.example", "warehouse": "prod"},
        {"catalog": "http://127.0.0.1:8181", "store_endpoint": "http://localhost:8333"},
        {"warehouse": "tables"},
    ):
        LakeSettings.model_validate(right)
