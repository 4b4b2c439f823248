"""What a shard puts into the headers of its messages is what readers are told; strangers say nothing."""

from typing import Any

import pytest
from msgspec.structs import replace

from connectors.bus import Outgoing
from connectors.headers import Headers, headers_of
from connectors.messages import Message
from tests.campaigns.kafka_driver import store_of


class Heard:
    """A message as a client has it."""

    def __init__(self, headers: Any) -> None:
        self.headers = lambda: headers


@pytest.mark.parametrize("kind", ["simulated", "live"])
def test_what_is_written_is_read(kind: Any) -> None:
    store = replace(store_of("x-0", store="ours"), kind=kind)
    _, pairs = Outgoing("x-0", store).put(Message("t", 0, b"", b"", b"x:spot:A-B:0:1", 7))
    headers = headers_of(Heard(pairs))
    writer = {"live": "ours", "simulated": "simulated-ours"}[kind]
    assert headers == Headers(b"x:spot:A-B:0:1", writer, "x-0", 7)
    assert (headers.is_simulated, headers.store_id) == (kind == "simulated", "ours")


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (None, Headers(b"", "", "", 0)),
        ([("id", None), ("frame", None), ("trace", b"1")], Headers(b"", "", "", 0)),
        ([("frame", b"7")], Headers(b"", "7", "", 0)),
        ([("frame", b"\xff:x-0:y")], Headers(b"", "\ufffd", "x-0", 0)),
        ([("frame", b"s:x-0:" + b"9" * 5_000)], Headers(b"", "s", "x-0", 0)),
    ],
)
def test_others_may_write_what_they_like(pairs: Any, told: Headers) -> None:
    assert headers_of(Heard(pairs)) == told
    assert not told.is_simulated
