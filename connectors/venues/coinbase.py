"""Coinbase Exchange: the channels `matches`, `ticker` and `heartbeat`, and REST trades to repair the first.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels, rest-api/products/get-product-trades
"""

import re
from collections.abc import Sequence
from operator import methodcaller
from urllib.parse import quote as escaped

import msgspec
from msgspec import Raw, Struct, field

from connectors.venues import decoding, protocol
from connectors.venues.decoding import known, said, side, spot_quote, spot_trade, spot_trades, words
from connectors.venues.protocol import Decoded, Id, Instrument, Instruments, PageHeader, Request
from connectors.venues.runs import runs_of_trades
from connectors.venues.values import all_quoted, clock_time, clock_times
from schemas import Control, Frame, Quote, Trade
from schemas.health import What

PRODUCTS_PER_MESSAGE = 200  # far below 64 KiB in a message, and below 8 messages a second
PAGE_TRADES_MAX = 1_000  # a page holds the newest below `after`
SIDES: decoding.Sides = {"buy": "SELL", "sell": "BUY"}  # the venue names the maker's


class HistoricalTrade(Struct, gc=False):
    id: Id = field(name="trade_id")
    maker_side: str = field(name="side")
    quantity: str = field(name="size")
    price: str
    time: str


class Match(HistoricalTrade, tag_field="type", tag="match"):
    product: str = field(name="product_id")
    maker_order: str = field(name="maker_order_id")
    taker_order: str = field(name="taker_order_id")
    sequence: Id  # of another channel: it jumps here, and tells nothing about what is missing


class LastMatch(Match, tag="last_match"):
    pass  # the newest trade, sent first to whoever subscribes


class Ticker(Struct, gc=False, tag_field="type", tag="ticker"):
    product: str = field(name="product_id")
    bid_price: str | None = field(name="best_bid")
    ask_price: str | None = field(name="best_ask")
    bid_quantity: str | None = field(name="best_bid_size", default=None)  # older frames have no sizes
    ask_quantity: str | None = field(name="best_ask_size", default=None)
    time: str = ""  # and the first of a product no time
    sequence: Id | None = None


class Heartbeat(Struct, gc=False, tag_field="type", tag="heartbeat"):
    product: str = field(name="product_id")
    newest_id: Id = field(name="last_trade_id")


class Channel(Struct):
    name: str
    products: list[str] = field(name="product_ids", default=[])


class Subscriptions(Struct, tag_field="type", tag="subscriptions"):
    channels: list[Channel]


class Failure(Struct, tag_field="type", tag="error"):
    message: str
    reason: str = ""


class Product(Struct, gc=False):
    id: str
    base: str = field(name="base_currency")
    quote: str = field(name="quote_currency")


_message = msgspec.json.Decoder(Match | LastMatch | Ticker | Heartbeat | Subscriptions | Failure).decode
_match = msgspec.json.Decoder(Match).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_row = msgspec.json.Decoder(HistoricalTrade).decode


def parse(frame: Frame, instruments: Instruments, records: list[Decoded]) -> None:
    message = _message(frame.payload)
    if isinstance(message, Match):
        records += trades((frame,), (message,), instruments)
    elif isinstance(message, Ticker):
        records.append(quote(frame, message, instruments))
    elif isinstance(message, Heartbeat):
        symbol = known(instruments, message.product).symbol
        records.append(said(frame, "heartbeat", symbol=symbol, newest_id=message.newest_id))
    elif isinstance(message, Subscriptions):
        records += subscribed(frame, message, instruments)
    else:
        records.append(failure(frame, message, instruments))


def trades(frames: Sequence[Frame], wires: Sequence[Match], instruments: Instruments) -> list[Decoded]:
    listed = decoding.all_known(instruments, [wire.product for wire in wires])
    sides = decoding.all_sides(SIDES, [wire.maker_side for wire in wires])
    return spot_trades(frames, listed, wires, clock_times([wire.time for wire in wires]), sides, trade_words)


def trade_words(listed: Sequence[Instrument], wires: Sequence[Match]) -> list[str]:
    orders = [wire.maker_order for wire in wires], [wire.taker_order for wire in wires]
    return [
        f'{one.vendor_prefix},"event_type":"{"last_match" if type(wire) is LastMatch else "match"}",'
        f'"maker_side":"{wire.maker_side}","maker_order_id":{maker},"taker_order_id":{taker},'
        f'"sequence":"{wire.sequence}","time":"{wire.time}"}}'
        for one, wire, maker, taker in zip(listed, wires, *map(all_quoted, orders), strict=True)
    ]


