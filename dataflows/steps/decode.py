"""Frames become records. How a venue speaks arrives as functions; what we journalled ourselves is read here.

A venue's dead letters count their index by their place among the records of their frame. The state is the
venue's list of instruments, which a metadata frame replaces.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from dataflows.steps.batch import Batch
from schemas import Control, DeadLetter, Frame, Outcome, Record, Tick
from schemas.run import Run

VERSION = 1

# What a venue sends by itself.
LIVE = frozenset(("data", "control"))

DecodeMany = Callable[[Sequence[Frame], Mapping[str, Any]], Sequence[Record | Run]]
DecodePage = Callable[[Frame, Mapping[str, Any]], Sequence[Record | Run]]
DecodeMetadata = Callable[[bytes], Mapping[str, Any]]


class TickPayload(Struct):
    """A tick as capture writes it; an older one is known by when it was journalled."""

    time: int | None = None


class OutcomePayload(Struct):
    """An outcome as the repairer writes it."""

    symbol: str
    first: int
    last: int
    reason: str
    series: int = 0
    requests: int = 0


_tick = msgspec.json.Decoder(TickPayload).decode
_outcome = msgspec.json.Decoder(OutcomePayload).decode


class Decode:
    """Turn the frames of a batch into its records."""

    def __init__(
        self,
        state: tuple[Any, ...] | None,
        *,
        instruments: Mapping[str, Any],
        instrument: Callable[..., Any],
        decode_many: DecodeMany,
        decode_page: DecodePage,
        decode_metadata: DecodeMetadata,
    ) -> None:
        self._instruments = instruments
        self._decode_many = decode_many
        self._decode_page = decode_page
        self._decode_metadata = decode_metadata
        self._listed: tuple[tuple[Any, ...], ...] | None = None  # what a metadata frame said
        if state is not None:
            version, self._listed = state
            assert version == VERSION
            if self._listed is not None:
                self._instruments = {native: instrument(*fields) for native, *fields in self._listed}

    def step(self, batch: Batch) -> Batch:
        frames, records = batch.frames, batch.records
        special: dict[str, int] = {}
        done = 0
        for place in [place for place, frame in enumerate(frames) if frame.kind not in LIVE]:
            frame = frames[place]
            if done < place:
                records += self._decode_many(frames[done:place], self._instruments)
            records += self._special(batch, frame)
            special[frame.kind] = special.get(frame.kind, 0) + 1
            done = place + 1
        if done < len(frames):
            live = frames[done:] if done else frames
            records += self._decode_many(live, self._instruments)
        batch.count("frames", len(batch.frames))
        for name, number in special.items():
            batch.count(f"frames_{name}", number)
        return batch

    def snapshot(self) -> tuple[Any, ...]:
        return VERSION, self._listed

    def _special(self, batch: Batch, frame: Frame) -> Sequence[Record | Run]:
        """The records of a frame that is no live message."""
        try:
            if frame.kind == "repair":
                return self._decode_page(frame, self._instruments)
            if frame.kind == "metadata":
                return [self._metadata(frame)]
            if frame.kind == "tick":
                said = _tick(frame.payload).time
                return [Tick(frame.shard, frame.position, frame.received if said is None else said)]
            if frame.kind == "outcome":
                return [outcome(frame, _outcome(frame.payload))]
        except ValueError as error:  # what msgspec, a venue's metadata and UTF-8 raise
            return [unreadable(frame, str(error))]
        assert frame.kind == "connection"  # ids say what a new connection continues
        return []

    def _metadata(self, frame: Frame) -> Record:
        instruments = self._decode_metadata(frame.payload)
        self._instruments = instruments
        self._listed = tuple((native, *msgspec.structs.astuple(one)) for native, one in instruments.items())
        return Control(
            frame.exchange,
            frame.shard,
            frame.position,
            frame.received,
            "metadata",
            detail=f"{len(instruments)} instruments",
        )


def outcome(frame: Frame, said: OutcomePayload) -> Outcome:
    return Outcome(
        shard=frame.shard,
        platform_sequence=frame.position,
        received=frame.received,
        exchange=frame.exchange,
        symbol=said.symbol,
        series=said.series,
        first=said.first,
        last=said.last,
        reason=said.reason,
        requests=said.requests,
    )


def unreadable(frame: Frame, detail: str) -> DeadLetter:
    return DeadLetter(
        message_id=f"{frame.exchange}:{frame.shard}:{frame.position}:0",
        exchange=frame.exchange,
        stage="decode",
        reason="malformed",
        detail=detail[:200],
        symbol=None,
        shard=frame.shard,
        platform_sequence=frame.position,
        connection=frame.connection,
        number=frame.number,
        index=0,
        received=frame.received,
        payload=frame.payload,
    )
