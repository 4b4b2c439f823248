"""Kraken spot as its documents describe it: WebSocket v2 and the public REST service.

https://docs.kraken.com/api/docs/websocket-v2/trade, https://docs.kraken.com/api/docs/rest-api/get-recent-trades
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
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

PAGE_MAX = 1_000
SNAPSHOT_TRADES = 50
# What the REST service calls an asset: in names of pairs, and as an asset.
CODES = {"BTC": ("XBT", "XXBT"), "ETH": ("ETH", "XETH"), "DOGE": ("XDG", "XXDG"), "USD": ("USD", "ZUSD")}
# Name, base, quote, first price, decimals of price and quantity, first id, share of the trades, other names.
LISTINGS = (
    Listing("BTC/USD", "BTC", "USD", "87000.0", 1, 8, 92_000_001, 2, ("XXBTZUSD", "XBTUSD", "XBT/USD")),
    Listing("ETH/USD", "ETH", "USD", "2900.00", 2, 8, 71_000_001, 1, ("XETHZUSD", "ETHUSD")),
    Listing("DOGE/USD", "DOGE", "USD", "0.1450000", 7, 8, 23_000_001, 0.01, ("XDGUSD", "XDG/USD", "DOGEUSD")),
)


def open_session(session: Session, market: Market, now: int) -> Reply:
    if session.path.rstrip("/") != "/v2":
        return Reply(close=(1008, "unknown path"))
    return Reply([status(session, "online")])


def status(session: Session, system: str) -> bytes:
    data = {
        "version": "2.0.10",
        "system": system,
        "api_version": "v2",
        "connection_id": 12_393_906_104_898_154_338 + session.number,
    }
    return msgspec.json.encode({"channel": "status", "type": "update", "data": [data]})


def receive(session: Session, market: Market, text: bytes, now: int) -> Reply:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = None
    if not isinstance(message, dict):
        return Reply([answered({}, now, {"error": "Malformed request", "success": False})])
    method, params = message.get("method"), message.get("params", {})
    if method == "ping":
        return Reply([answered(message, now, {"method": "pong"})])
    if method not in {"subscribe", "unsubscribe"}:
        return Reply([answered(message, now, {"error": "Unsupported method", "success": False})])
    channel = params.get("channel") if isinstance(params, dict) else None
    if channel == "heartbeat":
        result = {"method": method, "result": {"channel": channel}, "success": True}
        return Reply([answered(message, now, result)])
    symbols = params.get("symbol") if channel in {"trade", "ticker"} else None
    if not isinstance(symbols, list):
        words = {"method": method, "error": "Channel or symbol missing or not supported", "success": False}
        return Reply([answered(message, now, words)])
    return Reply([frame for symbol in symbols for frame in obey(session, market, message, str(symbol), now)])


def answered(message: dict[str, Any], now: int, words: dict[str, Any]) -> bytes:
    """An answer: what is said, when the question came and the answer left, and the question's own number."""
    times = {"time_in": zulu(now * 1_000), "time_out": zulu(now * 1_000 + 48_000)}
    number = {"req_id": message["req_id"]} if "req_id" in message else {}
    return msgspec.json.encode({**words, **times, **number})


