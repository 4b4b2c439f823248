"""What the decoders of all venues share: refusals, numbers, times, pages, and how a record is made."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
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
_number = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
# Larger exponents do not fit decimal(38,18) whatever stands before them, and are never expanded.
_small_exponent = re.compile(r"-?[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,2}").fullmatch


def number(text: str, field: str) -> str:
    """The plain digits of a price or size, or Refused; a negative one passes, for validation to name."""
    if len(text) <= NUMBER_CHARACTERS_MAX and _small_exponent(text):
        text = format(Decimal(text), "f")
    if plain_number(text.removeprefix("-")):
        return text
    if len(text) <= NUMBER_CHARACTERS_MAX and not _number(text):
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
        price, quantity = number(price, "price"), number(quantity, "quantity")
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
    bid_price, bid_quantity, ask_price, ask_quantity = (
        text if text is None or plain_number(text) else number(text, "price or size") for text in (*bid, *ask)
    )
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


# What an asset is called on venues that spell out both in a pair's name.
asset = re.compile(r"[A-Z0-9.]{1,20}").fullmatch


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


def token(raw: msgspec.Raw) -> str:
    """The text of a JSON number as the venue wrote it, never through a float; Refused if it is no number."""
    text = str(raw, "ascii")
    if text[:1] in "-0123456789":
        return text
    raise msgspec.ValidationError(f"Expected a number, got {text[:NUMBER_CHARACTERS_MAX]}")


def quoted(text: str) -> str:
    """The text as a JSON string, whatever is in it."""
    return msgspec.json.encode(text).decode()


def no_message(now: int) -> bytes | None:
    """For venues where protocol pings are enough."""
    return None


def epoch_time(value: int) -> int:
    """Microseconds of a venue's milliseconds or microseconds, told apart by magnitude, or Refused."""
    if 1_000_000_000_000 <= value < 10_000_000_000_000:
        return value * 1_000
    return sane_time(value)


def sane_time(microseconds: int) -> int:
    """The same, from September 2001 to November 2286, or Refused."""
    if 1_000_000_000_000_000 <= microseconds < 10_000_000_000_000_000:
        return microseconds
    raise Refused("time", f"time {microseconds}")


def clock_time(text: str) -> int:
    """Microseconds of an RFC 3339 time in UTC, finer digits cut off, or Refused."""
    found = _clock(text)
    if found is None:
        raise Refused("time", f"time {text[:NUMBER_CHARACTERS_MAX]!r}")
    second, fraction = found.groups()
    return _second(second) + int((fraction or "0")[:6].ljust(6, "0"))


_clock = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z").fullmatch


@lru_cache(maxsize=1_024)  # seconds that recent trades share
def _second(text: str) -> int:
    """Microseconds of a second such as 2023-09-25T07:49:37."""
    try:
        since_epoch = datetime.fromisoformat(text).replace(tzinfo=UTC) - datetime.fromtimestamp(0, UTC)
    except ValueError as error:
        raise Refused("time", f"time {text!r}: {error}") from error
    return sane_time(since_epoch // timedelta(microseconds=1))


def seconds_time(text: str) -> int:
    """Microseconds of a decimal number of seconds, finer digits cut off, or Refused."""
    second, _, fraction = number(text, "time").partition(".")
    return sane_time(int(second + fraction[:6].ljust(6, "0")))


def pack_page(header: PageHeader, body: bytes) -> bytes:
    """The payload of a repair frame."""
    return msgspec.json.encode(header) + b"\n" + body


def in_order(records: Sequence[Decoded]) -> list[Decoded]:
    """Trades in id order, then the rest as it came."""
    trades = sorted((one for one in records if isinstance(one, Trade)), key=sequence)
    return [*trades, *(one for one in records if not isinstance(one, Trade))]


def each(frame: Frame, items: Sequence[Any], record: Callable[[int, Any], Decoded]) -> list[Decoded]:
    """One record for each numbered item; an item that cannot be read costs only itself."""
    records: list[Decoded] = []
    for index, item in enumerate(items):
        try:
            records.append(record(index, item))
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
            found = each(frame, rows(body), lambda _, row: record(frame, row, listed))
            trades = sorted((one for one in found if isinstance(one, Trade)), key=sequence)
            asked = [one for one in trades if header.first <= sequence(one) <= header.last]
            letters = [one for one in found if isinstance(one, DeadLetter)]
            further = following(header, listed, trades, body)
            # A venue that repeats its answer would be asked the same for ever.
            return Page((*asked, *letters), None if further == header.request else further)
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            return Page((dead_letter(frame, *why),), None)

    return decode_page


def metadata_decoder(
    listings: Callable[[bytes], Sequence[msgspec.Raw]],
    listing: Callable[[msgspec.Raw], Instrument | None],
) -> Callable[[bytes], dict[str, Instrument]]:
    """A decoder of metadata from how to split a body and read a listing, which may be none of ours (None).

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
        except Exception as error:
            why = refusal(error)
            if why is None:
                raise
            raise ValueError(": ".join(why)) from error
        if not found:
            raise ValueError("no instrument in it")
        return found

    return decode_metadata


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
