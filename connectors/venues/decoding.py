"""What the decoders of all venues share: how a record is made, what is refused, and how pages are read."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw

from connectors.venues import protocol
from connectors.venues.protocol import (
    FRAME_BYTES_MAX,
    Decoded,
    Instrument,
    Instruments,
    Page,
    PageHeader,
    Request,
)
from connectors.venues.values import TEXT_CHARACTERS_MAX, Refused, exact, number, plain_number
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.fields import Origin, Side
from schemas.health import FrameKind, Reason, What
from schemas.run import Run, Words, trades_of

# How much of a venue's explanation a record repeats.
DETAIL_CHARACTERS_MAX = 200


def known(instruments: Instruments, native: str) -> Instrument:
    """The instrument of that name, or Refused."""
    found = instruments.get(native)
    if found is None:
        raise Refused("unknown_symbol", f"symbol {native[:TEXT_CHARACTERS_MAX]!r}")
    return found


def all_known(instruments: Instruments, natives: Sequence[str]) -> list[Instrument]:
    """The instruments of those names, or Refused."""
    found = list(map(instruments.get, natives))
    return found if all(found) else [known(instruments, native) for native in natives]  # type: ignore[return-value]


def spot_trades(
    frames: Sequence[Frame],
    listed: Sequence[Instrument],
    wires: Sequence[Any],
    times: list[int],
    sides: list[Side],
    words: Words,
) -> list[Decoded]:
    """Live crypto spot trades with one id each, as a run if they are several.

    `wires` have an id, a price and a quantity; `words` makes the vendor_data of instruments and wires.
    """
    prices, price_nanos = exact([wire.price for wire in wires], "price")
    quantities, quantity_nanos = exact([wire.quantity for wire in wires], "quantity")
    ids = [wire.id for wire in wires]
    if len(frames) == 1:
        return [*trades_of(frames, listed, ids, times, prices, quantities, sides, words(listed, wires))]
    symbols = [one.symbol for one in listed]
    received = [frame.received for frame in frames]
    money = prices, quantities, price_nanos, quantity_nanos
    return [Run(frames, listed, symbols, received, ids, times, *money, sides, wires, words)]


def spot_trade(
    frame: Frame,
    listed: Instrument,
    identifier: int,
    time: int,
    price: str,
    quantity: str,
    side: Side,
    vendor_data: str,
    origin: Origin = "live",
) -> Trade:
    """A crypto spot trade with one id; `time` in microseconds."""
    prices, quantities = (number(price, "price"),), (number(quantity, "quantity"),)
    facts = prices, quantities, (side,), (vendor_data,)
    (made,) = trades_of((frame,), (listed,), (identifier,), (time,), *facts, origin)
    return made


def spot_quote(
    frame: Frame,
    listed: Instrument,
    update: int | None,
    time: int,
    bid: tuple[str | None, str | None],
    ask: tuple[str | None, str | None],
    vendor_data: str,
    index: int = 0,
) -> Quote:
    """A crypto spot quote of (price, quantity) pairs, numbered by the update, else by its place."""
    quote_id = f"{frame.shard}.{frame.position}.{index}" if update is None else str(update)
    bid_price, bid_quantity = offer(*bid)
    ask_price, ask_quantity = offer(*ask)
    return Quote(
        listed.quote_prefix + quote_id,
        quote_id,
        listed.symbol,
        listed.exchange,
        "crypto",
        time,
        bid_price,
        bid_quantity,
        ask_price,
        ask_quantity,
        listed.quote,
        update,
        frame.received,
        frame.position,
        vendor_data,
        "spot",
        listed.base,
        listed.quote,
        listed.native,
        "live",
        frame.shard,
    )


def offer(price: str | None, quantity: str | None) -> tuple[str | None, str | None]:
    """One side of a quote; absent where the venue writes zeros, or nothing, as nobody offers."""
    if price is not None and not plain_number(price):
        price = number(price, "price")
    if quantity is not None and not plain_number(quantity):
        quantity = number(quantity, "quantity")
    if price and quantity and not price.strip("0.") and not quantity.strip("0."):
        return None, None
    return price, quantity


Why = tuple[Reason, str]
Sides = dict[str, Side]  # by the venue's word

# What a hostile frame may cause; anything else that is raised is a bug of ours.
# ArithmeticError: what Python says of numbers that only an enemy sends.
EXPECTED = (Refused, msgspec.DecodeError, UnicodeDecodeError, ArithmeticError, RecursionError)


def refusal(error: Exception) -> Why:
    """Why something could not be read, from one of the EXPECTED errors."""
    if isinstance(error, Refused):
        return error.reason, error.detail
    text = str(error)[:DETAIL_CHARACTERS_MAX]
    if not isinstance(error, msgspec.ValidationError):
        return "malformed", text
    if text.startswith("Invalid value"):  # of the field that names what sort of message it is
        return "unknown_message", text
    return ("missing_field" if "missing required field" in text else "wrong_type"), text


def dead_letter(frame: Frame, why: Why, index: int) -> DeadLetter:
    """What decoding could not accept, with its coordinates; `index` counts the frame's records."""
    reason, detail = why
    return DeadLetter(
        message_id=f"{frame.exchange}:{frame.shard}:{frame.position}:{index}",
        exchange=frame.exchange,
        stage="decode",
        reason=reason,
        detail=detail,
        symbol=None,
        shard=frame.shard,
        platform_sequence=frame.position,
        connection=frame.connection,
        number=frame.number,
        index=index,
        received=frame.received,
        payload=frame.payload,
    )


