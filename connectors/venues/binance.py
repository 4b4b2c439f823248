"""Binance spot: the combined streams `@trade` and `@bookTicker`, and `historicalTrades` to repair them.

https://github.com/binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md)
"""

from collections.abc import Sequence
from operator import methodcaller
from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct, field

from connectors.venues import decoding, protocol
from connectors.venues.decoding import known, said, spot_quote, spot_trade, spot_trades
from connectors.venues.protocol import Decoded, Id, Instrument, Instruments, PageHeader, Request
from connectors.venues.runs import runs_of_trades
from connectors.venues.values import Refused, epoch_time, epoch_times
from schemas import Frame, Quote, Trade
from schemas.fields import Side

# A symbol takes two streams; one message for 200 keeps far below the venue's 5 messages a second.
STREAMS_PER_MESSAGE = 200
PAGE_TRADES_MAX = 1_000
# As we ask of the streams, so that a trade has the same time whichever way it comes.
MICROSECONDS = (("X-MBX-TIME-UNIT", "MICROSECOND"),)
TAKERS: tuple[Side, Side] = ("BUY", "SELL")  # by whether the buyer is the maker


class WireTrade(Struct, gc=False, tag_field="e", tag="trade"):
    event_time: int = field(name="E")
    symbol: str = field(name="s")
    id: Id = field(name="t")
    price: str = field(name="p")
    quantity: str = field(name="q")
    time: int = field(name="T")
    buyer_is_maker: bool = field(name="m")


class WireQuote(Struct, gc=False):
    update: Id = field(name="u")
    symbol: str = field(name="s")
    bid_price: str = field(name="b")
    bid_quantity: str = field(name="B")
    ask_price: str = field(name="a")
    ask_quantity: str = field(name="A")


class TradeEnvelope(Struct, gc=False):
    data: WireTrade


class Envelope(Struct, gc=False):
    stream: str = ""
    data: Raw = Raw(b"")
    event: str = field(name="e", default="")
    result: Raw = Raw(b"")
    code: int | None = None
    message: str = field(name="msg", default="")


class HistoricalTrade(Struct, gc=False):
    id: Id
    price: str
    quantity: str = field(name="qty")
    time: int
    buyer_is_maker: bool = field(name="isBuyerMaker")


class Listed(Struct, gc=False):
    symbol: Annotated[str, Meta(min_length=1)]
    base: str = field(name="baseAsset")
    quote: str = field(name="quoteAsset")


class ExchangeInfo(Struct):
    symbols: list[Raw]


_trade_envelope = msgspec.json.Decoder(TradeEnvelope).decode
_envelope = msgspec.json.Decoder(Envelope).decode
_wire_trade = msgspec.json.Decoder(WireTrade).decode
_wire_quote = msgspec.json.Decoder(WireQuote).decode
_rows = msgspec.json.Decoder(list[Raw]).decode
_row = msgspec.json.Decoder(HistoricalTrade).decode
_exchange_info = msgspec.json.Decoder(ExchangeInfo).decode


def parse(frame: Frame, instruments: Instruments, records: list[Decoded]) -> None:
    # Only trades end in a flag. The guess spares them a second decoding; a wrong one costs nothing else.
    if frame.payload[-3:] == b"e}}":
        try:
            wire = _trade_envelope(frame.payload).data
        except msgspec.ValidationError:
            pass
        else:
            records += trades((frame,), (wire,), instruments)
            return
    records.append(parse_any(frame, _envelope(frame.payload), instruments))


def parse_any(frame: Frame, message: Envelope, instruments: Instruments) -> Decoded:
    if message.stream.endswith("@trade"):
        return trades((frame,), (_wire_trade(message.data),), instruments)[0]
    if message.stream.endswith("@bookTicker"):
        return quote(frame, _wire_quote(message.data), instruments)
    if message.event == "serverShutdown" or message.stream == "!serverShutdown":
        return said(frame, "shutdown", detail="serverShutdown")
    if message.stream:
        raise Refused("unknown_message", f"stream {message.stream[:80]!r}")
    if message.code is not None:
        return said(frame, "error", detail=f"{message.code}: {message.message}")
    if bytes(message.result):
        return said(frame, "subscribed")
    raise Refused("unknown_message", "neither a stream nor an answer")


def trades(frames: Sequence[Frame], wires: Sequence[WireTrade], instruments: Instruments) -> list[Decoded]:
    listed = decoding.all_known(instruments, [wire.symbol for wire in wires])
    sides: list[Side] = ["SELL" if wire.buyer_is_maker else "BUY" for wire in wires]
    return spot_trades(frames, listed, wires, epoch_times([wire.time for wire in wires]), sides, trade_words)


