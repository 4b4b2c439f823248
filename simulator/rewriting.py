"""A recorded frame as one client wants it: which stream it is of, and its bytes in that client's form.

Pure: bytes in, bytes out; which frames a client gets at all is not decided here.
"""

import re
from collections.abc import Callable, Collection

import msgspec
from msgspec import Raw, Struct

from schemas import Frame
from simulator.venues.protocol import Stream


class BinanceFrame(Struct):
    stream: str = ""
    data: Raw = Raw(b"")


class KrakenRow(Struct):
    symbol: str = ""
    trade_id: int = -1


class KrakenFrame(Struct):
    channel: str = ""
    data: list[KrakenRow] = []


class KrakenRows(Struct):
    data: list[Raw]


class CoinbaseFrame(Struct):
    type: str = ""
    product_id: str = ""


_binance = msgspec.json.Decoder(BinanceFrame).decode
_kraken = msgspec.json.Decoder(KrakenFrame).decode
_kraken_rows = msgspec.json.Decoder(KrakenRows).decode
_kraken_row = msgspec.json.Decoder(KrakenRow).decode
_coinbase = msgspec.json.Decoder(CoinbaseFrame).decode
_microseconds = re.compile(rb'("[ET]":\d{13})\d{3}\b')
COINBASE_CHANNELS = {
    "match": "matches",
    "last_match": "matches",
    "ticker": "ticker",
    "heartbeat": "heartbeat",
}
# What begins a subscription, and the words for the same where the client is long since subscribed.
BEGINNINGS = {
    "kraken": (b'"type":"snapshot"', b'"type":"update"'),
    "coinbase": (b'"type":"last_match"', b'"type":"match"'),
}

Rewritten = tuple[Stream, bytes]


def binance(payload: bytes, form: tuple[bool, ...]) -> Rewritten:
    """Recorded combined; written as the client wants it: combined or raw, in its unit of time."""
    frame = _binance(payload)
    symbol, _, channel = frame.stream.partition("@")
    combined, micro = form or (True, True)
    text = payload if combined else bytes(frame.data)
    return (channel, symbol.upper()), text if micro else _microseconds.sub(rb"\1", text)


def kraken(payload: bytes, form: tuple[bool, ...]) -> Rewritten:
    frame = _kraken(payload)
    return (frame.channel, frame.data[0].symbol if frame.data else ""), payload


def coinbase(payload: bytes, form: tuple[bool, ...]) -> Rewritten:
    frame = _coinbase(payload)
    return (COINBASE_CHANNELS.get(frame.type, ""), frame.product_id), payload


REWRITE: dict[str, Callable[[bytes, tuple[bool, ...]], Rewritten]] = {
    "binance": binance,
    "kraken": kraken,
    "coinbase": coinbase,
}


def rewritten(venue: str, frame: Frame, form: tuple[bool, ...]) -> Rewritten | None:
    """A recorded frame with its stream; None for one that belongs to no stream."""
    if frame.kind not in {"data", "control"}:
        return None
    try:
        stream, payload = REWRITE[venue](frame.payload, form)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return (stream, payload) if all(stream) else None


def continued(venue: str, payload: bytes) -> bytes:
    """The frame as it comes to a client that has had others of the stream."""
    return payload.replace(*BEGINNINGS[venue], 1) if venue in BEGINNINGS else payload


def without(payload: bytes, identifiers: Collection[int]) -> bytes:
    """Kraken's frame without these trades; no other venue sends several in one."""
    rows = [bytes(one) for one in _kraken_rows(payload).data if _kraken_row(one).trade_id not in identifiers]
    return b'{"channel":"trade","type":"update","data":[' + b",".join(rows) + b"]}"
