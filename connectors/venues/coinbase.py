"""Coinbase Exchange: the channels `matches`, `ticker` and `heartbeat`, and REST trades to repair the first.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels, rest-api/products/get-product-trades
"""

import re
from collections.abc import Sequence
from urllib.parse import quote as escaped

import msgspec
from msgspec import Raw, Struct, field

from connectors.venues import decoding, protocol
from connectors.venues.decoding import Refused, clock_time, known, quoted, said
from connectors.venues.protocol import Decoded, Id, Instrument, Instruments, PageHeader, Request
from schemas import Control, Frame, Quote, Trade
from schemas.fields import Side
from schemas.health import FrameKind, What

# Keeps a message far below any limit, and a connection's few below 8 a second.
PRODUCTS_PER_MESSAGE = 200
PAGE_TRADES_MAX = 1_000

# The venue names the maker's side; ours is the taker's.
TAKERS: dict[str, Side] = {"buy": "SELL", "sell": "BUY"}


class Match(Struct, gc=False, tag_field="type", tag="match"):
    id: Id = field(name="trade_id")
    maker_order: str = field(name="maker_order_id")
    taker_order: str = field(name="taker_order_id")
    maker_side: str = field(name="side")
    quantity: str = field(name="size")
    price: str
    product: str = field(name="product_id")
    time: str
    sequence: Id  # of another channel: it jumps here, and tells nothing about what is missing


class LastMatch(Match, tag="last_match"):
    """The newest trade, sent first to whoever subscribes."""


class Ticker(Struct, gc=False, tag_field="type", tag="ticker"):
    product: str = field(name="product_id")
    bid_price: str | None = field(name="best_bid")
    ask_price: str | None = field(name="best_ask")
    bid_quantity: str | None = field(name="best_bid_size", default=None)  # older frames have no sizes
    ask_quantity: str | None = field(name="best_ask_size", default=None)
    time: str | None = None
    sequence: Id | None = None


class Heartbeat(Struct, gc=False, tag_field="type", tag="heartbeat"):
    product: str = field(name="product_id")
    newest_id: Id = field(name="last_trade_id")


class Channel(Struct, gc=False):
    name: str
    products: list[str] = field(name="product_ids", default=[])


class Subscriptions(Struct, gc=False, tag_field="type", tag="subscriptions"):
    channels: list[Channel]


class Failure(Struct, gc=False, tag_field="type", tag="error"):
    message: str
    reason: str = ""


class Status(Struct, gc=False, tag_field="type", tag="status"):
    pass


class Typed(Struct, gc=False):
    type: str


class HistoricalTrade(Struct, gc=False):
    id: Id = field(name="trade_id")
    maker_side: str = field(name="side")
    quantity: str = field(name="size")
    price: str
    time: str


class Product(Struct, gc=False):
    id: str
    base: str = field(name="base_currency")
    quote: str = field(name="quote_currency")


Message = Match | LastMatch | Ticker | Heartbeat | Subscriptions | Failure | Status

_message = msgspec.json.Decoder(Message).decode
_typed = msgspec.json.Decoder(Typed).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_row = msgspec.json.Decoder(HistoricalTrade).decode
_product = msgspec.json.Decoder(Product).decode


def parse(frame: Frame, instruments: Instruments) -> list[Decoded]:
    try:
        message = _message(frame.payload)
    except msgspec.ValidationError:
        named = _typed(frame.payload).type
        if named in TYPES:
            raise
        raise Refused("unknown_message", f"type {named[:80]!r}") from None
    if isinstance(message, Match):
        return [trade(frame, message, instruments)]
    if isinstance(message, Ticker):
        return [quote(frame, message, instruments)]
    if isinstance(message, Heartbeat):
        symbol = known(instruments, message.product).symbol
        return [said(frame, "heartbeat", symbol=symbol, newest_id=message.newest_id)]
    if isinstance(message, Subscriptions):
        return list(subscribed(frame, message, instruments))
    if isinstance(message, Failure):
        return [failure(frame, message, instruments)]
    return [said(frame, "status")]


TYPES = {"match", "last_match", "ticker", "heartbeat", "subscriptions", "error", "status"}


def trade(frame: Frame, wire: Match, instruments: Instruments) -> Trade:
    listed = known(instruments, wire.product)
    side = taker(wire.maker_side)
    time = clock_time(wire.time)
    event = "last_match" if isinstance(wire, LastMatch) else "match"
    vendor_data = (
        f'{listed.vendor_prefix},"event_type":"{event}","maker_side":"{wire.maker_side}",'
        f'"maker_order_id":{quoted(wire.maker_order)},"taker_order_id":{quoted(wire.taker_order)},'
        f'"sequence":"{wire.sequence}","time":"{wire.time}"}}'
    )
    return decoding.spot_trade(frame, listed, wire.id, time, wire.price, wire.quantity, side, vendor_data)


def taker(maker_side: str) -> Side:
    side = TAKERS.get(maker_side)
    if side is None:
        raise Refused("side", f"side {maker_side[:80]!r}")
    return side