def trade_words(listed: Sequence[Instrument], wires: Sequence[WireTrade]) -> list[str]:
    makers = ["true" if wire.buyer_is_maker else "false" for wire in wires]
    return [
        f'{one.vendor_prefix},"event_type":"trade","event_time":"{wire.event_time}",'
        f'"trade_time":"{wire.time}","is_buyer_maker":"{maker}"}}'
        for one, wire, maker in zip(listed, wires, makers, strict=True)
    ]


def quote(frame: Frame, wire: WireQuote, instruments: Instruments) -> Quote:
    listed = known(instruments, wire.symbol)
    bid, ask = (wire.bid_price, wire.bid_quantity), (wire.ask_price, wire.ask_quantity)
    own = f'{listed.vendor_prefix},"event_type":"bookTicker"}}'
    # The venue gives this message no time of its own.
    return spot_quote(frame, listed, wire.update, frame.received, bid, ask, own)


def subscribe(instruments: Sequence[Instrument]) -> list[bytes]:
    streams = [
        f"{listed.native.lower()}@{kind}" for listed in instruments for kind in ("trade", "bookTicker")
    ]
    return [
        msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": number})
        for number, names in enumerate(decoding.groups(streams, STREAMS_PER_MESSAGE), 1)
    ]


def listing(raw: Raw) -> Instrument:
    listed = msgspec.json.decode(raw, type=Listed)
    return protocol.instrument("binance", listed.symbol, listed.base, listed.quote)


def repair(listed: Instrument, first: int, last: int, since: int) -> Request:
    limit = min(PAGE_TRADES_MAX, last - first + 1)
    return history("/api/v3/historicalTrades", listed, ("fromId", str(first)), ("limit", str(limit)))


def history(path: str, listed: Instrument, *query: tuple[str, str]) -> Request:
    return Request(path, (("symbol", listed.rest), *query), weight=25, headers=MICROSECONDS)


def page_record(frame: Frame, raw: Raw, listed: Instrument) -> Trade:
    row = _row(raw)
    maker, time = "true" if row.buyer_is_maker else "false", epoch_time(row.time)
    own = f'{listed.vendor_prefix},"trade_time":"{row.time}","is_buyer_maker":"{maker}"}}'
    taker = TAKERS[row.buyer_is_maker]
    return spot_trade(frame, listed, row.id, time, row.price, row.quantity, taker, own, "repair")


def following(header: PageHeader, listed: Instrument, trades: Sequence[Trade], body: bytes) -> Request | None:
    newest = decoding.sequence(trades[-1]) if trades else header.last
    return repair(listed, newest + 1, header.last, header.since) if newest < header.last else None


BINANCE = protocol.Venue(
    name="binance",
    continuity=protocol.Continuity.CONTIGUOUS,
    websocket_urls=(
        "wss://stream.binance.com:9443",
        "wss://stream.binance.com:443",
        "wss://data-stream.binance.vision",
    ),
    rest_urls=("https://api.binance.com", "https://api-gcp.binance.com", "https://api1.binance.com"),
    limits=protocol.Limits(
        connects=protocol.Budget(count=300, seconds=300),
        messages=protocol.Budget(count=5, seconds=1),
        rest=protocol.Budget(count=6_000, seconds=60),
        subscriptions_max=1_024,
        lifetime_seconds=24 * 3_600,
        silence_seconds=60,  # the server pings every 20 s
    ),
    symbols=("BTC-USDT", "ETH-USDT", "BNB-USDT"),
    connect_path="/stream?timeUnit=MICROSECOND",
    subscribe=subscribe,
    classify=decoding.classifier(b'{"result"', b'{"code"', b'{"stream":"!', b'{"e":"serverShutdown"'),
    decode_many=runs_of_trades(parse, trades, _trade_envelope, methodcaller("endswith", b"e}}")),
    alive=Request("/api/v3/ping"),
    metadata=Request("/api/v3/exchangeInfo", (("symbolStatus", "TRADING"),), weight=20),
    decode_metadata=decoding.metadata_decoder(lambda body: _exchange_info(body).symbols, listing),
    repair=repair,
    recent=lambda listed: history("/api/v3/trades", listed, ("limit", "1")),
    decode_page=decoding.page_decoder(_rows, page_record, following),
    throttled=lambda status, body: status in (418, 429) or b'"code":-1003' in body[:40],
)
