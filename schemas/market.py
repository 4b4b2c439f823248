"""What the market did: trades, quotes, bars. Fields are in column order; new ones last, with a default."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import (
    MONEY_PRECISION,
    MONEY_SCALE,
    AssetClass,
    Market,
    Money,
    Origin,
    Side,
    Time,
    Words,
)


class Trade(Struct, frozen=True, gc=False):
    """One trade as the venue reported it."""

    message_id: Annotated[str, Meta(description="exchange:market:symbol:series:trade_id")]
    trade_id: Annotated[str, Meta(description="the venue's id of the trade, as text")]
    symbol: Annotated[str, Meta(description="canonical BASE-QUOTE, such as BTC-USDT")]
    exchange: Annotated[str, Meta(description="venue that reported it, such as binance")]
    asset_class: Annotated[AssetClass, Meta(description="what kind of thing is traded")]
    timestamp: Annotated[Time, Meta(description="when the venue says it happened")]
    price: Annotated[Money, Meta(description="units of currency for one unit of the base asset")]
    quantity: Annotated[Money, Meta(description="units of the base asset")]
    currency: Annotated[str, Meta(description="what the price is counted in")]
    side: Annotated[Side, Meta(description="the taker's side")]
    trade_conditions: Annotated[
        tuple[str, ...], Meta(description="the venue's condition codes; empty where it has none")
    ]
    source_sequence: Annotated[
        int | None, Meta(description="the venue's sequence number; null where it gives none")
    ]
    ingestion_timestamp: Annotated[Time, Meta(description="when our socket received the frame")]
    platform_sequence: Annotated[
        int | None, Meta(description="position in the shard's journal of the frame that caused it")
    ]
    vendor_data: Annotated[
        Words | None, Meta(description="the venue's own words for what the fields normalise")
    ]
    market: Annotated[Market | None, Meta(description="part of the venue, such as spot")] = None
    base_asset: Annotated[str | None, Meta(description="what is bought and sold")] = None
    quote_asset: Annotated[str | None, Meta(description="what it is paid with")] = None
    native_symbol: Annotated[str | None, Meta(description="the venue's own symbol")] = None
    first_sequence: Annotated[int | None, Meta(description="first trade id that this record covers")] = None
    last_sequence: Annotated[int | None, Meta(description="last trade id that this record covers")] = None
    series: Annotated[
        int | None, Meta(description="how often the venue had restarted its ids; 0 at first")
    ] = None
    origin: Annotated[Origin | None, Meta(description="how it reached us")] = None
    shard: Annotated[str | None, Meta(description="journal that platform_sequence counts in")] = None


class Quote(Struct, frozen=True, gc=False):
    """The best bid and offer at one moment; an absent side is null, never zero."""

    message_id: Annotated[str, Meta(description="exchange:market:symbol:quote_id")]
    quote_id: Annotated[str, Meta(description="the venue's id of the update, else shard.position.index")]
    symbol: Annotated[str, Meta(description="canonical BASE-QUOTE, such as BTC-USDT")]
    exchange: Annotated[str, Meta(description="venue that reported it, such as binance")]
    asset_class: Annotated[AssetClass, Meta(description="what kind of thing is traded")]
    timestamp: Annotated[
        Time, Meta(description="when the venue says it was so; our receive time where it says none")
    ]
    bid_price: Annotated[Money | None, Meta(description="best price a buyer offers")]
    bid_quantity: Annotated[Money | None, Meta(description="size at that price, in base asset")]
    ask_price: Annotated[Money | None, Meta(description="best price a seller asks")]
    ask_quantity: Annotated[Money | None, Meta(description="size at that price, in base asset")]
    currency: Annotated[str, Meta(description="what the prices are counted in")]
    source_sequence: Annotated[
        int | None, Meta(description="the venue's update number; null where it gives none")
    ]
    ingestion_timestamp: Annotated[Time, Meta(description="when our socket received the frame")]
    platform_sequence: Annotated[
        int | None, Meta(description="position in the shard's journal of the frame that caused it")
    ]
    vendor_data: Annotated[
        Words | None, Meta(description="the venue's own words for what the fields normalise")
    ]
    market: Annotated[Market | None, Meta(description="part of the venue, such as spot")] = None
    base_asset: Annotated[str | None, Meta(description="what is bought and sold")] = None
    quote_asset: Annotated[str | None, Meta(description="what it is paid with")] = None
    native_symbol: Annotated[str | None, Meta(description="the venue's own symbol")] = None
    origin: Annotated[Origin | None, Meta(description="how it reached us")] = None
    shard: Annotated[str | None, Meta(description="journal that platform_sequence counts in")] = None


class Bar(Struct, frozen=True, gc=False):
    """What the market did in one interval; the highest revision of a message_id's window counts."""

    message_id: Annotated[str, Meta(description="exchange:market:symbol:interval:window_start:revision")]
    symbol: Annotated[str, Meta(description="canonical BASE-QUOTE, such as BTC-USDT")]
    exchange: Annotated[str, Meta(description="venue whose trades it sums up")]
    asset_class: Annotated[AssetClass, Meta(description="what kind of thing is traded")]
    interval: Annotated[str, Meta(description="1s, 1m, 5m, 15m, 1h or 1d")]
    window_start: Annotated[Time, Meta(description="first moment of the window, included")]
    window_end: Annotated[Time, Meta(description="end of the window, excluded")]
    open: Annotated[Money, Meta(description="price of the first trade")]
    high: Annotated[Money, Meta(description="highest price")]
    low: Annotated[Money, Meta(description="lowest price")]
    close: Annotated[Money, Meta(description="price of the last trade")]
    volume: Annotated[Money, Meta(description="sum of quantities, in base asset")]
    notional: Annotated[Money, Meta(description="sum of price times quantity, in currency")]
    vwap: Annotated[Money, Meta(description="notional divided by volume, rounded half-even")]
    trade_count: Annotated[int, Meta(description="number of trades")]
    taker_buy_volume: Annotated[Money, Meta(description="part of volume whose taker bought")]
    taker_buy_count: Annotated[int, Meta(description="number of trades whose taker bought")]
    first_trade_id: Annotated[str, Meta(description="id of the trade that opened the window")]
    last_trade_id: Annotated[str, Meta(description="id of the trade that closed it")]
    missing: Annotated[
        int | None,
        Meta(description="ids known to be missing; null where the venue's ids cannot prove it"),
    ]
    revision: Annotated[int, Meta(description="0 when first issued, higher when re-issued")]
    currency: Annotated[str, Meta(description="what prices and notional are counted in")]
    market: Annotated[Market, Meta(description="part of the venue, such as spot")]
    base_asset: Annotated[str, Meta(description="what is bought and sold")]
    quote_asset: Annotated[str, Meta(description="what it is paid with")]
    shard: Annotated[str, Meta(description="journal that platform_sequence counts in")]
    platform_sequence: Annotated[
        int, Meta(description="position of the frame, trade or tick, that issued it")
    ]


# A product of two (38,18) numbers has at most 76 digits: this context never rounds it by itself.
_EXACT = Context(prec=2 * MONEY_PRECISION, rounding=ROUND_HALF_EVEN)
_QUANTUM = Decimal(1).scaleb(-MONEY_SCALE)


def notional(price: Decimal, quantity: Decimal) -> tuple[Decimal, bool]:
    """Price times quantity at 18 places, rounded half-even, and whether that is the exact product."""
    product = _EXACT.multiply(price, quantity)
    rounded = product.quantize(_QUANTUM, context=_EXACT)
    return rounded, rounded == product
