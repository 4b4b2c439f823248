"""Expected errors and the word that was meant."""

import pytest

from connectors.errors import TapeError, nearest, unknown


@pytest.mark.parametrize(
    ("word", "meant"),
    [("binanse", "binance"), ("KRAKEN", "kraken"), ("coinbse", "coinbase"), ("zzz", None), ("", None)],
)
def test_the_nearest_word_is_found(word: str, meant: str | None) -> None:
    assert nearest(word, ["binance", "kraken", "coinbase"]) == meant


def test_the_nearest_word_keeps_its_own_spelling() -> None:
    assert nearest("btc-usdt", ["ETH-USDT", "BTC-USDT"]) == "BTC-USDT"


def test_an_unknown_word_is_told_with_what_was_meant() -> None:
    error = unknown("venue", "krakn", ["binance", "kraken"])
    assert (str(error), error.hint) == ("unknown venue 'krakn'", "did you mean kraken?")


def test_without_a_near_one_all_known_words_are_told() -> None:
    assert unknown("venue", "zzz", iter(["binance", "kraken"])).hint == "known: binance, kraken"


def test_an_error_may_go_without_a_hint() -> None:
    error = TapeError("the disk is full")
    assert (str(error), error.hint) == ("the disk is full", "")
