"""Kraken spot: the WebSocket v2 channels `trade` and `ticker`, and REST `Trades` to repair the first.

https://docs.kraken.com/api/docs/websocket-v2/trade (and ticker, heartbeat, ping), rest-api/get-recent-trades
"""

from collections.abc import Sequence
from operator import methodcaller
from typing import Annotated, Literal, Optional

import msgspec
from msgspec import Meta, Raw, Struct, defstruct, field

from connectors.venues import decoding, protocol, values
from connectors.venues.decoding import classifier, known, said, spot_quote, spot_trade, spot_trades, words
from connectors.venues.protocol import Decoded, Id, Instrument, Instruments, PageHeader, Request
from connectors.venues.runs import Short, each_trade, runs_of_trades
from connectors.venues.values import Refused, all_quoted, clock_time, clock_times, offered, token
from schemas import Control, Frame, Quote, Trade

SYMBOLS_PER_MESSAGE = 200  # not published; far below the 64 KiB that a message of any venue may have
# The last 50 trades come first: often they already close the hole that a reconnect left.
CHANNELS = ({"channel": "trade", "snapshot": True}, {"channel": "ticker", "event_trigger": "bbo"})
SIDES: decoding.Sides = {"buy": "BUY", "sell": "SELL", "b": "BUY", "s": "SELL"}  # the taker's
RENAMED = {"XBT": "BTC", "XDG": "DOGE"}  # first names, which REST has kept


class WireTrade(Struct, gc=False):
    symbol: str
    side: str
    price: Raw
    quantity: Raw = field(name="qty")
    order_type: str = field(name="ord_type")
    id: Id = field(name="trade_id")
    time: str = field(name="timestamp")


class ShortTrade(WireTrade, gc=False):
    symbol: Short
    order_type: Short = field(name="ord_type")


class WireQuote(Struct, gc=False):
    symbol: str
    bid_price: Raw = field(name="bid")
    bid_quantity: Raw = field(name="bid_qty")
    ask_price: Raw = field(name="ask")
    ask_quantity: Raw = field(name="ask_qty")
    time: str = field(name="timestamp", default="")  # older frames have none


class Message(Struct, gc=False):
    channel: str = ""
    data: list[Raw] = []
    method: str = ""
    symbol: str = ""
    success: bool = False
    error: str = ""
    result: Optional["Message"] = None  # what an answer is about
    system: str = ""


class Answer(Struct):
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


class Pair(Struct, gc=False):
    rest: str = field(name="altname")
    name: str = field(name="wsname")


_message = msgspec.json.Decoder(Message).decode
_trade_fields = [("channel", Literal["trade"]), ("data", Annotated[list[ShortTrade], Meta(min_length=1)])]
_trades = defstruct("Trades", _trade_fields, bases=(Message,), gc=False)
_trade_messages = msgspec.json.Decoder(_trades).decode
_alike = methodcaller("startswith", b'{"channel":"trade"')
_wire_trade = msgspec.json.Decoder(WireTrade).decode
_wire_quote = msgspec.json.Decoder(WireQuote).decode
_answer = msgspec.json.Decoder(Answer).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_row = msgspec.json.Decoder(HistoricalTrade).decode


def parse(frame: Frame, instruments: Instruments, records: list[Decoded]) -> None:
    message = _message(frame.payload)
    if message.channel == "trade":
        records += each_trade(frame, message.data, _wire_trade, trades, instruments)
    elif message.channel == "ticker":
        records += decoding.batched(frame, message.data, lambda at, raw: quote(frame, raw, instruments, at))
    elif message.channel == "status":
        states = [_message(raw).system for raw in message.data]
        records += decoding.batched(frame, states, lambda _, state: said(frame, "status", detail=state))
    elif message.channel == "heartbeat":
        records.append(said(frame, "heartbeat"))
    else:
        records.append(answer(frame, message, instruments))


def trades(frames: Sequence[Frame], wires: Sequence[WireTrade], instruments: Instruments) -> list[Decoded]:
    listed = decoding.all_known(instruments, [wire.symbol for wire in wires])
    sides = decoding.all_sides(SIDES, [wire.side for wire in wires])
    return spot_trades(frames, listed, wires, clock_times([wire.time for wire in wires]), sides, trade_words)


def trade_words(listed: Sequence[Instrument], wires: Sequence[WireTrade]) -> list[str]:
    columns = zip(listed, wires, all_quoted([wire.order_type for wire in wires]), strict=True)
    return [
        f'{one.vendor_prefix},"side":"{wire.side}","ord_type":{kind},"timestamp":"{wire.time}"}}'
        for one, wire, kind in columns
    ]


