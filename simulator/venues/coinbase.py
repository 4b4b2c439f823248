"""Coinbase Exchange as its documents describe it: matches, ticker, heartbeat, and the public REST service.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import msgspec

from simulator.market import Listing, Market, Moment, SymbolMarket, Trade
from simulator.venues.protocol import (
    SECOND,
    Allowance,
    Face,
    Outgoing,
    Reply,
    Request,
    Response,
    Rules,
    Session,
    Stream,
    plain,
    short,
    whole_number,
    zulu,
)

PAGE_DEFAULT, PAGE_MAX = 100, 1_000
CHANNELS = ("matches", "ticker", "heartbeat")
SIGNED_CHANNELS = ("level2", "level3", "full")
# Name, base, quote, first price, decimals of price and quantity, first id, share of the trades, other names.
LISTINGS = (
    Listing("BTC-USD", "BTC", "USD", "87000.00", 2, 8, 910_000_001, 2),
    Listing("ETH-USD", "ETH", "USD", "2900.00", 2, 8, 720_000_001, 1),
    Listing("SHIB-USD", "SHIB", "USD", "0.00000871", 8, 1, 61_000_001, 0.01),
)


def open_session(session: Session, market: Market, now: int) -> Reply:
    return Reply()


def receive(session: Session, market: Market, text: bytes, now: int) -> Reply:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return failed("Malformed JSON")
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in {"subscribe", "unsubscribe"}:
        return failed("Type has to be either subscribe or unsubscribe")
    wanted = asked(message)
    if not wanted:
        return failed("Failed to subscribe", "channels missing")
    wrong = [reason for one in wanted if (reason := objection(market, one, kind == "subscribe"))]
    if wrong:
        return failed("Failed to subscribe", wrong[0])
    if kind == "unsubscribe":
        for channel, native in wanted:
            for stream in [one for one in session.streams if one[0] == channel and native in {"", one[1]}]:
                del session.streams[stream]
        return Reply([subscriptions(session)])
    fresh = [stream for stream in wanted if stream not in session.streams]
    session.streams.update(dict.fromkeys(fresh, ""))
    return Reply([subscriptions(session), *(first for one in fresh for first in first_frames(market, one))])


def asked(message: dict[str, Any]) -> list[Stream]:
    """Channels come as names or as objects with products of their own."""
    channels, products = message.get("channels"), message.get("product_ids")
    streams: list[Stream] = []
    for channel in channels if isinstance(channels, list) else []:
        own = channel.get("product_ids", products) if isinstance(channel, dict) else products
        name = channel.get("name") if isinstance(channel, dict) else channel
        streams += [(str(name), str(one)) for one in own or [""]]
    return streams


def objection(market: Market, stream: Stream, subscribes: bool) -> str:
    """Why the venue does not have this stream; nothing where it has."""
    channel, native = stream
    if channel in SIGNED_CHANNELS:
        return "level2, level3, and full channels now require authentication"
    if channel not in CHANNELS:
        return f"{channel} is not a valid channel"
    return (
        f"{native} is not a valid product" if native not in market.symbols and (subscribes or native) else ""
    )


def failed(message: str, reason: str = "") -> Reply:
    words = {"type": "error", "message": message}
    return Reply([msgspec.json.encode(words | ({"reason": reason} if reason else {}))])


def subscriptions(session: Session) -> bytes:
    """All that is subscribed now, whatever the question was."""
    channels = [
        {"name": name, "product_ids": [native for channel, native in session.streams if channel == name]}
        for name in CHANNELS
        if any(channel == name for channel, _ in session.streams)
    ]
    return msgspec.json.encode({"type": "subscriptions", "channels": channels})


def first_frames(market: Market, stream: Stream) -> list[Outgoing]:
    """What a new subscription gets at once: the newest trade, however old."""
    symbol = market.symbols[stream[1]]
    newest = symbol.newest(1)
    if not newest or stream[0] == "heartbeat":
        return []
    if stream[0] == "matches":
        return [Outgoing(stream, symbol, newest, match(symbol, newest[0], "last_match"))]
    return [Outgoing(stream, symbol, (), ticker(symbol, newest[0], symbol.quote))]


def tend(session: Session, market: Market, rules: Rules, now: int) -> Reply:
    if (
        not session.streams
        and rules.subscribe is not None
        and now - session.opened >= rules.subscribe * SECOND
    ):
        return Reply(close=(1008, "no subscription"))
    if now - session.last_heartbeat < SECOND:
        return Reply()
    session.last_heartbeat = now
    products = [market.symbols[native] for channel, native in session.streams if channel == "heartbeat"]
    return Reply([heartbeat(one, now) for one in products if one.newest(1)])


def heartbeat(market: SymbolMarket, now: int) -> bytes:
    last = market.last_id()
    return (
        f'{{"type":"heartbeat","last_trade_id":{last},"product_id":"{market.listing.native}",'
        f'"sequence":{sequence(last)},"time":"{zulu(now * 1_000)}"}}'
    ).encode()


def sequence(trade_id: int) -> int:
    """The number of the full channel: it rises with every trade, in jumps."""
    return trade_id * 23 + (trade_id * 2_654_435_761 >> 7) % 19


def render(form: tuple[bool, ...], wanted: Collection[Stream], moments: Iterable[Moment]) -> list[Outgoing]:
    frames: list[Outgoing] = []
    for moment in moments:
        market, name = moment.market, moment.market.listing.native
        if not moment.trades:
            continue
        if (stream := ("matches", name)) in wanted:
            frames += [Outgoing(stream, market, (one,), match(market, one, "match")) for one in moment.trades]
        if (stream := ("ticker", name)) in wanted:
            frames.append(Outgoing(stream, market, (), ticker(market, moment.trades[-1], moment.quote)))
    return frames


def match(market: SymbolMarket, trade: Trade, kind: str) -> bytes:
    listing = market.listing
    maker = f"{trade.id & 0xFFFFFFFF:08x}-af29-4f45-8744-{trade.time & 0xFFFFFFFFFFFF:012x}"
    taker = f"{trade.id & 0xFFFFFFFF:08x}-c8da-4732-9f71-{trade.time & 0xFFFFFFFFFFFF:012x}"
    return (
        f'{{"type":"{kind}","trade_id":{trade.id},"maker_order_id":"{maker}","taker_order_id":"{taker}",'
        f'"side":"{maker_side(trade)}","size":"{short(trade.quantity, listing.quantity_decimals)}",'
        f'"price":"{short(trade.price, listing.price_decimals)}","product_id":"{listing.native}",'
        f'"sequence":{sequence(trade.id)},"time":"{zulu(trade.time)}"}}'
    ).encode()


def maker_side(trade: Trade) -> str:
    """The venue names the side of the order that was waiting."""
    return "sell" if trade.taker_buys else "buy"


def ticker(market: SymbolMarket, trade: Trade, quote: Any) -> bytes:
    """Its side is the taker's, unlike that of a match."""
    listing = market.listing
    price, quantity = listing.price_decimals, listing.quantity_decimals
    return (
        f'{{"type":"ticker","sequence":{sequence(trade.id)},"product_id":"{listing.native}",'
        f'"price":"{short(trade.price, price)}","open_24h":"{short(market.start, price)}",'
        f'"volume_24h":"94381.28000000","low_24h":"{short(market.start // 2, price)}",'
        f'"high_24h":"{short(market.start * 2, price)}","volume_30d":"2295579.57000000",'
        f'"best_bid":"{short(quote.bid, price)}","best_bid_size":"{plain(quote.bid_quantity, quantity, 8)}",'
        f'"best_ask":"{short(quote.ask, price)}","best_ask_size":"{plain(quote.ask_quantity, quantity, 8)}",'
        f'"side":"{"buy" if trade.taker_buys else "sell"}","time":"{zulu(trade.time)}",'
        f'"trade_id":{trade.id},"last_size":"{short(trade.quantity, quantity)}"}}'
    ).encode()