def obey(
    session: Session, market: Market, message: dict[str, Any], native: str, now: int
) -> list[bytes | Outgoing]:
    """The acknowledgement of one symbol, and the snapshot that may follow it."""
    method, params = message["method"], message["params"]
    if native not in market.symbols:
        words = {"method": method, "error": f"Currency pair not supported {native}", "success": False}
        return [answered(message, now, {**words, "symbol": native})]
    channel, trigger = params["channel"], params.get("event_trigger", "trades")
    stream = ("trade" if channel == "trade" else f"ticker:{trigger}", native)
    result: dict[str, Any] = {"channel": channel, "symbol": native}
    if method == "unsubscribe":
        session.streams.pop(stream, None)
        return [answered(message, now, {"method": method, "result": result, "success": True})]
    if stream in session.streams:
        words = {"method": method, "error": "Already subscribed", "success": False, "symbol": native}
        return [answered(message, now, words)]
    session.streams[stream] = channel
    snapshot = bool(params.get("snapshot", channel == "ticker"))
    result |= (
        {"snapshot": snapshot} if channel == "trade" else {"event_trigger": trigger, "snapshot": snapshot}
    )
    frames: list[bytes | Outgoing] = [
        answered(message, now, {"method": method, "result": result, "success": True})
    ]
    symbol = market.symbols[native]
    if snapshot and symbol.newest(1):
        trades = symbol.newest(SNAPSHOT_TRADES) if channel == "trade" else []
        payload = trades_frame(symbol, trades, "snapshot") if trades else ticker(symbol, "snapshot")
        frames.append(Outgoing(stream, symbol, trades, payload))
    return frames


def tend(session: Session, market: Market, rules: Rules, now: int) -> Reply:
    """A heartbeat where nothing else was sent for a second."""
    return Reply([b'{"channel":"heartbeat"}']) if now - session.sent >= SECOND else Reply()


def render(form: tuple[bool, ...], wanted: Collection[Stream], moments: Iterable[Moment]) -> list[Outgoing]:
    frames: list[Outgoing] = []
    for moment in moments:
        market, name = moment.market, moment.market.listing.native
        if moment.trades and (stream := ("trade", name)) in wanted:
            frames.append(
                Outgoing(stream, market, moment.trades, trades_frame(market, moment.trades, "update"))
            )
        triggers = [f"ticker:{one}" for one in ("bbo", "trades") if one == "bbo" or moment.trades]
        frames += [
            Outgoing((one, name), market, (), ticker(market, "update", moment))
            for one in triggers
            if (one, name) in wanted
        ]
    return frames


def trades_frame(market: SymbolMarket, trades: Sequence[Trade], kind: str) -> bytes:
    """All trades of one order in one message."""
    listing = market.listing
    rows = [
        f'{{"symbol":"{listing.native}","side":"{"buy" if one.taker_buys else "sell"}",'
        f'"price":{number(one.price, listing.price_decimals)},'
        f'"qty":{number(one.quantity, listing.quantity_decimals)},'
        f'"ord_type":"{"market" if one.id % 3 else "limit"}","trade_id":{one.id},'
        f'"timestamp":"{zulu(one.time)}"}}'
        for one in trades
    ]
    return f'{{"channel":"trade","type":"{kind}","data":[{",".join(rows)}]}}'.encode()


def number(value: int, decimals: int) -> str:
    """A JSON number as the venue writes it: no zeros at the end but one after the point."""
    text = short(value, decimals)
    return text if "." in text else f"{text}.0"


def ticker(market: SymbolMarket, kind: str, moment: Moment | None = None) -> bytes:
    listing, quote = market.listing, moment.quote if moment else market.quote
    price, quantity = listing.price_decimals, listing.quantity_decimals
    last = moment.trades[-1].price if moment and moment.trades else market.price
    return (
        f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{listing.native}",'
        f'"bid":{number(quote.bid, price)},"bid_qty":{number(quote.bid_quantity, quantity)},'
        f'"ask":{number(quote.ask, price)},"ask_qty":{number(quote.ask_quantity, quantity)},'
        f'"last":{number(last, price)},"volume":997.03898383,"vwap":{number(market.start, price)},'
        f'"low":{number(market.start // 2, price)},"high":{number(market.start * 2, price)},'
        f'"change":{number(abs(last - market.start), price)},"change_pct":0.17,'
        f'"timestamp":"{zulu(quote.time)}"}}]}}'
    ).encode()


def notice(session: Session, now: int) -> bytes | None:
    return status(session, "maintenance")


