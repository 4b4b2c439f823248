"""How a shard is named: after the exchange that it is of, and by a number."""


def shard_name(exchange: str, number: int) -> str:
    """The name of an exchange's shard."""
    return f"{exchange}-{number}"


def exchange_of(shard: str) -> str:
    """Whose shard it is."""
    return shard.rpartition("-")[0]