def notice(session: Session, now: int) -> bytes | None:
    return None


def answer(market: Market, allowance: Allowance, rules: Rules, request: Request, now: int) -> Response:
    if not allowance.take("", now):
        return told(429, {"message": "Public rate limit exceeded"})
    parts = request.path.strip("/").split("/")
    if parts == ["time"]:
        return told(200, {"iso": zulu(now * 1_000), "epoch": now / SECOND})
    if parts == ["products"]:
        return told(200, [product(one.listing) for one in market])
    symbol = market.symbols.get(parts[1]) if len(parts) > 1 and parts[0] == "products" else None
    if symbol is None:
        return told(404, {"message": "NotFound"})
    if len(parts) == 2:
        return told(200, product(symbol.listing))
    return (
        trades_page(symbol, rules, request, now)
        if parts[2:] == ["trades"]
        else told(404, {"message": "NotFound"})
    )


def told(status: int, value: Any) -> Response:
    return Response(status, msgspec.json.encode(value))


def product(listing: Listing) -> dict[str, Any]:
    return {
        "id": listing.native,
        "base_currency": listing.base,
        "quote_currency": listing.quote,
        "quote_increment": plain(1, listing.price_decimals),
        "base_increment": plain(1, listing.quantity_decimals),
        "display_name": listing.native,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "auction_mode": False,
    }


def trades_page(symbol: SymbolMarket, rules: Rules, request: Request, now: int) -> Response:
    """Newest first; `after` is for older ones, `before` for newer ones."""
    numbers = [
        whole_number(request.query.get(name), default)
        for name, default in (("limit", PAGE_DEFAULT), ("after", 0), ("before", 0))
    ]
    if any(one is None for one in numbers):
        return told(400, {"message": "limit, after and before must be whole numbers"})
    limit, after, before = (int(one or 0) for one in numbers)
    trades: Sequence[Trade] = symbol.newest(min(limit or PAGE_DEFAULT, PAGE_MAX), after or None)
    newest = (now - int(rules.lag * SECOND)) * 1_000
    trades = [one for one in trades if one.id > before and (not rules.lag or one.time <= newest)]
    cursors = {"CB-BEFORE": str(trades[-1].id), "CB-AFTER": str(trades[0].id)} if trades else {}
    rows = ",".join(row(symbol.listing, one) for one in reversed(trades))
    return Response(200, f"[{rows}]".encode(), cursors)


def row(listing: Listing, trade: Trade) -> str:
    return (
        f'{{"trade_id":{trade.id},"side":"{maker_side(trade)}",'
        f'"size":"{plain(trade.quantity, listing.quantity_decimals, 8)}",'
        f'"price":"{plain(trade.price, listing.price_decimals, 8)}","time":"{zulu(trade.time)}"}}'
    )


COINBASE = Face(
    name="coinbase",
    listings=LISTINGS,
    rules=Rules(subscribe=5.0, messages=(8, 1.0), connects=(8, 1.0), rest=(10, 1.0), rest_burst=15),
    open=open_session,
    receive=receive,
    tend=tend,
    render=render,
    notice=notice,
    answer=answer,
    streams=lambda native: (("matches", native), ("ticker", native)),
)
