"""How we know what we know: frames as received, what is missing, what was refused, what a venue said."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from schemas.fields import AssetClass, Market, Time

FrameKind = Literal[
    "data",  # a live message that carries market data, or that we cannot tell
    "control",  # a live message about the connection: acknowledgement, heartbeat, notice
    "repair",  # a page of trade history that the repairer asked for
    "metadata",  # the venue's list of instruments
    "connection",  # opened, closed, rotated, refused
    "tick",  # one a second: how time passes while a market is quiet
    "outcome",  # how a repair ended
]

Reason = Literal[
    "malformed",  # not a document: bad JSON, bad UTF-8, nested too deep
    "too_large",  # longer than the venue's limit
    "missing_field",
    "wrong_type",
    "not_a_number",  # NaN, infinity, empty, or more than 40 characters
    "precision",  # does not fit decimal(38,18)
    "time",  # no such moment, or too far from when it was received
    "unknown_symbol",
    "unknown_message",  # a document that the venue's protocol does not name
    "side",
    "not_positive",  # a price or quantity of zero or less
    "crossed",  # bid above ask outside an auction
    "beyond_memory",  # an id older than all that we can still compare with
    "conflict",  # an id seen before with other content
]

What = Literal["subscribed", "refused", "heartbeat", "pong", "status", "shutdown", "error"]


class Frame(Struct, frozen=True, gc=False):
    """One message as received, before anybody looked inside."""

    exchange: Annotated[str, Meta(description="venue that sent it")]
    shard: Annotated[str, Meta(description="journal that keeps it")]
    position: Annotated[int, Meta(description="dense number in the shard's journal, from 1")]
    connection: Annotated[
        int, Meta(description="when the connection was opened, in microseconds; unique in a shard")
    ]
    number: Annotated[int, Meta(description="dense number in the connection, from 1")]
    received: Annotated[Time, Meta(description="when our socket had it")]
    kind: Annotated[FrameKind, Meta(description="what sort of message it is")]
    payload: Annotated[bytes, Meta(description="the bytes as they came")]


class Gap(Struct, frozen=True, gc=False):
    """Ids that a venue gave out and we did not receive; one row when found, one when it ends."""

    message_id: Annotated[str, Meta(description="gap_id:status")]
    gap_id: Annotated[str, Meta(description="exchange:market:symbol:series:first-last")]
    exchange: Annotated[str, Meta(description="venue whose ids are missing")]
    asset_class: Annotated[AssetClass, Meta(description="what kind of thing is traded")]
    market: Annotated[Market, Meta(description="part of the venue, such as spot")]
    symbol: Annotated[str, Meta(description="canonical BASE-QUOTE, such as BTC-USDT")]
    series: Annotated[int, Meta(description="how often the venue had restarted its ids")]
    first_missing: Annotated[int, Meta(description="lowest missing id")]
    last_missing: Annotated[int, Meta(description="highest missing id")]
    status: Annotated[
        Literal["open", "repaired", "lost", "split"],
        Meta(description="how it stands; split: its ids are named by the gaps that tile it"),
    ]
    reason: Annotated[str, Meta(description="why it was found or how it ended")]
    found: Annotated[Time, Meta(description="receive time of the frame that showed it")]
    ended: Annotated[Time | None, Meta(description="when it ended; null while open")]
    shard: Annotated[str, Meta(description="journal that platform_sequence counts in")]
    platform_sequence: Annotated[int, Meta(description="position of the frame that caused the row")]


class DeadLetter(Struct, frozen=True, gc=False):
    """What we could not accept, with its bytes and where they are."""

    message_id: Annotated[str, Meta(description="exchange:shard:position:index")]
    exchange: Annotated[str, Meta(description="venue that sent it")]
    stage: Annotated[str, Meta(description="step that refused it")]
    reason: Annotated[Reason, Meta(description="why, from a closed list")]
    detail: Annotated[str, Meta(description="what exactly, for a person")]
    symbol: Annotated[str | None, Meta(description="canonical symbol; null where not known")]
    shard: Annotated[str, Meta(description="journal that keeps the frame")]
    platform_sequence: Annotated[int, Meta(description="position of the frame in that journal")]
    connection: Annotated[int, Meta(description="connection of the frame")]
    number: Annotated[int, Meta(description="number of the frame in its connection")]
    index: Annotated[int, Meta(description="which record of the frame, from 0")]
    received: Annotated[Time, Meta(description="when our socket had the frame")]
    payload: Annotated[bytes, Meta(description="the bytes of the frame")]


class StaleWindow(Struct, frozen=True, gc=False):
    """A window whose bar changed after the flow had forgotten it; maintenance recomputes it from trades."""

    exchange: Annotated[str, Meta(description="venue whose trades the bar sums up")]
    market: Annotated[Market, Meta(description="part of the venue, such as spot")]
    symbol: Annotated[str, Meta(description="canonical BASE-QUOTE, such as BTC-USDT")]
    interval: Annotated[str, Meta(description="length of the window, such as 1m")]
    window_start: Annotated[Time, Meta(description="when the window begins")]
    shard: Annotated[str, Meta(description="journal that platform_sequence counts in")]
    platform_sequence: Annotated[int, Meta(description="position of the frame that caused the row")]


class Control(Struct, frozen=True, gc=False):
    """What a venue said about the connection or itself; never stored as a row of its own."""

    exchange: str
    shard: str
    platform_sequence: int
    received: Time
    what: Literal["subscribed", "refused", "heartbeat", "pong", "status", "shutdown", "error", "metadata"]
    symbol: str | None = None
    newest_id: Annotated[
        int | None, Meta(description="newest trade id of the symbol, where a heartbeat says it")
    ] = None
    detail: str = ""


class Tick(Struct, frozen=True, gc=False):
    """A second has passed; how a shard's time moves on while its markets are quiet."""

    shard: str
    platform_sequence: int
    time: Time


class Outcome(Struct, frozen=True, gc=False):
    """How the repairer's work on a hole ended; ids that pages brought have already closed their part."""

    shard: str
    platform_sequence: int
    received: Time
    exchange: str
    symbol: str
    series: int
    first: int
    last: int
    reason: Annotated[str, Meta(description="what became of the ids that no page brought")]
    requests: int


class ConnectionEvent(Struct, frozen=True, gc=False):
    """The payload of a frame of kind `connection`, as JSON."""

    what: Annotated[
        Literal["started", "opened", "refused", "closed"],
        Meta(description="started: a new life of the process that captures; refused: never opened"),
    ]
    connection: Annotated[int, Meta(description="which connection of the shard")]
    url: str = ""
    problem: Annotated[str, Meta(description="why it ended, from a closed list; rotated, stopped")] = ""
    detail: Annotated[str, Meta(description="close code and reason, or what the system said")] = ""
