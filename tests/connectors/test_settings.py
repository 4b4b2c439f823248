"""Defaults, and what `--symbols` asks of each venue."""

from dataclasses import asdict

import pytest
from pydantic import SecretStr, ValidationError

from connectors.errors import TapeError
from connectors.resilience import Policy
from connectors.settings import LakeSettings, Settings, VenueSettings, parse_symbols, suggest_symbol

CONFIGURED = {
    "binance": ("BTC-USDT", "ETH-USDT"),
    "kraken": ("BTC-USD",),
    "coinbase": ("BTC-USD",),
}


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


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("BTC-USDT,ETH-USDT", {"binance": ("BTC-USDT", "ETH-USDT")}),
        ("SOL-USD", {"kraken": ("SOL-USD",), "coinbase": ("SOL-USD",)}),
        (
            "BTC-EUR",
            {"binance": ("BTC-EUR",), "kraken": ("BTC-EUR",), "coinbase": ("BTC-EUR",)},
        ),
        ("binance:BTC-USDT", {"binance": ("BTC-USDT",)}),
        (
            " kraken:BTC-USD , BTC-USDT, BTC-USDT,",
            {"kraken": ("BTC-USD",), "binance": ("BTC-USDT",)},
        ),
    ],
)
def test_symbols_go_to_their_venues(text: str, chosen: dict[str, tuple[str, ...]]) -> None:
    assert parse_symbols(text, CONFIGURED) == chosen


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("binanse:BTC-USDT", "unknown venue 'binanse'", "did you mean binance?"),
        ("BTCUSDT", "unknown symbol 'BTCUSDT'", "did you mean BTC-USDT?"),
        ("kraken:btc/usd", "unknown symbol 'btc/usd'", "did you mean kraken:BTC-USD?"),
        ("kraken:ETH", "unknown symbol 'ETH'", "did you mean kraken:ETH-USD?"),
        (" , ", "--symbols names no symbol", "try --symbols BTC-USDT,kraken:BTC-USD"),
    ],
)
def test_a_mistyped_symbol_is_told_with_the_right_one(text: str, message: str, hint: str) -> None:
    with pytest.raises(TapeError) as told:
        parse_symbols(text, CONFIGURED)
    assert (str(told.value), told.value.hint) == (message, hint)


def test_symbols_of_the_command_line_replace_the_configured_ones() -> None:
    settings = Settings().with_symbols("kraken:SOL-USD")
    assert {name: venue.symbols for name, venue in settings.enabled().items()} == {"kraken": ("SOL-USD",)}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("BTC", "BTC-USDT"),
        ("btc_usdt", "BTC-USDT"),
        ("BNBUSDT", "BNB-USDT"),
        ("ETG-USDX", "ETG-USDX"),
        ("?", "BTC-USDT"),
    ],
)
def test_the_symbol_that_was_meant(text: str, meant: str) -> None:
    assert suggest_symbol(text, ["BTC-USDT", "BNB-USDT"]) == meant


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