def quote(frame: Frame, wire: Ticker, instruments: Instruments) -> Quote:
    # The trade that a ticker tells of is not taken: tickers skip trades, and `match` brings them all.
    listed = known(instruments, wire.product)
    time = clock_time(wire.time) if wire.time else frame.received
    bid, ask = (wire.bid_price, wire.bid_quantity), (wire.ask_price, wire.ask_quantity)
    own = {"event_type": "ticker", "time": wire.time}
    return spot_quote(frame, listed, wire.sequence, time, bid, ask, words(listed, own))


def subscribed(frame: Frame, message: Subscriptions, instruments: Instruments) -> list[Control]:
    """An acknowledgement for each product and channel of the venue's list, which is always the whole one."""
    return [
        said(frame, "subscribed", symbol=decoding.symbol_of(instruments, product), detail=channel.name)
        for channel in message.channels
        for product in channel.products or [""]
    ] or [said(frame, "subscribed")]


def failure(frame: Frame, message: Failure, instruments: Instruments) -> Control:
    named = _product_name(message.reason)
    what: What = "refused" if message.message == "Failed to subscribe" else "error"
    symbol = decoding.symbol_of(instruments, named[0]) if named else None
    return said(frame, what, symbol=symbol, detail=f"{message.message}: {message.reason}".strip(": "))


_product_name = re.compile(r"\b[A-Z0-9]{1,20}-[A-Z0-9]{1,20}\b").search


def subscribe(instruments: Sequence[Instrument]) -> list[bytes]:
    wanted = {"type": "subscribe", "channels": ["matches", "heartbeat", "ticker"]}
    groups = decoding.groups([listed.native for listed in instruments], PRODUCTS_PER_MESSAGE)
    return [msgspec.json.encode({**wanted, "product_ids": group}) for group in groups]


def listing(raw: Raw) -> Instrument:
    listed = msgspec.json.decode(raw, type=Product)
    return protocol.instrument("coinbase", listed.id, listed.base, listed.quote)


def repair(listed: Instrument, first: int, last: int, since: int) -> Request:
    return history(listed, ("limit", str(min(PAGE_TRADES_MAX, last - first + 1))), ("after", str(last + 1)))


def history(listed: Instrument, *query: tuple[str, str]) -> Request:
    return Request(f"/products/{escaped(listed.rest, safe='')}/trades", query)


def page_record(frame: Frame, raw: Raw, listed: Instrument) -> Trade:
    row = _row(raw)
    taker, time = side(SIDES, row.maker_side), clock_time(row.time)
    own = words(listed, {"maker_side": row.maker_side, "time": row.time})
    return spot_trade(frame, listed, row.id, time, row.price, row.quantity, taker, own, "repair")


def following(header: PageHeader, listed: Instrument, trades: Sequence[Trade], body: bytes) -> Request | None:
    oldest = decoding.sequence(trades[0]) if trades else header.first
    return repair(listed, header.first, oldest - 1, header.since) if oldest > header.first else None


COINBASE = protocol.Venue(
    name="coinbase",
    continuity=protocol.Continuity.CONTIGUOUS,
    websocket_urls=("wss://ws-feed.exchange.coinbase.com",),
    rest_urls=("https://api.exchange.coinbase.com",),
    limits=protocol.Limits(
        connects=protocol.Budget(count=8, seconds=1),
        messages=protocol.Budget(count=7, seconds=1),  # below 8, the least of what the venue's pages say
        rest=protocol.Budget(count=10, seconds=1),
        subscriptions_max=1_000,  # not published; the venue advises to spread products over connections
        mute_seconds=5,
        silence_seconds=10,  # a heartbeat comes each second for each product
    ),
    symbols=("BTC-USD", "ETH-USD"),
    subscribe=subscribe,
    classify=decoding.classifier(b'{"type":"heartbeat"', b'{"type":"subscriptions"', b'{"type":"error"'),
    decode_many=runs_of_trades(parse, trades, _match, methodcaller("startswith", b'{"type":"match"')),
    alive=Request("/time"),
    metadata=Request("/products"),
    decode_metadata=decoding.metadata_decoder(_rows, listing),
    spelled=decoding.speller("coinbase", "-"),
    repair=repair,
    recent=lambda listed: history(listed, ("limit", "1")),
    decode_page=decoding.page_decoder(_rows, page_record, following),
    throttled=lambda status, body: status == 429,
)