def answer(market: Market, allowance: Allowance, rules: Rules, request: Request, now: int) -> Response:
    name = request.path.removeprefix("/0/public/")
    if not allowance.take(f"{name}:{request.query.get('pair', '')}", now):
        return failure("EAPI:Rate limit exceeded")
    if name == "Time":
        words = datetime.fromtimestamp(now // SECOND, UTC).strftime("%a, %d %b %y %H:%M:%S +0000")
        return result({"unixtime": now // SECOND, "rfc1123": words})
    if name == "SystemStatus":
        return result({"status": "online", "timestamp": zulu(now * 1_000)[:19] + "Z"})
    if name == "AssetPairs":
        return pairs(market, request.query.get("pair"))
    if name == "Trades":
        return trades_page(market, rules, request, now)
    return failure("EGeneral:Unknown method")


def result(value: Any) -> Response:
    return Response(200, msgspec.json.encode({"error": [], "result": value}))


def failure(message: str) -> Response:
    return Response(200, msgspec.json.encode({"error": [message]}))


def pairs(market: Market, asked: str | None) -> Response:
    wanted = None if asked is None else {market.names.get(name) for name in asked.split(",")}
    if wanted is not None and None in wanted:
        return failure("EQuery:Unknown asset pair")
    return result(
        {rest_name(one.listing): pair(one.listing) for one in market if wanted is None or one in wanted}
    )


def rest_name(listing: Listing) -> str:
    """The pair's key: XXBTZUSD, or XDGUSD for what came later."""
    if listing.names:
        return listing.names[0]
    return listing.base + listing.quote


def pair(listing: Listing) -> dict[str, Any]:
    base_name, base_asset = CODES.get(listing.base, (listing.base, listing.base))
    quote_name, quote_asset = CODES.get(listing.quote, (listing.quote, listing.quote))
    return {
        "altname": base_name + quote_name,
        "wsname": f"{base_name}/{quote_name}",
        "aclass_base": "currency",
        "base": base_asset,
        "aclass_quote": "currency",
        "quote": quote_asset,
        "lot": "unit",
        "pair_decimals": listing.price_decimals,
        "lot_decimals": listing.quantity_decimals,
        "status": "online",
        "execution_venue": "international",
    }


def trades_page(market: Market, rules: Rules, request: Request, now: int) -> Response:
    symbol = market.names.get(request.query.get("pair", ""))
    if symbol is None:
        return failure("EQuery:Unknown asset pair")
    count = whole_number(request.query.get("count"), PAGE_MAX)
    since = whole_number(request.query.get("since"), -1)
    if count is None or since is None or not 1 <= count <= PAGE_MAX:
        return failure("EGeneral:Invalid arguments")
    if 0 <= since < 10**11:
        since *= 1_000_000_000
    trades = symbol.newest(count) if since < 0 else symbol.since(since, count)
    if rules.lag:
        trades = [one for one in trades if one.time <= (now - rules.lag * SECOND) * 1_000]
    last = trades[-1].time if trades else max(since, 0)
    rows = ",".join(row(symbol.listing, one) for one in trades)
    body = f'{{"error":[],"result":{{"{rest_name(symbol.listing)}":[{rows}],"last":"{last}"}}}}'
    return Response(200, body.encode())


def row(listing: Listing, trade: Trade) -> str:
    time = short(trade.time // 100, 7)
    price = plain(trade.price, listing.price_decimals, max(5, listing.price_decimals))
    quantity = plain(trade.quantity, listing.quantity_decimals, 8)
    side, kind = "b" if trade.taker_buys else "s", "m" if trade.id % 3 else "l"
    return f'["{price}","{quantity}",{time},"{side}","{kind}","",{trade.id}]'


KRAKEN = Face(
    name="kraken",
    listings=LISTINGS,
    rules=Rules(rest=(1, 1.0)),
    open=open_session,
    receive=receive,
    tend=tend,
    render=render,
    notice=notice,
    answer=answer,
    streams=lambda native: (("trade", native), ("ticker:bbo", native)),
)
