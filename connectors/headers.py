"""What the headers of a message say: written by who sends it, read by who looks at topics. Pure.

`id` is the record's, `frame` is STORE:SHARD:POSITION of the frame that caused it. Whoever reads must never
take what a simulator made for what a market said: so the store's name says it. Others may write to a topic
too, with other headers or none.
"""

from typing import Any, NamedTuple

from connectors.slots import Store

# What the name of a store begins with in topics, where no real venue said what it holds.
SIMULATED = "simulated-"
DIGITS_MAX = 19


def writer_of(store: Store) -> str:
    """A store as its messages name it."""
    return store.store_id if store.kind == "live" else SIMULATED + store.store_id


class Headers(NamedTuple):
    """Of one message; empty where it has none of ours."""

    id: bytes
    writer: str
    shard: str
    position: int

    @property
    def is_simulated(self) -> bool:
        """Whether no real venue said it."""
        return self.writer.startswith(SIMULATED)

    @property
    def store_id(self) -> str:
        """The store that wrote it, whatever its kind."""
        return self.writer.removeprefix(SIMULATED)


def headers_of(message: Any) -> Headers:
    """What a message of the client says."""
    found = dict(message.headers() or ())
    writer, _, frame = (found.get("frame") or b"").decode(errors="replace").partition(":")
    shard, _, position = frame.rpartition(":")
    # Longer is no number of ours, and as an integer nothing but work.
    number = int(position) if position.isdecimal() and len(position) <= DIGITS_MAX else 0
    return Headers(found.get("id") or b"", writer, shard, number)
