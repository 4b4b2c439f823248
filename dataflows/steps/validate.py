"""Can it be true? A trade or quote that breaks a rule becomes a dead letter that says which.

A rule answers True or the record is refused: no answer is no. What goes in comes out, valid or dead letter.
"""

from dataflows.steps.batch import Batch, Edits, edited
from dataflows.steps.numbers import all_positive, is_plain
from schemas import DeadLetter, Quote, Record, Trade
from schemas.health import Reason
from schemas.money import units
from schemas.nanos import Nanos
from schemas.run import Run

VERSION = 1
MINUTE = 60 * 1_000_000
DAY = 24 * 60 * MINUTE
# The venue's clock may be ahead of ours by this much.
AHEAD_MAX = MINUTE
# A live message may be this old: venues repeat the last trade of a quiet market when we subscribe.
BEHIND_MAX = DAY
# 2009-01-01: nothing that we keep traded before.
CALENDAR_FIRST = 1_230_768_000_000_000
TEXT_CHARACTERS_MAX = 64
WORDS_CHARACTERS_MAX = 4_096

SIDES = frozenset(("BUY", "SELL", "SELL_SHORT", "UNKNOWN"))
# What a venue's decoder writes into vendor_data of a quote that may cross.
AUCTION = '"auction":"true"'

Verdict = tuple[Reason, str] | None


class Validate:
    """Refuse what cannot be true; `symbols` are the known ones, all where None."""

    def __init__(self, state: tuple[int] | None, *, symbols: frozenset[str] | None = None) -> None:
        assert state is None or state == (VERSION,)
        self._symbols = symbols
        self._nanos = Nanos()

    def step(self, batch: Batch) -> Batch:
        records = batch.records
        trades = quotes = refused = 0
        edits: Edits = []
        for place, record in enumerate(records):
            if type(record) is Run:
                trades += len(record)
                if not self._all_good(record):
                    judged = self._run(batch, place, record)
                    refused += sum(type(one) is DeadLetter for one in judged)
                    edits.append((place, judged))
                continue
            if type(record) is Trade:
                trades += 1
                verdict = self._trade(record)
            elif type(record) is Quote:
                quotes += 1
                verdict = self._quote(record)
            else:
                if type(record) is DeadLetter and record.stage == "decode":
                    batch.count(f"dead_letters_{record.reason}")
                continue
            if verdict is not None:
                refused += 1
                edits.append((place, [batch.refuse(place, "validate", *verdict)]))
        if edits:
            batch.records = edited(records, edits)
            left = (
                one for one in batch.records if type(one) is Run or type(one) is Trade or type(one) is Quote
            )
            assert sum(len(one) if type(one) is Run else 1 for one in left) == trades + quotes - refused
        batch.count("trades", trades)
        batch.count("quotes", quotes)
        batch.count("valid", trades + quotes - refused)
        return batch

    def snapshot(self) -> tuple[int]:
        return (VERSION,)

    def _run(self, batch: Batch, place: int, run: Run) -> list[Record]:
        """What becomes of the trades of a run when each is judged."""
        judged: list[Record] = []
        for within, trade in enumerate(run.trades()):
            verdict = self._trade(trade)
            judged.append(batch.refuse(place, "validate", *verdict, within) if verdict else trade)
        return judged

    def _all_good(self, run: Run) -> bool:
        """Whether no trade breaks a rule; a no is for `_trade` to judge. Ids and words of runs are short."""
        run.price_nanos = run.price_nanos or list(map(self._nanos.__getitem__, run.prices))
        run.quantity_nanos = run.quantity_nanos or list(map(self._nanos.__getitem__, run.quantities))
        return (
            all(run.price_nanos)  # none is below zero
            and all(run.quantity_nanos)
            and min(run.times) >= max(run.received) - BEHIND_MAX
            and max(run.times) <= min(run.received) + AHEAD_MAX
            and SIDES.issuperset(run.sides)
            and (self._symbols is None or self._symbols.issuperset(run.symbols))
        )

    def _trade(self, trade: Trade) -> Verdict:
        """The first rule that the trade breaks."""
        for field, text in (("price", trade.price), ("quantity", trade.quantity)):
            verdict = number(field, text)
            if verdict is not None:
                return verdict
        if trade.side not in SIDES:
            return "side", f"side {trade.side!r}"[:TEXT_CHARACTERS_MAX]
        return self._place_and_time(trade, trade.trade_id, trade.vendor_data)

    def _quote(self, quote: Quote) -> Verdict:
        """The first rule that the quote breaks; an absent side is true."""
        bid, ask = quote.bid_price, quote.ask_price
        for side, price, quantity in (
            ("bid", bid, quote.bid_quantity),
            ("ask", ask, quote.ask_quantity),
        ):
            if (price is None) != (quantity is None):
                return "missing_field", f"{side} has a price or a quantity, not both"
            if price is None or quantity is None or all_positive((price, quantity)):
                continue
            return number(f"{side} price", price) or number(f"{side} size", quantity)
        auction = AUCTION in (quote.vendor_data or "")
        if bid is not None and ask is not None and not auction and units(bid) > units(ask):
            return "crossed", f"bid {bid} above ask {ask}"
        return self._place_and_time(quote, quote.quote_id, quote.vendor_data)

    def _place_and_time(self, record: Trade | Quote, identifier: str, words: str | None) -> Verdict:
        if self._symbols is not None and record.symbol not in self._symbols:
            return "unknown_symbol", f"symbol {record.symbol[:TEXT_CHARACTERS_MAX]!r}"
        if len(identifier) > TEXT_CHARACTERS_MAX or len(words or "") > WORDS_CHARACTERS_MAX:
            return "too_large", f"id of {len(identifier)}, words of {len(words or '')} characters"
        received, live = record.ingestion_timestamp, record.origin == "live"
        earliest = received - BEHIND_MAX if live else CALENDAR_FIRST
        if not earliest <= record.timestamp <= received + AHEAD_MAX:
            return "time", f"time {record.timestamp}, received {received}"
        return None


def number(field: str, text: str) -> Verdict:
    """Why a price or quantity is refused."""
    if all_positive((text,)):
        return None
    digits = text.removeprefix("-")
    if is_plain(digits):
        return "not_positive", f"{field} is {text}"
    looks_like_one = digits.replace(".", "", 1)
    reason: Reason = "precision" if looks_like_one.isascii() and looks_like_one.isdigit() else "not_a_number"
    return reason, f"{field} is {text[:TEXT_CHARACTERS_MAX]!r}"
