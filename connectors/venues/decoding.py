"""What the decoders of all venues share: refusals, numbers, times, pages, and how a record is made."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from connectors.venues.protocol import (
    FRAME_BYTES_MAX,
    Decoded,
    Instrument,
    Instruments,
    Page,
    PageHeader,
    Request,
)
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.fields import Origin, Side
from schemas.health import Reason, What

# No venue sends a number this long; refusing it by length keeps exponent bombs away from arithmetic.
NUMBER_CHARACTERS_MAX = 40


class Refused(Exception):
    """A message, or one record of it, that cannot be accepted; becomes a DeadLetter."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason
        self.detail = detail


def known(instruments: Instruments, native: str) -> Instrument:
    """The instrument of that name, or Refused."""
    found = instruments.get(native)
    if found is None:
        raise Refused("unknown_symbol", f"symbol {native[:NUMBER_CHARACTERS_MAX]!r}")
    return found


# What decimal(38,18) holds, in the plain form that venues use: no sign, exponent, NaN or padding.
plain_number = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?").fullmatch
plain_numbers = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})? [0-9]{1,20}(?:\.[0-9]{1,18})?").fullmatch
_digits = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch


def number(text: str, field: str) -> str:
    """The text of a price or size, or Refused; a negative one passes, for validation to name."""
    if plain_number(text) or plain_number(text.removeprefix("-")):
        return text
    if len(text) <= NUMBER_CHARACTERS_MAX and not _digits(text):
        raise Refused("not_a_number", f"{field} is {text!r}")
    raise Refused("precision", f"{field} is {text[:NUMBER_CHARACTERS_MAX]!r}, {len(text)} characters")


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
    if not plain_numbers(f"{price} {quantity}"):
        number(price, "price")
        number(quantity, "quantity")
    trade_id = str(identifier)
    # By position: naming 24 fields would double the cost of the hottest line of the platform.
    return Trade(
        listed.trade_prefix + trade_id,
        trade_id,
        listed.symbol,
        listed.exchange,
        "crypto",
        time,
        price,
        quantity,
        listed.quote,
        side,
        (),
        identifier,
        frame.received,
        frame.position,
        vendor_data,
        "spot",
        listed.base,
        listed.quote,
        listed.native,
        identifier,
        identifier,
        0,
        origin,
        frame.shard,
    )


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
    """A crypto spot quote of (price, quantity) pairs; its id is the update's, else its place in the journal.

    An absent side is (None, None).
    """
    quote_id = f"{frame.shard}.{frame.position}.{index}" if update is None else str(update)
    for text in (*bid, *ask):
        if text is not None and not plain_number(text):
            number(text, "price or size")
    return Quote(
        listed.quote_prefix + quote_id,
        quote_id,
        listed.symbol,
        listed.exchange,
        "crypto",
        time,
        *bid,
        *ask,
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


def dead_letter(frame: Frame, reason: Reason, detail: str, *, index: int = 0) -> DeadLetter:
    """What decoding could not accept, with its coordinates."""
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


def refusal(error: Exception) -> tuple[Reason, str] | None:
    """Why a frame could not be read; None for an error that is a bug of ours."""
    if isinstance(error, Refused):
        return error.reason, error.detail
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        return ("missing_field" if "missing required field" in text else "wrong_type"), text
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | RecursionError):
        return "malformed", str(error)[:200]
    return None


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
        detail=detail,
    )


def guarded(
    parse: Callable[[Frame, Instruments], list[Decoded]],
) -> Callable[[Frame, Instruments], list[Decoded]]:
    """Turn a parser that may refuse into a decoder that never raises, whatever the bytes."""

    def decode(frame: Frame, instruments: Instruments) -> list[Decoded]:
        if len(frame.payload) > FRAME_BYTES_MAX:
            return [dead_letter(frame, "too_large", f"{len(frame.payload)} bytes")]
        try:
            return parse(frame, instruments)
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            return [dead_letter(frame, *why)]

    return decode


def no_message(now: int) -> bytes | None:
    """For venues where protocol pings are enough."""
    return None


def epoch_time(value: int) -> int:
    """Microseconds of a venue's milliseconds or microseconds, told apart by magnitude, or Refused."""
    if 1_000_000_000_000 <= value < 10_000_000_000_000:
        return value * 1_000
    if 1_000_000_000_000_000 <= value < 10_000_000_000_000_000:
        return value
    raise Refused("time", f"time {value}")


def pack_page(header: PageHeader, body: bytes) -> bytes:
    """The payload of a repair frame."""
    return msgspec.json.encode(header) + b"\n" + body


def each(frame: Frame, items: Sequence[Any], record: Callable[[Any], Decoded]) -> list[Decoded]:
    """One record for each item; an item that cannot be read costs only itself."""
    records: list[Decoded] = []
    for index, item in enumerate(items):
        try:
            records.append(record(item))
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            records.append(dead_letter(frame, *why, index=index))
    return records


def page_decoder(
    rows: Callable[[bytes], Sequence[Any]],
    record: Callable[[Frame, Any, Instrument], Trade],
    following: Callable[[PageHeader, Instrument, Sequence[Trade], bytes], Request | None],
) -> Callable[[Frame, Instruments], Page]:
    """A decoder of pages from how to split a body, read a row, and ask on after the trades of this page."""

    def decode_page(frame: Frame, instruments: Instruments) -> Page:
        try:
            header, body = unpack_page(frame.payload)
            listed = known(instruments, header.native)
            found = each(frame, rows(body), lambda row: record(frame, row, listed))
            trades = sorted((one for one in found if isinstance(one, Trade)), key=sequence)
            asked = [one for one in trades if header.first <= sequence(one) <= header.last]
            letters = [one for one in found if isinstance(one, DeadLetter)]
            return Page((*asked, *letters), following(header, listed, trades, body))
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            return Page((dead_letter(frame, *why),), None)

    return decode_page


def sequence(trade: Trade) -> int:
    """The venue's number of a trade that must have one."""
    assert trade.source_sequence is not None
    return trade.source_sequence


_page_header = msgspec.json.Decoder(PageHeader)


def unpack_page(payload: bytes) -> tuple[PageHeader, bytes]:
    """What `pack_page` packed, or Refused."""
    head, line_end, body = payload.partition(b"\n")
    if not line_end:
        raise Refused("malformed", "a repair frame without its header")
    return _page_header.decode(head), body
