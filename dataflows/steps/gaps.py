"""Did we receive it? Names every id that a venue gave out and we did not receive, and how each ends.

A late or repaired id closes its part of a gap. Ids that restart, or jump absurdly, begin a new series of the
symbol: nothing is claimed missing between two series, and the one before stays known, so that a single
rogue id costs nothing but a series of its own. Where a venue's ids prove nothing, nothing is done.
"""

from typing import Any

import msgspec

from dataflows.steps.batch import Batch, Edits, Pieces, edited
from dataflows.steps.series import RESTART_IDS_MIN, Change, Series, restored
from schemas import Control, Gap, Outcome, Record, Tick, Trade
from schemas.run import Run

VERSION = 1
# The one in use, the one that it may fall back to, and two rogues.
SERIES_MAX = 4
# So many ids on, the series in use has proven itself and the others of its symbol end.
PROVEN_IDS = 1_000
# A heartbeat may overtake the trades that it speaks of.
GRACE_SECONDS = 3

OpenHole = tuple[str, str, int, int, int, int, int]  # exchange, symbol, series, first, last, found, since


class DetectGaps:
    """Compare each id with the highest seen of its symbol and series."""

    def __init__(
        self,
        state: tuple[Any, ...] | None,
        *,
        exchange: str,
        continuity: str,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._exchange = exchange
        self._provable = continuity in ("contiguous", "range")
        self._grace = int(grace_seconds * 1_000_000)
        self._series: dict[str, list[Series]] = {}
        self._current: dict[str, Series] = {}
        self._numbers: dict[str, int] = {}  # of the newest series of each symbol
        self._heartbeats: dict[str, tuple[int, int]] = {}  # newest id that one named, when it came
        if state is not None:
            version, symbols, heartbeats = state
            assert version == VERSION
            for symbol, newest, in_use, known in symbols:
                self._numbers[symbol] = newest
                self._series[symbol] = [restored(one) for one in known]
                self._current[symbol] = self._series[symbol][in_use]
            self._heartbeats = dict(heartbeats)

    def step(self, batch: Batch) -> Batch:
        if not self._provable:
            return batch
        edits: Edits = []
        for place, record in enumerate(batch.records):
            if type(record) is Run:
                pieces = self._run(batch, place, record)
                if pieces:
                    edits.append((place, pieces.all()))
                continue
            if type(record) is Trade:
                series = self._current.get(record.symbol)
                if series is not None and record.first_sequence == series.next and not series.number:
                    series.next = record.last_sequence + 1  # type: ignore[operator]  # has a first, so a last
                    series.time = record.timestamp
                else:
                    edits.append((place, self._trade(batch, place, record)))
            elif type(record) is Tick:
                edits.append((place, [*self._tick(batch, record), record]))
            elif type(record) is Control:
                self._heartbeat(batch, record)
            elif type(record) is Outcome:
                edits.append((place, [record, *self._outcome(batch, record)]))
        if edits:
            batch.records = edited(batch.records, edits)
        return batch

    def snapshot(self) -> tuple[Any, ...]:
        symbols = tuple(
            (
                symbol,
                self._numbers[symbol],
                known.index(self._current[symbol]),
                tuple(one.snapshot() for one in known),
            )
            for symbol, known in self._series.items()
        )
        return VERSION, symbols, tuple(self._heartbeats.items())

    def open_holes(self) -> list[OpenHole]:
        """What a repairer should ask for: every range of ids that is missing and not given up."""
        return [
            (self._exchange, symbol, series.number, first, last, hole.found, hole.since)
            for symbol, known in self._series.items()
            for series in known
            for hole in series.holes
            if not hole.lost
            for first, last in series.missing.within(hole.first, hole.last)
        ]

    def _run(self, batch: Batch, place: int, run: Run) -> Pieces | None:
        """Trades that nearly all are plainly the next of their symbols."""
        pieces: Pieces | None = None
        expected = map(self._current.get, run.symbols)
        for within, (series, identifier, time) in enumerate(zip(expected, run.ids, run.times, strict=True)):
            if series is not None and identifier == series.next and not series.number:
                series.next, series.time = identifier + 1, time
            else:
                trade = run.trade(within)
                records = self._trade(batch, place, trade, within)
                if len(records) > 1 or records[0] is not trade:
                    pieces = pieces or Pieces(run)
                    pieces.replace(within, records)
        return pieces

    def _trade(self, batch: Batch, place: int, trade: Trade, within: int | None = None) -> list[Record]:
        """The trade as it belongs to its series, and the rows of the gaps that it opens or closes."""
        first, last = trade.first_sequence, trade.last_sequence
        if first is None or last is None or first > last:
            return [trade]
        ended = self._end_series(batch, trade)
        series = self._choose(batch, trade, first, last)
        if last < series.floor:
            return [*ended, batch.refuse(place, "detect_gaps", "beyond_memory", f"id {first}", within)]
        opened: list[Change] = []
        closed: list[Change] = []
        if first > series.next:
            opened = series.open(series.next, first - 1, "ids", trade.ingestion_timestamp)
        elif first < series.next:
            closed = series.receive(first, min(last, series.next - 1), repair=trade.origin == "repair")
        if last >= series.next:
            series.next = last + 1
        series.time = max(series.time, trade.timestamp)
        now, position = trade.ingestion_timestamp, trade.platform_sequence
        assert position is not None
        return [
            *ended,
            *self._rows(batch, trade.symbol, series, opened, now, position),
            numbered(trade, series.number) if series.number else trade,
            *self._rows(batch, trade.symbol, series, closed, now, position),
        ]

    def _choose(self, batch: Batch, trade: Trade, first: int, last: int) -> Series:
        """The series that the ids continue; the nearest, and a new one where none fits."""
        symbol, live = trade.symbol, trade.origin == "live"
        known = self._series.setdefault(symbol, [])
        fits = [one for one in known if one.continues(first, last, trade.timestamp, live=live)]
        # After a restart two series may miss the same ids: the time tells whose they are.
        if live:
            near = [one for one in fits if one.next - first <= RESTART_IDS_MIN]
            timely = near or [one for one in fits if trade.timestamp <= one.time]
            fits = timely or fits
        else:
            asked = [one for one in fits if one.missing.within(first, last)]
            timely = [one for one in asked if one.since(first, last) <= trade.timestamp <= one.time]
            fits = timely or asked or fits
        before = self._current.get(symbol)
        if fits:
            chosen = min(reversed(fits), key=lambda one: abs(first - one.next))
        else:
            number = self._numbers.get(symbol, -1) + 1
            self._numbers[symbol] = number
            chosen = Series(number, first)
            known.append(chosen)
            if before is not None:
                batch.count("sequence_restarts" if first < before.next else "sequence_jumps")
        if before is not chosen and (live or before is None):
            self._current[symbol] = chosen
            known.remove(chosen)
            known.append(chosen)  # in order of their last use
            for one in known:
                one.mark = chosen.next
        return chosen

    def _end_series(self, batch: Batch, trade: Trade) -> list[Record]:
        """Forget series that the venue has left for good; what they miss cannot be asked for by id."""
        known = self._series.get(trade.symbol, [])
        if len(known) < 2:
            return []
        current = self._current[trade.symbol]
        ended = [one for one in known if one is not current and current.next - one.mark > PROVEN_IDS]
        if not ended and len(known) == SERIES_MAX:
            ended = [next(one for one in known if one is not current)]
        rows: list[Record] = []
        for one in ended:
            known.remove(one)
            changes = one.give_up(0, one.next, "restarted")
            position = trade.platform_sequence or 0
            rows += self._rows(batch, trade.symbol, one, changes, trade.ingestion_timestamp, position)
        return rows

    def _heartbeat(self, batch: Batch, control: Control) -> None:
        """Remember an id that should have come by now."""
        symbol, newest = control.symbol, control.newest_id
        if symbol is None or newest is None or symbol not in self._current:
            return
        series = self._nearest(symbol, newest)
        if newest >= series.next and symbol not in self._heartbeats:
            if series.continues(newest, newest, control.received, live=True):
                self._heartbeats[symbol] = newest, control.received
            else:
                batch.count("sequence_jumps")

    def _nearest(self, symbol: str, newest: int) -> Series:
        return min(reversed(self._series[symbol]), key=lambda one: abs(newest + 1 - one.next))

    def _tick(self, batch: Batch, tick: Tick) -> list[Record]:
        """Gaps at the end of what we have, once a heartbeat's id is overdue."""
        rows: list[Record] = []
        for symbol, (newest, received) in list(self._heartbeats.items()):
            series = self._nearest(symbol, newest)
            if newest < series.next:
                del self._heartbeats[symbol]
            elif tick.time - received >= self._grace:
                del self._heartbeats[symbol]
                changes = series.open(series.next, newest, "heartbeat", tick.time)
                series.next = newest + 1
                rows += self._rows(batch, symbol, series, changes, tick.time, tick.platform_sequence)
        return rows

    def _outcome(self, batch: Batch, outcome: Outcome) -> list[Record]:
        """How a repair ended: what no page brought is lost."""
        rows: list[Record] = []
        for series in self._series.get(outcome.symbol, []):
            if series.number == outcome.series and outcome.first <= outcome.last:
                changes = series.give_up(outcome.first, outcome.last, outcome.reason)
                position = outcome.platform_sequence
                rows += self._rows(batch, outcome.symbol, series, changes, outcome.received, position)
        return rows

    def _rows(
        self, batch: Batch, symbol: str, series: Series, changes: list[Change], now: int, position: int
    ) -> list[Record]:
        rows: list[Record] = []
        for change in changes:
            batch.count(f"gaps_{change.status}")
            gap_id = f"{self._exchange}:spot:{symbol}:{series.number}:{change.first}-{change.last}"
            rows.append(
                Gap(
                    message_id=f"{gap_id}:{change.status}",
                    gap_id=gap_id,
                    exchange=self._exchange,
                    asset_class="crypto",
                    market="spot",
                    symbol=symbol,
                    series=series.number,
                    first_missing=change.first,
                    last_missing=change.last,
                    status=change.status,
                    reason=change.reason,
                    found=change.found,
                    ended=None if change.status == "open" else now,
                    shard=batch.shard,
                    platform_sequence=position,
                )
            )
        return rows


def numbered(trade: Trade, series: int) -> Trade:
    """The trade as one of a later series."""
    message_id = f"{trade.exchange}:{trade.market}:{trade.symbol}:{series}:{trade.trade_id}"
    return msgspec.structs.replace(trade, series=series, message_id=message_id)