def said(
    frame: Frame, what: What, *, symbol: str | None = None, newest_id: int | None = None, detail: str = ""
) -> Control:
    """What a control message means."""
    return Control(
        exchange=frame.exchange,
        shard=frame.shard,
        platform_sequence=frame.position,
        received=frame.received,
        what=what,
        symbol=symbol,
        newest_id=newest_id,
        detail=detail[:DETAIL_CHARACTERS_MAX],
    )


def symbol_of(instruments: Instruments, native: str) -> str | None:
    """Our name of something that a venue speaks about, else the beginning of the venue's, if it says any."""
    listed = instruments.get(native)
    return listed.symbol if listed else native[:TEXT_CHARACTERS_MAX] or None


def words(listed: Instrument, own: Mapping[str, str]) -> str:
    """The vendor_data of a record, the native pair and the venue's own words, whatever is in them."""
    return (
        f"{listed.vendor_prefix},{msgspec.json.encode(own).decode()[1:]}"
        if own
        else listed.vendor_prefix + "}"
    )


def side(words: Sides, word: str) -> Side:
    """The side that a venue's word means, or Refused."""
    found = words.get(word)
    if found is None:
        raise Refused("side", f"side {word[:TEXT_CHARACTERS_MAX]!r}")
    return found


def all_sides(words: Sides, found: Sequence[str]) -> list[Side]:
    """The sides that a venue's words mean, or Refused."""
    sides = list(map(words.get, found))
    return sides if all(sides) else [side(words, word) for word in found]  # type: ignore[return-value]


def guarded(
    parse: Callable[[Frame, Instruments, list[Decoded]], None],
) -> Callable[[Sequence[Frame], Instruments], list[Decoded]]:
    """Make a parser, which appends a frame's records and may refuse, a decoder that never raises."""

    def decode_many(frames: Sequence[Frame], instruments: Instruments) -> list[Decoded]:
        records: list[Decoded] = []
        for frame in frames:
            payload = frame.payload
            try:
                if len(payload) > FRAME_BYTES_MAX:
                    raise Refused("too_large", f"{len(payload)} bytes")
                if not payload.isascii():
                    payload.decode()  # also where nobody reads, so that what we store is text
                parse(frame, instruments, records)
            except EXPECTED as error:
                records.append(dead_letter(frame, refusal(error), 0))
        return records

    return decode_many


def each(items: Iterable[Any], record: Callable[[int, Any], Decoded]) -> tuple[list[Decoded], list[Why]]:
    """A record for each numbered item, trades in the order of their ids, and why others cannot be read."""
    records: list[Decoded] = []
    refused: list[Why] = []
    for index, item in enumerate(items):
        try:
            records.append(record(index, item))
        except EXPECTED as error:
            refused.append(refusal(error))
    if len(records) > 1 and isinstance(records[0], Trade):
        records.sort(key=sequence)
    return records, refused


