"""A shard's name says whose it is."""

from schemas.shards import exchange_of, shard_name


def test_a_name_says_whose_it_is() -> None:
    assert shard_name("coinbase", 12) == "coinbase-12"
    for exchange in ("binance", "us-stocks"):
        assert exchange_of(shard_name(exchange, 3)) == exchange
