"""Kraken spot: the WebSocket v2 channels `trade` and `ticker`, and REST `Trades` to repair the first.

https://docs.kraken.com/api/docs/websocket-v2/trade (and ticker, heartbeat, ping), rest-api/get-recent-trades
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct, field

from connectors.venues import decoding, protocol
from connectors.venues.decoding import Refused, clock_time, known, quoted, said, seconds_time, token
from connectors.venues.protocol import Decoded, Id, Instrument, Instruments, PageHeader, Request
from schemas import Control, Frame, Quote, Trade
from schemas.fields import Side
from schemas.health import FrameKind, What

# Not published; keeps a message below the 64 KiB that a proxy may have as its limit.
SYMBOLS_PER_MESSAGE = 200
PAGE_TRADES_MAX = 1_000

# REST still uses the venue's first names of these.
RENAMED = {"XBT": "BTC", "XDG": "DOGE"}
SIDES: dict[str, Side] = {"buy": "BUY", "sell": "SELL", "b": "BUY", "s": "SELL"}  # the taker's


class WireTrade(Struct, gc=False):
    symbol: str
    side: str
    price: Raw
    quantity: Raw = field(name="qty")
    order_type: str = field(name="ord_type")
    id: Id = field(name="trade_id")
    time: str = field(name="timestamp")


class WireQuote(Struct, gc=False):
    symbol: str
    bid_price: Raw = field(name="bid")
    bid_quantity: Raw = field(name="bid_qty")
    ask_price: Raw = field(name="ask")
    ask_quantity: Raw = field(name="ask_qty")
    time: str | None = field(name="timestamp", default=None)  # older frames have none


class Status(Struct, gc=False):
    system: str


class Subscribed(Struct, gc=False):
    channel: str = ""
    symbol: str | None = None


class Message(Struct, gc=False):
    channel: str = ""
    data: list[Raw] = []
    method: str = ""
    success: bool | None = None
    error: str = ""
    symbol: str | None = None
    result: Subscribed | None = None


class History(Struct, gc=False):
    result: dict[str, Raw] = {}
    error: list[str] = []


class HistoricalTrade(Struct, gc=False, array_like=True):
    price: str
    quantity: str
    time: Raw
    side: str
    order_type: str
    miscellaneous: str
    id: Id


class Pairs(Struct, gc=False):
    result: dict[str, Raw]


class Pair(Struct, gc=False):
    alternative: Annotated[str, Meta(min_length=1)] = field(name="altname")
    name: str = field(name="wsname", default="")


_message = msgspec.json.Decoder(Message).decode
_wire_trade = msgspec.json.Decoder(WireTrade).decode
_wire_quote = msgspec.json.Decoder(WireQuote).decode
_status = msgspec.json.Decoder(Status).decode
_history = msgspec.json.Decoder(History).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_row = msgspec.json.Decoder(HistoricalTrade).decode
_cursor = msgspec.json.Decoder(Annotated[str, Meta(pattern=r"^[0-9]{1,20}\Z")]).decode
_pairs = msgspec.json.Decoder(Pairs).decode
_pair = msgspec.json.Decoder(Pair).decode


def parse(frame: Frame, instruments: Instruments) -> list[Decoded]:
    message = _message(frame.payload)
    if message.channel == "trade":
        found = decoding.each(frame, message.data, lambda _, raw: trade(frame, raw, instruments))
        return found if len(found) == 1 else decoding.in_order(found)
    if message.channel == "ticker":
        return decoding.each(frame, message.data, lambda index, raw: quote(frame, raw, instruments, index))
    if message.channel == "status":
        return decoding.each(
            frame, message.data, lambda _, raw: said(frame, "status", detail=_status(raw).system)
        )
    if message.channel == "heartbeat":
        return [said(frame, "heartbeat")]
    if message.channel:
        raise Refused("unknown_message", f"channel {message.channel[:80]!r}")
    return [answer(frame, message, instruments)]


def trade(frame: Frame, raw: Raw, instruments: Instruments) -> Trade:
    wire = _wire_trade(raw)
    listed = known(instruments, wire.symbol)
    side = taker(wire.side)
    time = clock_time(wire.time)
    vendor_data = (
        f'{listed.vendor_prefix},"event_type":"trade","side":"{wire.side}",'
        f'"ord_type":{quoted(wire.order_type)},"timestamp":"{wire.time}"}}'
    )
    price, quantity = token(wire.price), token(wire.quantity)
    return decoding.spot_trade(frame, listed, wire.id, time, price, quantity, side, vendor_data)


def taker(word: str) -> Side:
    side = SIDES.get(word)
    if side is None:
        raise Refused("side", f"side {word[:80]!r}")
    return side


def quote(frame: Frame, raw: Raw, instruments: Instruments, index: int) -> Quote:
    wire = _wire_quote(raw)
    listed = known(instruments, wire.symbol)
    bid = offered(wire.bid_price), offered(wire.bid_quantity)
    ask = offered(wire.ask_price), offered(wire.ask_quantity)
    time = frame.received if wire.time is None else clock_time(wire.time)
    own_time = "" if wire.time is None else f',"timestamp":"{wire.time}"'
    vendor_data = f'{listed.vendor_prefix},"event_type":"ticker"{own_time}}}'
    return decoding.spot_quote(frame, listed, None, time, bid, ask, vendor_data, index)


def offered(raw: Raw) -> str | None:
    """A number of a quote; null where nobody offers."""
    return None if bytes(raw) == b"null" else token(raw)


def answer(frame: Frame, message: Message, instruments: Instruments) -> Control:
    """What the venue said to something that we sent."""
    native = message.symbol or (message.result.symbol if message.result else None)
    listed = instruments.get(native) if native else None
    symbol = listed.symbol if listed else native
    if message.method == "pong":
        return said(frame, "pong")
    if message.success is False or message.error:
        what: What = "refused" if message.method == "subscribe" else "error"
        return said(frame, what, symbol=symbol, detail=message.error)
    if message.method == "subscribe" and message.success:
        channel = message.result.channel if message.result else ""
        return said(frame, "subscribed", symbol=symbol, detail=channel)
    raise Refused("unknown_message", f"method {message.method[:80]!r}")


def classify(payload: bytes) -> FrameKind:
    spoken = payload.startswith(
        (b'{"channel":"heartbeat"', b'{"channel":"status"', b'{"method"', b'{"error"')
    )
    return "control" if spoken else "data"


def subscribe(instruments: Sequence[Instrument]) -> list[bytes]:
    names = [listed.native for listed in instruments]
    groups = [
        names[start : start + SYMBOLS_PER_MESSAGE] for start in range(0, len(names), SYMBOLS_PER_MESSAGE)
    ]
    # The last 50 trades come first: often they already close the hole that a reconnect left.
    channels: list[dict[str, object]] = [
        {"channel": "trade", "snapshot": True},
        {"channel": "ticker", "event_trigger": "bbo"},
    ]
    wanted = [{**channel, "symbol": group} for group in groups for channel in channels]
    return [
        msgspec.json.encode({"method": "subscribe", "params": params, "req_id": number})
        for number, params in enumerate(wanted, 1)
    ]


def keep_alive(now: int) -> bytes:
    return msgspec.json.encode({"method": "ping", "req_id": now})


def pairs(body: bytes) -> list[Raw]:
    return list(_pairs(body).result.values())


def pair(raw: Raw) -> Instrument | None:
    found = _pair(raw)
    return spelled("/".join(RENAMED.get(asset, asset) for asset in found.name.split("/")), found.alternative)


def spelled(native: str, rest: str = "") -> Instrument | None:
    """The instrument of a name that spells out its assets, as all of this venue do; None if it does not.

    No guess: the slash is the venue's own, between the same two names that its metadata gives.
    """
    base, _, quote = native.partition("/")
    if not decoding.asset(base) or not decoding.asset(quote):
        return None
    return protocol.instrument("kraken", native, base, quote, rest=rest or base + quote)


def repair(listed: Instrument, first: int, last: int, since: int) -> Request:
    # Ids cannot be asked for. A second of overlap costs nothing: ids outside the hole are dropped.
    return history(listed, str((since - 1_000_000) * 1_000) if since > 1_000_000 else None)


def history(listed: Instrument, cursor: str | None, count: int = PAGE_TRADES_MAX) -> Request:
    since = () if cursor is None else (("since", cursor),)  # without it: the newest
    return Request("/0/public/Trades", (("pair", listed.rest), *since, ("count", str(count))))


def recent(listed: Instrument) -> Request:
    return history(listed, None, count=1)


def history_rows(body: bytes) -> list[Raw]:
    page = _history(body)
    if page.error:
        raise Refused("unknown_message", ", ".join(page.error)[:200])
    # The venue names the pair in a way of its own.
    return next((_rows(rows) for name, rows in page.result.items() if name != "last"), [])


def page_record(frame: Frame, raw: Raw, listed: Instrument) -> Trade:
    row = _row(raw)
    side = taker(row.side)
    time = token(row.time)
    vendor_data = (
        f'{listed.vendor_prefix},"side":"{row.side}","ord_type":{quoted(row.order_type)},'
        f'"misc":{quoted(row.miscellaneous)},"time":"{time}"}}'
    )
    return decoding.spot_trade(
        frame, listed, row.id, seconds_time(time), row.price, row.quantity, side, vendor_data, "repair"
    )


def following(header: PageHeader, listed: Instrument, trades: Sequence[Trade], body: bytes) -> Request | None:
    if not trades or decoding.sequence(trades[-1]) >= header.last:
        return None
    cursor = _history(body).result.get("last")
    return None if cursor is None else history(listed, _cursor(cursor))


def throttled(status: int, body: bytes) -> bool:
    return status == 429 or b"EAPI:Rate limit exceeded" in body[:200]


KRAKEN = protocol.Venue(
    name="kraken",
    continuity=protocol.Continuity.CONTIGUOUS,
    websocket_urls=("wss://ws.kraken.com/v2",),
    rest_urls=("https://api.kraken.com",),
    limits=protocol.Limits(
        connects=protocol.Budget(count=10, seconds=60),  # not published; storms are throttled by address
        messages=protocol.Budget(count=5, seconds=1),  # not published; as the strictest venue that we know
        rest=protocol.Budget(count=1, seconds=1),
        subscriptions_max=1_000,  # not published; as other venues allow
        lifetime_seconds=None,
        silence_seconds=10,  # a heartbeat comes each second; the venue advises 5, a busy machine needs more
    ),
    symbols=("BTC-USD", "ETH-USD"),
    connect_path="",
    subscribe=subscribe,
    classify=classify,
    decode=decoding.guarded(parse),
    keep_alive=keep_alive,
    alive=Request("/0/public/SystemStatus"),
    metadata=Request("/0/public/AssetPairs"),
    decode_metadata=decoding.metadata_decoder(pairs, pair),
    repair=repair,
    recent=recent,
    decode_page=decoding.page_decoder(history_rows, page_record, following),
    throttled=throttled,
)
