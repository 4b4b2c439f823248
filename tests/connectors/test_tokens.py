"""Tokens: what is written is read, and other properties are nobody's token."""

from connectors.tokens import Token, as_properties, decoded


def test_what_is_written_is_read() -> None:
    tokens = {
        "binance-0": Token("store", 3, "writer", 7, {"frames": 7}),
        "kraken-12": Token("store", 1, "writer", 0, {}),
    }
    assert decoded(as_properties(tokens) | {"owner": "somebody"}) == tokens


def test_what_a_newer_release_adds_is_left_alone() -> None:
    text = '{"store":"s","incarnation":1,"writer":"w","position":2,"counts":{},"more":[1]}'
    assert decoded({"tape.token.binance-0": text}) == {"binance-0": Token("s", 1, "w", 2, {})}
