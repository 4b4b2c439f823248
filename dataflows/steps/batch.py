"""What flows through the steps: the frames of one shard in order, and the records they became, in order.

A step edits the records; it never changes their order, and never looks at where one batch ends and the next
begins: decisions are taken record by record, so that any cut of the journal gives the same rows. Trades come
as runs; a step that finds an odd one among them cuts it out.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from operator import attrgetter

from msgspec import Struct

from schemas import Control, DeadLetter, Frame, Quote, Record, Trade
from schemas.health import Reason
from schemas.run import Run


class Batch(Struct):
    """Consecutive frames of one shard, the records they have become so far, and what happened to them."""

    shard: str
    first: int  # journal position of the first frame
    last: int  # journal position of the last frame
    frames: list[Frame]
    records: list[Record | Run]  # plain quotes stand behind the run that they came in
    counts: dict[str, int]  # this batch's contribution to each total

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of this batch's totals."""
        self.counts[what] = self.counts.get(what, 0) + number

    def frame(self, position: int) -> Frame:
        """The frame at that position; positions are dense."""
        frame = self.frames[position - self.first]
        assert frame.position == position
        return frame

    def refuse(
        self, place: int, stage: str, reason: Reason, detail: str, within: int | None = None
    ) -> DeadLetter:
        """The dead letter that takes the place of the trade or quote at `records[place]`.

        `within` says which trade, where a run is there.
        """
        record = self.records[place]
        if type(record) is Run:
            assert within is not None
            symbol, position = record.symbols[within], record.frames[within].position
        else:
            assert isinstance(record, Trade | Quote)
            assert record.platform_sequence is not None
            symbol, position = record.symbol, record.platform_sequence
        frame = self.frame(position)
        index = self.index(place, position, within)
        self.count(f"dead_letters_{reason}")
        return DeadLetter(
            message_id=f"{frame.exchange}:{frame.shard}:{frame.position}:{index}",
            exchange=frame.exchange,
            stage=stage,
            reason=reason,
            detail=detail,
            symbol=symbol,
            shard=frame.shard,
            platform_sequence=frame.position,
            connection=frame.connection,
            number=frame.number,
            index=index,
            received=frame.received,
            payload=frame.payload,
        )

    def index(self, place: int, position: int, within: int | None = None) -> int:
        """Which of the records that decoding made of its frame stands there, from 0."""
        index = 0
        if within is not None:
            run = self.records[place]
            assert type(run) is Run
            index = of_frame(run.frames, position, within)
            if index < within:
                return index
        for before in range(place - 1, -1, -1):
            record = self.records[before]
            if isinstance(record, Run):
                index += of_frame(record.frames, position, len(record))
                if record.frames[0].position != position:
                    break
                continue
            if record.platform_sequence != position:
                break
            index += isinstance(record, Trade | Quote | Control | DeadLetter)
        return index


def of_frame(frames: Sequence[Frame], position: int, end: int) -> int:
    """How many of those before `end` are the frame at that position; positions rise."""
    of = attrgetter("position")
    first = bisect_left(frames, position, 0, end, key=of)
    return bisect_right(frames, position, first, end, key=of) - first


class Pieces:
    """What becomes of a run when some of its trades do not stay what they are."""

    def __init__(self, run: Run) -> None:
        self._run, self._done = run, 0
        self._pieces: list[Record | Run] = []

    def replace(self, place: int, records: Sequence[Record]) -> None:
        """Put records in the place of one of its trades; places rise."""
        if self._done < place:
            self._pieces.append(self._run.cut(self._done, place))
        self._pieces += records
        self._done = place + 1

    def all(self) -> list[Record | Run]:
        """The whole."""
        if self._done < len(self._run):
            self._pieces.append(self._run.cut(self._done, len(self._run)))
        return self._pieces


Edits = list[tuple[int, Sequence[Record | Run]]]


def edited(records: list[Record | Run], edits: Edits) -> list[Record | Run]:
    """The records with those at the places of the edits, in order, replaced."""
    result: list[Record | Run] = []
    done = 0
    for place, replacement in edits:
        result += records[done:place]
        result += replacement
        done = place + 1
    return result + records[done:]


def batch_of(frames: list[Frame]) -> Batch:
    """A batch that nothing has looked at."""
    first, last = frames[0], frames[-1]
    return Batch(first.shard, first.position, last.position, frames, [], {})
