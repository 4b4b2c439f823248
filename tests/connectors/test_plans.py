"""From settings to shards."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import structlog

from connectors.errors import TapeError
from connectors.plans import plan_shards, policy_of, shard_names, shard_of, venues_of
from connectors.resilience import Policy
from connectors.settings import CaptureSettings, Settings
from connectors.venues import VENUES
from simulator.server import running

OTHERS: dict[str, object] = {
    name: {"enabled": False} for name in VENUES if name not in ("binance", "kraken", "coinbase")
}


def settings(venues: dict[str, object]) -> Settings:
    """As read from a file, without venues that somebody may have added."""
    return Settings(venues={**OTHERS, **venues})  # type: ignore[arg-type]


def test_every_number_of_the_policy_can_be_set() -> None:
    assert policy_of(CaptureSettings()) == Policy()
    for field in fields(Policy):
        value = getattr(Policy(), field.name)
        other = value // 2 if isinstance(value, int) else value * 1.5
        assert policy_of(CaptureSettings(**{field.name: other})) == replace(Policy(), **{field.name: other})


def test_settings_name_addresses_or_the_venue_keeps_its_own() -> None:
    found = venues_of(
        settings(venues={"kraken": {"rest_urls": ["http://127.0.0.1:1"]}, "coinbase": {"enabled": False}})
    )
    assert [venue.name for venue in found] == ["binance", "kraken"]
    assert found[0].rest_urls[0] == "https://api.binance.com"
    assert found[1].rest_urls == ("http://127.0.0.1:1",)


def test_symbols_spread_over_shards_the_same_way_for_ever() -> None:
    assert [shard_of(symbol, 4) for symbol in ("BTC-USDT", "ETH-USDT", "BNB-USDT")] == [3, 1, 2]
    assert shard_names(settings(venues={"binance": {"shards": 2}})) == [
        "binance-0",
        "binance-1",
        "kraken-0",
        "coinbase-0",
    ]


def test_each_symbol_is_captured_by_exactly_one_shard(tmp_path: Path) -> None:
    with running(seed=1, rate=0) as sim:
        chosen = settings(
            venues={
                name: {
                    "websocket_urls": [sim.websocket_url(name)],
                    "rest_urls": [sim.rest_url(name)],
                    "shards": 2 if name == "binance" else 1,
                }
                for name in ("binance", "kraken", "coinbase")
            }
        )
        plans = plan_shards(chosen, venues_of(chosen), tmp_path, structlog.get_logger())
    assert [(plan.shard, tuple(each.symbol for each in plan.instruments)) for plan in plans] == [
        ("binance-0", ("BNB-USDT",)),
        ("binance-1", ("BTC-USDT", "ETH-USDT")),
        ("kraken-0", ("BTC-USD", "ETH-USD")),
        ("coinbase-0", ("BTC-USD", "ETH-USD")),
    ]
    assert plans[0].directory == tmp_path / "journal" / "binance-0"


def test_symbols_that_no_venue_lists_are_told_of_all_venues_at_once(tmp_path: Path) -> None:
    wrong: dict[str, object] = {
        "binance": {"symbols": ["BAR-USDT", "BTC-USDT"]},
        "kraken": {"symbols": ["XBT-USD", "FOO-USD"]},
        "coinbase": {"enabled": False},
    }
    there = {"websocket_urls": ["ws://127.0.0.1:9"], "rest_urls": ["http://127.0.0.1:9"]}
    chosen = settings({name: there | table for name, table in wrong.items()})  # type: ignore[operator]
    with pytest.raises(TapeError) as told:
        plan_shards(chosen, venues_of(chosen), tmp_path, structlog.get_logger())
    assert str(told.value) == (
        "venues.binance.symbols: not listed there: BAR-USDT; "
        "venues.kraken.symbols: not listed there: XBT-USD, FOO-USD"
    )
    assert "did you mean BTC-USD?" in told.value.hint
