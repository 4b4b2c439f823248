"""What we ship is there, is what the decoders read, and cannot be changed by whoever asks for it."""

import pytest

from connectors.venues.shipped import shipped_instruments


@pytest.mark.parametrize(
    ("venue", "native", "symbol", "rest"),
    [
        ("binance", "BNBBTC", "BNB-BTC", "BNBBTC"),
        ("binance", "BTCUSDT", "BTC-USDT", "BTCUSDT"),
        ("kraken", "BTC/USD", "BTC-USD", "XBTUSD"),
        ("kraken", "DOGE/USD", "DOGE-USD", "XDGUSD"),
        ("kraken", "MATIC/USD", "MATIC-USD", "MATICUSD"),
        ("coinbase", "BAND-GBP", "BAND-GBP", "BAND-GBP"),
    ],
)
def test_well_known_markets_are_shipped(venue: str, native: str, symbol: str, rest: str) -> None:
    listed = shipped_instruments(venue)[native]
    assert (listed.exchange, listed.symbol, listed.rest) == (venue, symbol, rest)


def test_a_venue_without_a_list_has_none() -> None:
    assert shipped_instruments("okx") == {}


@pytest.mark.parametrize("venue", ["binance", "kraken", "coinbase"])
def test_what_is_shipped_cannot_be_changed(venue: str) -> None:
    shipped = shipped_instruments(venue)
    assert len(shipped) > 50
    with pytest.raises(TypeError):
        shipped["X"] = None  # type: ignore[index]