def quote(frame: Frame, wire: Ticker, instruments: Instruments) -> Quote:
    listed = known(instruments, wire.product)
    time = frame.received if wire.time is None else clock_time(wire.time)
    own_time = "" if wire.time is None else f',"time":"{wire.time}"'
    vendor_data = f'{listed.vendor_prefix},"event_type":"ticker"{own_time}}}'
    # The trade that a ticker tells of is not taken: tickers skip trades, and `match` brings them all.
    return decoding.spot_quote(
        frame,
        listed,
        wire.sequence,
        time,
        (wire.bid_price, wire.bid_quantity),
        (wire.ask_price, wire.ask_quantity),
        vendor_data,
    )


def subscribed(frame: Frame, message: Subscriptions, instruments: Instruments) -> Sequence[Control]:
    """One acknowledgement for each product and channel of the list, which is always the whole one."""
    return [
        said(frame, "subscribed", symbol=symbol(product, instruments), detail=channel.name)
        for channel in message.channels
        for product in channel.products
    ] or [said(frame, "subscribed", detail="nothing")]


def symbol(product: str, instruments: Instruments) -> str:
    """Our name of a product where we know it, else the venue's."""
    listed = instruments.get(product)
    return listed.symbol if listed else product


def failure(frame: Frame, message: Failure, instruments: Instruments) -> Control:
    product = _product_name(message.reason)
    about = symbol(product[0], instruments) if product else None
    detail = ": ".join(text for text in (message.message, message.reason) if text)
    what: What = "refused" if message.message == "Failed to subscribe" else "error"
    return said(frame, what, symbol=about, detail=detail)


_product_name = re.compile(r"\b[A-Z0-9]{1,20}-[A-Z0-9]{1,20}\b").search


def classify(payload: bytes) -> FrameKind:
    spoken = (b'{"type":"heartbeat"', b'{"type":"subscriptions"', b'{"type":"error"', b'{"type":"status"')
    return "control" if payload.startswith(spoken) else "data"


def subscribe(instruments: Sequence[Instrument]) -> list[bytes]:
    names = [listed.native for listed in instruments]
    return [
        msgspec.json.encode(
            {
                "type": "subscribe",
                "product_ids": names[start : start + PRODUCTS_PER_MESSAGE],
                "channels": ["matches", "heartbeat", "ticker"],
            }
        )
        for start in range(0, len(names), PRODUCTS_PER_MESSAGE)
    ]


def product(raw: Raw) -> Instrument | None:
    found = _product(raw)
    return protocol.instrument("coinbase", found.id, found.base, found.quote)


def spelled(native: str) -> Instrument | None:
    """The instrument of a name that spells out its assets, as all of this venue do; None if it does not.

    No guess: the dash is the venue's own, between the same two names that its metadata gives.
    """
    base, _, quote = native.partition("-")
    if not decoding.asset(base) or not decoding.asset(quote):
        return None
    return protocol.instrument("coinbase", native, base, quote)


def repair(listed: Instrument, first: int, last: int, since: int) -> Request:
    limit = min(PAGE_TRADES_MAX, last - first + 1)
    return history(listed, (("limit", str(limit)), ("after", str(last + 1))))  # newest first, below `after`


def history(listed: Instrument, query: tuple[tuple[str, str], ...]) -> Request:
    return Request(f"/products/{escaped(listed.rest, safe='')}/trades", query)


def recent(listed: Instrument) -> Request:
    return history(listed, (("limit", "1"),))


def page_record(frame: Frame, raw: Raw, listed: Instrument) -> Trade:
    row = _row(raw)
    side = taker(row.maker_side)
    time = clock_time(row.time)
    vendor_data = f'{listed.vendor_prefix},"maker_side":"{row.maker_side}","time":"{row.time}"}}'
    return decoding.spot_trade(
        frame, listed, row.id, time, row.price, row.quantity, side, vendor_data, "repair"
    )


def following(header: PageHeader, listed: Instrument, trades: Sequence[Trade], body: bytes) -> Request | None:
    oldest = decoding.sequence(trades[0]) if trades else header.first
    return repair(listed, header.first, oldest - 1, header.since) if oldest > header.first else None


def throttled(status: int, body: bytes) -> bool:
    return status == 429


COINBASE = protocol.Venue(
    name="coinbase",
    continuity=protocol.Continuity.CONTIGUOUS,
    websocket_urls=("wss://ws-feed.exchange.coinbase.com",),
    rest_urls=("https://api.exchange.coinbase.com",),
    limits=protocol.Limits(
        connects=protocol.Budget(count=8, seconds=1),
        messages=protocol.Budget(count=7, seconds=1),  # the venue says 8, 10 or 100 on different pages
        rest=protocol.Budget(count=10, seconds=1),
        subscriptions_max=1_000,  # not published; the venue advises to spread products over connections
        lifetime_seconds=None,
        silence_seconds=10,  # a heartbeat comes each second for each product
    ),
    symbols=("BTC-USD", "ETH-USD"),
    connect_path="",
    subscribe=subscribe,
    classify=classify,
    decode=decoding.guarded(parse),
    keep_alive=decoding.no_message,
    alive=Request("/time"),
    metadata=Request("/products"),
    decode_metadata=decoding.metadata_decoder(_rows, product),
    repair=repair,
    recent=recent,
    decode_page=decoding.page_decoder(_rows, page_record, following),
    throttled=throttled,
)
