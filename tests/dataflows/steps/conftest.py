"""A shard of a venue that speaks the plainest protocol: what the steps' tests feed and run."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from connectors.venues.values import plain_number
from dataflows.steps.bars import Aggregate
from dataflows.steps.batch import Batch, batch_of
from dataflows.steps.decode import Decode
from dataflows.steps.duplicates import DropDuplicates
from dataflows.steps.gaps import DetectGaps
from dataflows.steps.validate import Validate
from schemas import Control, DeadLetter, Frame, Quote, Record, Trade
from schemas.nanos import Nanos
from schemas.run import Run, records_of

SECOND = 1_000_000
START = 1_760_000_000 * SECOND  # 20 s into a minute, 32,000 s into a day


class Listed(msgspec.Struct, frozen=True):
    """An instrument of the plain venue."""

    symbol: str

    exchange = "plain"

    @property
    def native(self) -> str:
        return self.symbol

    @property
    def base(self) -> str:
        return self.symbol.partition("-")[0]

    @property
    def quote(self) -> str:
        return self.symbol.partition("-")[2]

    @property
    def trade_prefix(self) -> str:
        return f"plain:spot:{self.symbol}:0:"


def trade(
    identifier: int,
    time: int,
    price: str = "100",
    quantity: str = "1",
    side: str = "BUY",
    *,
    symbol: str = "BTC-USDT",
    received: int | None = None,
    position: int = 1,
    origin: str = "live",
) -> Trade:
    base, _, quote = symbol.partition("-")
    return Trade(
        message_id=f"plain:spot:{symbol}:0:{identifier}",
        trade_id=str(identifier),
        symbol=symbol,
        exchange="plain",
        asset_class="crypto",
        timestamp=time,
        price=price,
        quantity=quantity,
        currency=quote,
        side=side,  # type: ignore[arg-type]
        trade_conditions=(),
        source_sequence=identifier,
        ingestion_timestamp=time + 1_000 if received is None else received,
        platform_sequence=position,
        vendor_data=None,
        market="spot",
        base_asset=base,
        quote_asset=quote,
        native_symbol=symbol,
        first_sequence=identifier,
        last_sequence=identifier,
        series=0,
        origin=origin,  # type: ignore[arg-type]
        shard="plain-0",
    )


def quote(
    update: int, time: int, bid: Sequence[str | None], ask: Sequence[str | None], frame: Frame
) -> Quote:
    return Quote(
        message_id=f"plain:spot:BTC-USDT:{update}",
        quote_id=str(update),
        symbol="BTC-USDT",
        exchange="plain",
        asset_class="crypto",
        timestamp=time,
        bid_price=bid[0],
        bid_quantity=bid[1],
        ask_price=ask[0],
        ask_quantity=ask[1],
        currency="USDT",
        source_sequence=update,
        ingestion_timestamp=frame.received,
        platform_sequence=frame.position,
        vendor_data=None,
        origin="live",
        shard=frame.shard,
    )


def decode(frame: Frame, listed: Mapping[str, Listed]) -> list[Record]:
    """Items of ["t", symbol, id, time, price, quantity, side], ["q", ...], ["h", symbol, newest]."""
    try:
        items = msgspec.json.decode(frame.payload, type=list[list[Any]])
    except msgspec.DecodeError as error:
        return [letter(frame, 0, str(error))]
    records: list[Record] = []
    for index, (kind, *fields) in enumerate(items):
        if kind == "t" and fields[0] in listed:
            symbol, identifier, *rest = fields
            place = {"symbol": symbol, "received": frame.received, "position": frame.position}
            records.append(trade(identifier, *rest, **place, origin=ORIGINS[frame.kind]))
        elif kind == "q":
            records.append(quote(*fields, frame))
        elif kind == "h":
            symbol, newest = fields
            said = Control("plain", frame.shard, frame.position, frame.received, "heartbeat", symbol, newest)
            records.append(said)
        else:
            records.append(letter(frame, index, "unknown"))
    return records


NANOS = Nanos()


def decode_many(frames: Sequence[Frame], listed: Mapping[str, Listed]) -> list[Record | Run]:
    """Neighbouring frames of nothing but good trades become runs."""
    found: list[Record | Run] = []
    waiting: list[tuple[Frame, Trade]] = []
    for frame in frames:
        records = decode(frame, listed)
        if records and all(isinstance(one, Trade) and plainly_good(one) for one in records):
            waiting += [(frame, one) for one in records if isinstance(one, Trade)]
            continue
        found += [*in_a_run(waiting), *records]
        waiting = []
    return [*found, *in_a_run(waiting)]


def plainly_good(one: Trade) -> bool:
    """What the venues' decoders let into a run: plain numbers, of either sign and any length."""
    return bool(plain_number(one.price) and plain_number(one.quantity))