def batched(frame: Frame, items: Sequence[Any], record: Callable[[int, Any], Decoded]) -> list[Decoded]:
    """The records of a message's numbered items; an item that cannot be read costs only itself."""
    if not items:
        raise Refused("missing_field", "a message without data")
    if len(items) == 1:
        return [record(0, items[0])]  # if it cannot be read, neither can the frame
    records, refused = each(items, record)
    return records + [dead_letter(frame, why, index) for index, why in enumerate(refused, len(records))]


def sequence(trade: Any) -> int:
    """The venue's number of a trade that must have one."""
    number = trade.source_sequence
    assert isinstance(number, int)
    return number


def classifier(*control: bytes) -> Callable[[bytes], FrameKind]:
    """What tells control messages, known by how they begin, from data and what may be data."""
    return lambda payload: "control" if payload.startswith(control) else "data"


def groups(items: Sequence[str], size: int) -> list[Sequence[str]]:
    """The items in groups of at most `size`, for messages that may name only so many."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def pack_page(header: PageHeader, body: bytes) -> bytes:
    """The payload of a repair frame."""
    return msgspec.json.encode(header) + b"\n" + body


def unpack_page(payload: bytes) -> tuple[PageHeader, bytes]:
    """What `pack_page` packed, or Refused."""
    head, line_end, body = payload.partition(b"\n")
    if not line_end:
        raise Refused("malformed", "a repair frame without its header")
    return _page_header(head), body


_page_header = msgspec.json.Decoder(PageHeader).decode


def page_decoder(
    rows: Callable[[bytes], Sequence[Raw]],
    record: Callable[[Frame, Raw, Instrument], Trade],
    following: Callable[[PageHeader, Instrument, Sequence[Trade], bytes], Request | None],
) -> Callable[[Frame, Instruments], Page]:
    """A decoder of pages from how to split a body, read a row, and ask on after the trades of this page."""

    def decode_page(frame: Frame, instruments: Instruments) -> Page:
        try:
            header, body = unpack_page(frame.payload)
            listed = known(instruments, header.native)
            found, refused = each(rows(body), lambda _, row: record(frame, row, listed))
            trades = [trade for trade in found if isinstance(trade, Trade)]
            further = following(header, listed, trades, body)
        except EXPECTED as error:
            letter = dead_letter(frame, refusal(error), 0)
            return Page((letter,), None, letter.detail or letter.reason)
        asked = [trade for trade in trades if header.first <= sequence(trade) <= header.last]
        letters = [dead_letter(frame, why, index) for index, why in enumerate(refused, len(asked))]
        # A venue that repeats its answer would be asked the same for ever.
        return Page((*asked, *letters), None if further == header.request else further)

    return decode_page


def metadata_decoder(
    listings: Callable[[bytes], Iterable[Raw]], listing: Callable[[Raw], Instrument | None]
) -> Callable[[bytes], dict[str, Instrument]]:
    """A decoder of metadata from how to split a body and read a listing (None: not one of ours).

    A listing that cannot be read costs only itself: its symbol stays unknown, and is told as such.
    """

    def decode_metadata(body: bytes) -> dict[str, Instrument]:
        found: dict[str, Instrument] = {}
        try:
            for raw in listings(body):
                try:
                    listed = listing(raw)
                except msgspec.ValidationError:
                    continue
                if listed is not None:
                    found[listed.native] = listed
        except EXPECTED as error:
            raise ValueError(": ".join(refusal(error))) from error
        if not found:
            raise ValueError("no instrument in it")
        return found

    return decode_metadata


def speller(
    exchange: str, separator: str, renamed: Mapping[str, str] = MappingProxyType({})
) -> Callable[[str], Instrument | None]:
    """What reads an instrument off a name that spells out both assets; None for a name that does not.

    No guess where an asset ends, as with BTCUSDT: the venue itself puts its separator between the two names
    that its metadata gives. For people who look at frames; what is captured and kept comes from metadata.
    """

    def spelled(native: str) -> Instrument | None:
        found = assets(native)
        if not found:
            return None
        base, quote = (renamed.get(asset, asset) for asset in found.groups())
        return protocol.instrument(exchange, native, base, quote)

    assets = re.compile(rf"([A-Z0-9.]{{1,20}}){re.escape(separator)}([A-Z0-9.]{{1,20}})").fullmatch
    return spelled
