"""What is accepted as an address comes back as it is; the rest is told with what could have been meant."""

import pytest

from connectors.addresses import address, known_catalog, known_warehouse, web_address

socket_address = address(("ws", "wss"))


@pytest.mark.parametrize("url", ["wss://stream.binance.com:9443", "ws://127.0.0.1:1", "ws://localhost:9/x"])
def test_an_encrypted_address_and_one_of_this_machine_are_accepted(url: str) -> None:
    assert socket_address(url) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://a.example", r'expected a URL, got "https://a.example" \(try "wss://HOST"\)'),
        ("wss://", "expected a URL"),
        ("WSS://a.example", "expected a URL"),
        (
            "wss://a.example:99999",
            r'expected a port, got "wss://a.example:99999" \(try "wss://a.example:443"\)',
        ),
        ("wss://a.example:abc", "expected a port"),
        ("wss://a.example:0", "expected a port"),
        ("ftp://me:secret@a.example:abc", "must not carry a user or password"),
        ("wss://me@a.example", "must not carry a user or password"),
        ("wss://:secret@a.example", "must not carry a user or password"),
        ("ws://a.example/x", r'"ws://" only to this machine \(try "wss://a.example/x"\)'),
    ],
)
def test_other_addresses_are_refused_with_the_reason(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        socket_address(url)


@pytest.mark.parametrize("url", ["", "sqlite:///x", "postgresql://me@a/b", "https://a.example/catalog"])
def test_catalogs_of_ours_are_accepted(url: str) -> None:
    assert known_catalog(url) == url


@pytest.mark.parametrize("url", ["mysql://a/b", "postgresql://me:secret@a/b", "http://a.example"])
def test_other_catalogs_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\(try "):
        known_catalog(url)


def test_tables_are_in_a_directory_or_an_s3_store() -> None:
    for place in ("", "lake", "/lake", "s3://bucket/lake", "file:///lake", "name-of-a-rest-catalog"):
        assert known_warehouse(place) == place
    with pytest.raises(ValueError, match="s3://BUCKET/lake"):
        known_warehouse("gs://bucket")


def test_web_addresses_are_those_of_https() -> None:
    assert web_address("https://a.example") == "https://a.example"
    with pytest.raises(ValueError, match="https://HOST"):
        web_address("wss://a.example")
