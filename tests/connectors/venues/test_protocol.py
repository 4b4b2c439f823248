"""What every venue answers, prepared once."""

import json

from connectors.venues import VENUES
from connectors.venues.protocol import instrument, nothing


def test_an_instrument_prepares_what_ids_and_words_begin_with() -> None:
    listed = instrument("kraken", "BTC/USD", "BTC", "USD", rest="XBTUSD")
    assert listed.symbol == "BTC-USD"
    assert listed.trade_prefix == "kraken:spot:BTC-USD:0:"
    assert listed.quote_prefix == "kraken:spot:BTC-USD:"
    assert listed.vendor_prefix == '{"base_asset":"BTC","quote_asset":"USD","native_symbol":"BTC/USD"'
    assert instrument("x", "AB", "A", "B").rest == "AB"


def test_nasty_names_stay_inside_their_quotes() -> None:
    listed = instrument("x", 'a"\\\n', '"b', "c\u0000")
    assert json.loads(listed.vendor_prefix + "}") == {
        "base_asset": '"b',
        "quote_asset": "c\u0000",
        "native_symbol": 'a"\\\n',
    }


def test_venues_are_known_by_their_own_names() -> None:
    assert {name: venue.name for name, venue in VENUES.items()} == {name: name for name in VENUES}
    assert nothing(5) is None