def quote(frame: Frame, raw: Raw, instruments: Instruments, index: int) -> Quote:
    wire = _wire_quote(raw)
    listed = known(instruments, wire.symbol)
    time = clock_time(wire.time) if wire.time else frame.received
    bid = offered(wire.bid_price), offered(wire.bid_quantity)
    ask = offered(wire.ask_price), offered(wire.ask_quantity)
    own = {"timestamp": wire.time} if wire.time else {}
    return spot_quote(frame, listed, None, time, bid, ask, words(listed, own), index)


def answer(frame: Frame, message: Message, instruments: Instruments) -> Control:
    about = message.result or message
    symbol = decoding.symbol_of(instruments, about.symbol)
    if message.error:
        return said(frame, "refused", symbol=symbol, detail=message.error)
    if message.method == "subscribe" and message.success:
        return said(frame, "subscribed", symbol=symbol, detail=about.channel)
    if message.method == "pong":
        return said(frame, "pong")
    raise Refused("unknown_message", f"channel {message.channel[:80]!r}, method {message.method[:80]!r}")


def subscribe(instruments: Sequence[Instrument]) -> list[bytes]:
    groups = decoding.groups([listed.native for listed in instruments], SYMBOLS_PER_MESSAGE)
    wanted = [{**channel, "symbol": names} for names in groups for channel in CHANNELS]
    return [msgspec.json.encode({"method": "subscribe", "params": params}) for params in wanted]


def listing(raw: Raw) -> Instrument | None:
    pair = msgspec.json.decode(raw, type=Pair)
    spelled = KRAKEN.spelled("/".join(RENAMED.get(asset, asset) for asset in pair.name.split("/")))
    return msgspec.structs.replace(spelled, rest=pair.rest) if spelled else None


def history(listed: Instrument, cursor: str | None, count: int = 1_000) -> Request:
    since = () if cursor is None else (("since", cursor),)  # without it: the newest
    return Request("/0/public/Trades", (("pair", listed.rest), *since, ("count", str(count))))


def history_rows(body: bytes) -> Sequence[Raw]:
    answer = _answer(body)  # names the pair by a third name
    if answer.error:
        raise Refused("unknown_message", ", ".join(answer.error)[:80])
    return next((_rows(rows) for name, rows in answer.result.items() if name != "last"), [])


def page_record(frame: Frame, raw: Raw, listed: Instrument) -> Trade:
    row = _row(raw)
    taker, time = decoding.side(SIDES, row.side), token(row.time)
    own = {"side": row.side, "ord_type": row.order_type, "misc": row.miscellaneous, "time": time}
    at, facts = values.seconds_time(time), words(listed, own)
    return spot_trade(frame, listed, row.id, at, row.price, row.quantity, taker, facts, "repair")


def following(header: PageHeader, listed: Instrument, trades: Sequence[Trade], body: bytes) -> Request | None:
    newest = decoding.sequence(trades[-1]) if trades else header.last
    cursor = _answer(body).result.get("last") if newest < header.last else None
    return history(listed, msgspec.json.decode(cursor, type=str)) if cursor else None


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
        silence_seconds=10,  # a heartbeat comes each second; the venue advises 5, a busy machine needs more
    ),
    symbols=("BTC-USD", "ETH-USD"),
    subscribe=subscribe,
    classify=classifier(b'{"channel":"heartbeat"', b'{"channel":"status"', b'{"method"', b'{"error"'),
    decode_many=runs_of_trades(parse, trades, _trade_messages, _alike, protocol.FRAME_BYTES_MAX),
    keep_alive=lambda now: msgspec.json.encode({"method": "ping", "req_id": now}),
    alive=Request("/0/public/SystemStatus"),
    metadata=Request("/0/public/AssetPairs"),
    decode_metadata=decoding.metadata_decoder(lambda body: _answer(body).result.values(), listing),
    spelled=decoding.speller("kraken", "/", RENAMED),
    # Ids cannot be asked for. A second of overlap costs nothing: ids outside the hole are dropped.
    repair=lambda listed, _, __, since: history(listed, f"{since - 10**6}000" if since > 10**6 else None),
    recent=lambda listed: history(listed, None, count=1),
    decode_page=decoding.page_decoder(history_rows, page_record, following),
    throttled=lambda status, body: status == 429 or b"EAPI:Rate limit exceeded" in body[:200],
)
