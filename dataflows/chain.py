"""Which steps a shard's batches go through, in order, and what each is told about the shard's venue."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from connectors.venues.protocol import Instrument, Venue
from dataflows.engine import Begin, Step
from dataflows.holes import Tell, Telling
from dataflows.steps.bars import Aggregate
from dataflows.steps.decode import Decode
from dataflows.steps.duplicates import DropDuplicates
from dataflows.steps.gaps import DetectGaps
from dataflows.steps.validate import Validate
from schemas.shards import exchange_of


class Chain(NamedTuple):
    """The steps by the names that operators, metrics and failpoints have."""

    decode: Begin
    detect_gaps: Begin
    validate: Begin
    drop_duplicates: Begin
    aggregate: Begin


def chain(venues: Mapping[str, Venue], tell: Tell = lambda *_: None) -> Chain:
    """The steps for the shards of these venues; `tell` hears of open holes."""

    def venue(shard: str) -> Venue:
        return venues[exchange_of(shard)]

    def decode(shard: str, state: Any | None) -> Step:
        speaks = venue(shard)
        return Decode(
            state,
            instruments={},  # capture journals them before anything else
            instrument=Instrument,
            decode_many=speaks.decode_many,
            decode_page=lambda frame, listed: speaks.decode_page(frame, listed).records,
            decode_metadata=listed_instruments,
        )

    def detect_gaps(shard: str, state: Any | None) -> Step:
        speaks = venue(shard)
        step = DetectGaps(state, exchange=speaks.name, continuity=speaks.continuity.value)
        return Telling(step, tell)

    def validate(shard: str, state: Any | None) -> Step:
        return Validate(state)

    def drop_duplicates(shard: str, state: Any | None) -> Step:
        return DropDuplicates(state, continuity=venue(shard).continuity.value)

    def aggregate(shard: str, state: Any | None) -> Step:
        return Aggregate(state, continuity=venue(shard).continuity.value)

    return Chain(decode, detect_gaps, validate, drop_duplicates, aggregate)


_instruments = msgspec.json.Decoder(tuple[Instrument, ...]).decode


def listed_instruments(payload: bytes) -> dict[str, Instrument]:
    """What capture journalled of a venue's metadata, by native symbol."""
    return {one.native: one for one in _instruments(payload)}
