"""What `--symbols` asks of each venue, and what a mistyped symbol was meant to be."""

import pytest

from connectors.errors import TapeError
from connectors.symbols import listed_symbol, parse_symbols, suggest_symbol, unswapped

CONFIGURED = {
    "binance": ("BTC-USDT", "ETH-USDT"),
    "kraken": ("BTC-USD",),
    "coinbase": ("BTC-USD",),
}


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
        ("binance:币安人生-USDT", {"binance": ("币安人生-USDT",)}),
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
        ("kraken:é-USD", "unknown symbol 'é-USD'", "did you mean kraken:É-USD?"),
        ("kraken:btc/usd", "unknown symbol 'btc/usd'", "did you mean kraken:BTC-USD?"),
        ("kraken:ETH", "unknown symbol 'ETH'", "did you mean kraken:ETH-USD?"),
        (" , ", "--symbols names no symbol", "try --symbols BTC-USDT,kraken:BTC-USD"),
    ],
)
def test_a_mistyped_symbol_is_told_with_the_right_one(text: str, message: str, hint: str) -> None:
    with pytest.raises(TapeError) as told:
        parse_symbols(text, CONFIGURED)
    assert (str(told.value), told.value.hint) == (message, hint)


def test_all_that_is_mistyped_is_told_at_once() -> None:
    with pytest.raises(TapeError) as told:
        parse_symbols("BTCUSDT,krakn:BTC-USD,BTC-USD,kraken:XBT/USD", CONFIGURED)
    assert str(told.value) == "unknown symbol 'BTCUSDT'; unknown venue 'krakn'; unknown symbol 'XBT/USD'"
    meant = "did you mean BTC-USDT?; did you mean kraken?; did you mean kraken:BTC-USD?"
    assert told.value.hint == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("XBT-USD", "BTC-USD"),
        ("BTCUSD", "BTC-USD"),
        ("BTC-EUR", "BTC-USD"),
        ("ETG-USD", "ETH-USD"),
        ("SOL-USD", None),
        ("BTC-USD", "BTC-USD"),
    ],
)
def test_a_listed_symbol_is_meant_only_by_what_is_nearly_its_asset(text: str, meant: str | None) -> None:
    assert listed_symbol(text, {"BTC-USD": 1, "ETH-USD": 2, "BTC-USDT": 3}) == meant


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


@pytest.mark.parametrize(
    ("symbol", "meant"),
    [
        ("BTC-UDS", "BTC-USD"),
        ("NEW-USTD", "NEW-USDT"),
        ("BTC-USD", None),
        ("BCT-USD", None),
        ("BTC-USD1", None),
    ],
)
def test_only_swapped_letters_of_a_currency_are_sure_to_be_a_mistake(symbol: str, meant: str | None) -> None:
    assert unswapped(symbol) == meant
