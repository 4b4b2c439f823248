"""What flows through the steps: the frames of one shard in order, and the records they became, in order.

A step edits the records; it never changes their order, and never looks at where one batch ends and the next
begins: decisions are taken record by record, so that any cut of the journal gives the same rows.
"""

from msgspec import Struct

from schemas import Control, DeadLetter, Frame, Quote, Record, Trade
from schemas.health import Reason


class Batch(Struct):
    """Consecutive frames of one shard, the records they have become so far, and what happened to them."""

    shard: str
    first: int  # journal position of the first frame
    last: int  # journal position of the last frame
    frames: list[Frame]
    records: list[Record]
    counts: dict[str, int]  # this batch's contribution to each total

    def count(self, what: str, number: int = 1) -> None:
        """Add to one of this batch's totals."""
        self.counts[what] = self.counts.get(what, 0) + number

    def frame(self, position: int) -> Frame:
        """The frame at that position; positions are dense."""
        frame = self.frames[position - self.first]
        assert frame.position == position
        return frame

    def refuse(self, place: int, stage: str, reason: Reason, detail: str) -> DeadLetter:
        """The dead letter that takes the place of the trade or quote at `records[place]`."""
        record = self.records[place]
        assert isinstance(record, Trade | Quote)
        assert record.platform_sequence is not None
        frame = self.frame(record.platform_sequence)
        index = self.index(place, frame.position)
        self.count(f"dead_letters_{reason}")
        return DeadLetter(
            message_id=f"{frame.exchange}:{frame.shard}:{frame.position}:{index}",
            exchange=frame.exchange,
            stage=stage,
            reason=reason,
            detail=detail,
            symbol=record.symbol,
            shard=frame.shard,
            platform_sequence=frame.position,
            connection=frame.connection,
            number=frame.number,
            index=index,
            received=frame.received,
            payload=frame.payload,
        )

    def index(self, place: int, position: int) -> int:
        """Which of the records that decoding made of its frame stands at `records[place]`, from 0."""
        index = 0
        for before in range(place - 1, -1, -1):
            record = self.records[before]
            if record.platform_sequence != position:
                break
            index += isinstance(record, Trade | Quote | Control | DeadLetter)
        return index


def batch_of(frames: list[Frame]) -> Batch:
    """A batch that nothing has looked at."""
    first, last = frames[0], frames[-1]
    return Batch(first.shard, first.position, last.position, frames, [], {})
