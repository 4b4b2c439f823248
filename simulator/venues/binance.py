"""Binance spot as its documents describe it: combined and raw streams, control messages, REST with weights.

https://github.com/binance/binance-spot-api-docs (web-socket-streams.md, rest-api.md, errors.md)
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from simulator.market import Listing, Market, Moment, SymbolMarket, Trade
from simulator.venues.protocol import (
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
    whole_number,
)

STREAMS_MAX = 1_024
PAGE_DEFAULT, PAGE_MAX = 500, 1_000
PRICE_MAX, SIZE_MAX = "1000000.00000000", "9000000.00000000"  # as its filters name them
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
CHANNELS = ("trade", "aggTrade", "bookTicker")
WEIGHTS = {
    "/api/v3/ping": 1,
    "/api/v3/time": 1,
    "/api/v3/exchangeInfo": 20,
    "/api/v3/trades": 25,
    "/api/v3/historicalTrades": 25,
    "/api/v3/aggTrades": 4,
}
# Name, base, quote, first price, decimals of price and quantity, first id, share of the trades, other names.
LISTINGS = (
    Listing("BTCUSDT", "BTC", "USDT", "87000.00", 2, 5, 5_600_000_001, 6),
    Listing("ETHUSDT", "ETH", "USDT", "2900.00", 2, 4, 3_100_000_001, 3),
    Listing("BNBUSDT", "BNB", "USDT", "850.00", 2, 3, 1_200_000_001, 1),
    Listing("PEPEUSDT", "PEPE", "USDT", "0.00000481", 8, 0, 400_000_001, 0.01),
)


def open_session(session: Session, market: Market, now: int) -> Reply:
    """What the URL asks for; the venue says nothing by itself."""
    url = urlsplit(session.path)
    query = parse_qs(url.query)
    combined = url.path == "/stream"
    if not combined and url.path != "/ws" and not url.path.startswith("/ws/"):
        return Reply(close=(1008, "unknown path"))
    unit = query.get("timeUnit", ["millisecond"])[0].upper()
    if unit not in {"MICROSECOND", "MILLISECOND"}:
        return Reply(close=(1008, "unknown timeUnit"))
    session.form = (combined, unit == "MICROSECOND")
    names = query.get("streams", [""])[0].split("/") if combined else unquote(url.path[4:]).split("/")
    subscribe(session, market, [name for name in names if name])
    return Reply()


def subscribe(session: Session, market: Market, names: Iterable[str]) -> None:
    for name in names:
        session.streams[stream_of(market, name)] = name


def stream_of(market: Market, name: str) -> Stream:
    """The stream of that name; one that nothing is ever sent on where the venue has none of that name."""
    symbol, _, channel = name.partition("@")
    known = channel in CHANNELS and symbol == symbol.lower() and symbol.upper() in market.symbols
    return (channel, symbol.upper()) if known else ("", name)


def receive(session: Session, market: Market, text: bytes, now: int) -> Reply:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return error(3, "Invalid JSON: expected value at line 1 column 1")
    if not isinstance(message, dict) or "method" not in message:
        return error(2, "Invalid request: missing field `method` at line 1 column 1")
    method, params, asked = message["method"], message.get("params", []), message.get("id")
    if method not in METHODS:
        expected = ", ".join(f"`{one}`" for one in METHODS)
        return error(
            2, f"Invalid request: unknown variant `{method}`, expected one of {expected} at line 1 column 28"
        )
    if not isinstance(params, list):
        return error(2, "Invalid request: params must be an array")
    return obey(session, market, method, params, asked)


def obey(session: Session, market: Market, method: str, params: list[Any], asked: Any) -> Reply:
    result: Any = None
    if method in {"SUBSCRIBE", "UNSUBSCRIBE"}:
        if not params or not all(isinstance(name, str) for name in params):
            return error(2, "Invalid request: params must be an array of stream names")
        if method == "UNSUBSCRIBE":
            for name in params:
                session.streams.pop(stream_of(market, name), None)
        elif len(session.streams) + len(params) > STREAMS_MAX:
            return error(2, "Invalid request: too many parameters")
        else:
            subscribe(session, market, params)
    elif method == "LIST_SUBSCRIPTIONS":
        result = list(session.streams.values())
    elif not params or params[0] != "combined":
        return error(0, "Unknown property")
    elif method == "GET_PROPERTY":
        result = session.form[0]
    elif len(params) != 2 or not isinstance(params[1], bool):
        return error(1, "Invalid value type: expected Boolean")
    else:
        session.form = (params[1], session.form[1])
    return Reply([msgspec.json.encode({"result": result, "id": asked})])


def error(code: int, message: str) -> Reply:
    return Reply([msgspec.json.encode({"code": code, "msg": message})])


def tend(session: Session, market: Market, rules: Rules, now: int) -> Reply:
    """Its heartbeats are protocol pings, which the server sends."""
    return Reply()


def render(form: tuple[bool, ...], wanted: Collection[Stream], moments: Iterable[Moment]) -> list[Outgoing]:
    combined, micro = form
    divisor = 1_000 if micro else 1_000_000
    frames: list[Outgoing] = []
    for moment in moments:
        market, name = moment.market, moment.market.listing.native
        head, tail = "", ""
        if (stream := ("trade", name)) in wanted:
            if combined:
                head, tail = f'{{"stream":"{name.lower()}@trade","data":', "}"
            for trade in moment.trades:
                payload = f"{head}{trade_text(market, trade, divisor)}{tail}".encode()
                frames.append(Outgoing(stream, market, (trade,), payload))
        if (stream := ("aggTrade", name)) in wanted:
            if combined:
                head, tail = f'{{"stream":"{name.lower()}@aggTrade","data":', "}"
            for identifier, fills in groups(moment.trades, moment.first_aggregate):
                event = f'"e":"aggTrade","E":{pushed(fills[-1]) // divisor},"s":"{name}",'
                payload = (
                    f"{head}{{{event}{aggregate_text(market, identifier, fills, divisor)}}}{tail}".encode()
                )
                frames.append(Outgoing(stream, market, fills, payload))
        if (stream := ("bookTicker", name)) in wanted:
            if combined:
                head, tail = f'{{"stream":"{name.lower()}@bookTicker","data":', "}"
            frames.append(Outgoing(stream, market, (), f"{head}{quote_text(moment)}{tail}".encode()))
    return frames


def trade_text(market: SymbolMarket, trade: Trade, divisor: int) -> str:
    listing = market.listing
    return (
        f'{{"e":"trade","E":{pushed(trade) // divisor},"s":"{listing.native}","t":{trade.id},'
        f'"p":"{plain(trade.price, listing.price_decimals, 8)}",'
        f'"q":"{plain(trade.quantity, listing.quantity_decimals, 8)}",'
        f'"T":{trade.time // divisor},"m":{"false" if trade.taker_buys else "true"},"M":true}}'
    )


def pushed(trade: Trade) -> int:
    """When the venue wrote the event: some hundred microseconds after the trade."""
    return trade.time + 150_000 + trade.id % 700 * 1_000


def groups(trades: Sequence[Trade], first: int) -> Iterator[tuple[int, list[Trade]]]:
    """Fills of one order at one price, with the id of each group."""
    group: list[Trade] = []
    for trade in trades:
        if group and trade.price != group[-1].price:
            yield first, group
            first, group = first + 1, []
        group.append(trade)
    if group:
        yield first, group


def aggregate_text(market: SymbolMarket, identifier: int, fills: Sequence[Trade], divisor: int) -> str:
    listing, last = market.listing, fills[-1]
    quantity = sum(one.quantity for one in fills)
    return (
        f'"a":{identifier},"p":"{plain(last.price, listing.price_decimals, 8)}",'
        f'"q":"{plain(quantity, listing.quantity_decimals, 8)}","f":{fills[0].id},"l":{last.id},'
        f'"T":{last.time // divisor},"m":{"false" if last.taker_buys else "true"},"M":true'
    )


def quote_text(moment: Moment) -> str:
    listing, quote = moment.market.listing, moment.quote
    price, quantity = listing.price_decimals, listing.quantity_decimals
    return (
        f'{{"u":{quote.update},"s":"{listing.native}","b":"{plain(quote.bid, price, 8)}",'
        f'"B":"{plain(quote.bid_quantity, quantity, 8)}","a":"{plain(quote.ask, price, 8)}",'
        f'"A":"{plain(quote.ask_quantity, quantity, 8)}"}}'
    )


def notice(session: Session, now: int) -> bytes | None:
    time = now if session.form[1] else now // 1_000
    event = f'{{"e":"serverShutdown","E":{time}}}'
    return (f'{{"stream":"!serverShutdown","data":{event}}}' if session.form[0] else event).encode()


def answer(market: Market, allowance: Allowance, rules: Rules, request: Request, now: int) -> Response:
    weight = WEIGHTS.get(request.path)
    if weight is None:
        return Response(
            404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"}
        )
    used, left = allowance.spend(weight, now)
    headers = {"X-MBX-USED-WEIGHT": str(int(used)), "X-MBX-USED-WEIGHT-1M": str(int(used))}
    if used > allowance.count:
        message = (
            f"Too much request weight used; current limit is {allowance.count:.0f} request weight "
            "per 1 MINUTE. Please use WebSocket Streams for live updates to avoid polling the API."
        )
        body = msgspec.json.encode({"code": -1003, "msg": message})
        return Response(429, body, {**headers, "Retry-After": str(left)})
    response = told(market, rules, request, now)
    return Response(response.status, response.body, {**headers, **response.headers})


def told(market: Market, rules: Rules, request: Request, now: int) -> Response:
    micro = request.headers.get("x-mbx-time-unit", "").upper() == "MICROSECOND"
    if request.path == "/api/v3/ping":
        return Response(200, b"{}")
    if request.path == "/api/v3/time":
        return Response(200, f'{{"serverTime":{now if micro else now // 1_000}}}'.encode())
    if request.path == "/api/v3/exchangeInfo":
        return exchange_info(market, request, now if micro else now // 1_000)
    symbol = market.symbols.get(request.query.get("symbol", ""))
    if symbol is None:
        return unknown_symbol(request)
    return trades_page(symbol, rules, request, now, micro)


def trades_page(symbol: SymbolMarket, rules: Rules, request: Request, now: int, micro: bool) -> Response:
    numbers = [
        whole_number(request.query.get(name), default)
        for name, default in (("limit", PAGE_DEFAULT), ("fromId", -1), ("startTime", -1), ("endTime", -1))
    ]
    if any(one is None for one in numbers) or numbers[0] == 0:
        return failure(-1100, "Illegal characters found in a parameter.")
    limit, first, start, end = (int(one or 0) for one in numbers)
    limit = min(limit, PAGE_MAX)
    divisor = 1_000 if micro else 1_000_000
    newest = (now - int(rules.lag * 1_000_000)) * 1_000 if rules.lag else None
    if request.path == "/api/v3/aggTrades":
        return Response(200, aggregates_page(symbol, limit, first, (start, end), newest, divisor))
    if request.path == "/api/v3/trades" or first < 0:
        trades = symbol.newest(limit)
    else:
        trades = symbol.from_id(first, limit)
    if request.path == "/api/v3/historicalTrades" and newest is not None:
        trades = [one for one in trades if one.time <= newest]
    return Response(200, f"[{','.join(row(symbol, one, divisor) for one in trades)}]".encode())


def exchange_info(market: Market, request: Request, time: int) -> Response:
    asked = request.query.get("symbol")
    if asked is not None and asked not in market.symbols:
        return unknown_symbol(request)
    symbols = [
        {
            "symbol": one.listing.native,
            "status": "TRADING",
            "baseAsset": one.listing.base,
            "baseAssetPrecision": 8,
            "quoteAsset": one.listing.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "isSpotTradingAllowed": True,
            "filters": filters(one.listing),
            "permissions": ["SPOT"],
        }
        for one in market
        if asked in {None, one.listing.native} and request.query.get("symbolStatus", "TRADING") == "TRADING"
    ]
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000}]
    document = {
        "timezone": "UTC",
        "serverTime": time,
        "rateLimits": limits,
        "exchangeFilters": [],
        "symbols": symbols,
    }
    return Response(200, msgspec.json.encode(document))


def filters(listing: Listing) -> list[dict[str, str]]:
    """The ticks of prices and sizes, and how far both may go."""
    price, size = (plain(1, one, 8) for one in (listing.price_decimals, listing.quantity_decimals))
    return [
        {"filterType": "PRICE_FILTER", "minPrice": price, "maxPrice": PRICE_MAX, "tickSize": price},
        {"filterType": "LOT_SIZE", "minQty": size, "maxQty": SIZE_MAX, "stepSize": size},
    ]


def unknown_symbol(request: Request) -> Response:
    if request.query.get("symbol"):
        return failure(-1121, "Invalid symbol.")
    return failure(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")


def failure(code: int, message: str) -> Response:
    return Response(400, msgspec.json.encode({"code": code, "msg": message}))


def row(market: SymbolMarket, trade: Trade, divisor: int) -> str:
    listing = market.listing
    price, quantity = listing.price_decimals, listing.quantity_decimals
    value = plain(trade.price * trade.quantity, price + quantity, price + quantity)
    return (
        f'{{"id":{trade.id},"price":"{plain(trade.price, price, 8)}",'
        f'"qty":"{plain(trade.quantity, quantity, 8)}","quoteQty":"{value}",'
        f'"time":{trade.time // divisor},'
        f'"isBuyerMaker":{"false" if trade.taker_buys else "true"},"isBestMatch":true}}'
    )


def aggregates_page(
    market: SymbolMarket, limit: int, first: int, period: tuple[int, int], newest: int | None, divisor: int
) -> bytes:
    """Groups from an id on, or of a period, or the newest ones."""
    oldest = market.next_aggregate - len(market.aggregates)
    starts = list(market.aggregates)
    if first < 0 and period == (-1, -1):
        first = market.next_aggregate - limit
    index = max(0, first - oldest)
    rows: list[str] = []
    for place, start in islice(enumerate(starts), index, None):
        after = starts[place + 1] if place + 1 < len(starts) else market.last_id() + 1
        fills = [one for one in market.from_id(start, after - start) if one.id >= start]
        time = fills[-1].time // divisor if fills else 0
        if not fills or time < period[0] or (newest is not None and fills[-1].time > newest):
            continue
        if len(rows) == limit or -1 < period[1] < time:
            break
        rows.append(f"{{{aggregate_text(market, oldest + place, fills, divisor)}}}")
    return f"[{','.join(rows)}]".encode()


BINANCE = Face(
    name="binance",
    listings=LISTINGS,
    rules=Rules(
        ping=20.0,
        pong=60.0,
        lifetime=24 * 3_600.0,
        messages=(5, 1.0),
        connects=(300, 300.0),
        rest=(6_000, 60.0),
    ),
    open=open_session,
    receive=receive,
    tend=tend,
    render=render,
    notice=notice,
    answer=answer,
    streams=lambda native: (("trade", native), ("bookTicker", native)),
)