def in_a_run(found: list[tuple[Frame, Trade]]) -> list[Run] | list[Trade]:
    frames, trades = [frame for frame, _ in found], [one for _, one in found]
    if len(trades) < 2:
        return trades
    prices, quantities = [one.price for one in trades], [one.quantity for one in trades]
    return [
        Run(
            frames=frames,
            listed=[Listed(one.symbol) for one in trades],
            symbols=[one.symbol for one in trades],
            received=[frame.received for frame in frames],
            ids=[one.first_sequence or 0 for one in trades],
            times=[one.timestamp for one in trades],
            prices=prices,
            quantities=quantities,
            price_nanos=list(map(NANOS.__getitem__, prices)),
            quantity_nanos=list(map(NANOS.__getitem__, quantities)),
            sides=[one.side for one in trades],
            wires=trades,
            words=lambda _, wires: [one.vendor_data for one in wires],
        )
    ]


ORIGINS = {"data": "live", "control": "live", "repair": "repair"}


def letter(frame: Frame, index: int, detail: str) -> DeadLetter:
    return DeadLetter(
        message_id=f"plain:{frame.shard}:{frame.position}:{index}",
        exchange="plain",
        stage="decode",
        reason="malformed",
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


def decode_metadata(body: bytes) -> dict[str, Listed]:
    return {symbol: Listed(symbol) for symbol in msgspec.json.decode(body, type=list[str])}


class Tape:
    """Frames of one shard, in order."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.connection = START - 3_600 * SECOND

    def frame(self, received: int, kind: str, payload: Any) -> Frame:
        position = len(self.frames) + 1
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        made = Frame("plain", "plain-0", position, self.connection, position, received, kind, body)  # type: ignore[arg-type]
        self.frames.append(made)
        return made

    def trade(
        self,
        identifier: int,
        time: int,
        *rest: str,
        symbol: str = "BTC-USDT",
        received: int | None = None,
        kind: str = "data",
    ) -> Frame:
        item = ["t", symbol, identifier, time, *rest]
        return self.frame(time + 1_000 if received is None else received, kind, [item])

    def tick(self, time: int) -> Frame:
        return self.frame(time, "tick", {"open": 1})

    def outcome(self, time: int, first: int, last: int, reason: str, *, symbol: str = "BTC-USDT") -> Frame:
        said = {"symbol": symbol, "series": 0, "first": first, "last": last, "reason": reason, "requests": 1}
        return self.frame(time, "outcome", said)


class Chain:
    """All steps in the order of the flow."""

    names = ("decode", "detect_gaps", "validate", "drop_duplicates", "aggregate")

    def __init__(self, state: tuple[Any, ...] | None = None, **settings: Any) -> None:
        states = state or (None,) * len(self.names)
        self.decode = Decode(
            states[0],
            instruments={symbol: Listed(symbol) for symbol in ("BTC-USDT", "ETH-USDT", "XRP-EUR")},
            instrument=Listed,
            decode_many=decode_many,
            decode_page=decode,
            decode_metadata=decode_metadata,
        )
        self.gaps = DetectGaps(states[1], exchange="plain", continuity="contiguous")
        self.validate = Validate(states[2])
        self.duplicates = DropDuplicates(states[3], continuity="contiguous")
        self.bars = Aggregate(states[4], continuity="contiguous", **settings)
        self.steps = (self.decode, self.gaps, self.validate, self.duplicates, self.bars)

    def run(self, frames: list[Frame]) -> Batch:
        batch = batch_of(frames)
        for step in self.steps:
            batch = step.step(batch)
        return batch

    def feed(self, frames: list[Frame]) -> list[Record]:
        return records_of(self.run(frames).records) if frames else []

    def snapshot(self) -> tuple[Any, ...]:
        return tuple(step.snapshot() for step in self.steps)


class Kit:
    """What tests build with."""

    SECOND, START = SECOND, START
    Tape, Chain, Listed = Tape, Chain, Listed
    trade = staticmethod(trade)
    quote = staticmethod(quote)
    letter = staticmethod(letter)

    def faulty(self, seed: int, trades: int = 150) -> list[Frame]:
        """A few minutes of three markets, and every fault that a venue and a line can make."""
        return faulty(random.Random(seed), trades)


def faulty(chance: random.Random, trades: int) -> list[Frame]:
    events: list[tuple[int, str, Any]] = []
    for symbol in ("BTC-USDT", "ETH-USDT", "XRP-EUR"):
        identifier, time = chance.randrange(1, 10_000), START
        for _ in range(trades):
            identifier += 1
            time += chance.choice((0, 1, 10_000, 300_000, 2 * SECOND))
            if chance.random() < 0.003:
                identifier = 1  # the venue begins to count again
            if chance.random() < 0.002:
                time += 30 * SECOND
            price = f"{chance.randrange(9_000, 11_000)}.{chance.randrange(100):02d}"
            size = chance.choice(("0.5", "1", "0.00000001", "0.123456789012345678", "3.10"))
            item = ["t", symbol, identifier, time, price, size, chance.choice(("BUY", "SELL", "UNKNOWN"))]
            events += fate(chance, symbol, identifier, time, item)
        for _ in range(5):  # what happens whatever is traded
            at = chance.randrange(START, time)
            events.append((at, "control", [["h", symbol, identifier - chance.randrange(200)]]))
            events.append((at, "data", b"not a document"))
            rogue = chance.choice((10**10, 3))
            events.append((at, "data", [["t", symbol, rogue, at, "1", "1", "BUY"]]))
            bid = chance.choice((["99", "1"], [None, None]))
            events.append((at, "data", [["q", chance.randrange(50), at, bid, ["100", "1"]]]))
    last = max(event[0] for event in events)
    events += [(at, "tick", {"open": 1}) for at in range(START, last + 60 * SECOND, SECOND)]
    tape = Tape()
    for received, kind, payload in sorted(events, key=lambda event: event[0]):
        if chance.random() < 0.01:
            tape.connection = received - 1
            tape.frame(received, "connection", {})
        tape.frame(received, kind, payload)
    return tape.frames


def fate(
    chance: random.Random, symbol: str, identifier: int, time: int, item: list[Any]
) -> list[tuple[int, str, Any]]:
    """How one trade reaches us, if at all."""
    now = time + 1_000
    late = now + chance.choice((500_000, 3 * SECOND, 20 * SECOND, 90 * SECOND))
    changed = [*item[:4], "77", *item[5:]]
    wrong = [*item[:5], chance.choice(("0", "-1", "NaN", "1e9", "1 1", "")), "BUY"]
    said = {
        "symbol": symbol,
        "first": identifier - chance.randrange(3),
        "last": identifier,
        "reason": "empty",
    }
    fates: dict[str, list[tuple[int, str, Any]]] = {
        "good": [(now, "data", [item])],
        "late": [(late, "data", [item])],
        "repeated": [(now, "data", [item, item]), (late, "data", [item])],
        "repeated by a page": [(now, "data", [item]), (late, "repair", [item])],
        "changed": [(now, "data", [item]), (now, "data", [changed])],
        "wrong": [(now, "data", [wrong])],
        "repaired": [(late, "repair", [item])],
        "lost": [(late, "outcome", said)],
        "lost and found": [(late, "outcome", said), (late + SECOND, "repair", [item])],
    }
    (name,) = chance.choices(list(fates), (80, 6, 3, 1, 1, 2, 4, 2, 1))
    return fates[name]


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
