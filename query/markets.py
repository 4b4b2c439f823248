"""Every market at one glance: what it cost last, how lively it is, and what is missing of it."""

from collections import Counter

import pyarrow as pa
from msgspec.structs import replace

from connectors.tokens import tokens_of
from query.answer import Answer
from query.bars import UNITS
from query.files import Scope
from query.latest import latest
from query.missing import gaps_of
from query.reader import Reader
from schemas import Frame, Gap, Trade
from schemas.shards import exchange_of

# Long enough to be steady, short enough to show a burst.
RATE = 10 * UNITS["s"]
# Gaps of so long are looked at; older ones are history.
GAPS = UNITS["d"]

RECENT = """
    select exchange, market, symbol, count(*) / $seconds as trades_per_second,
        quantile_cont(epoch_us(ingestion_timestamp) - epoch_us(timestamp), 0.5) / 1e6 as lag_seconds
    from ({trades}) where origin = 'live' group by all
"""
HOLES = """
    select exchange, market, symbol, count(*) as gaps,
        coalesce(sum(ids) filter (status = 'open'), 0)::bigint as open_ids,
        coalesce(sum(ids) filter (status = 'lost'), 0)::bigint as lost_ids
    from ({gaps}) group by all
"""
GLANCE = """
    select exchange, market, symbol, price, side, timestamp as last_traded,
        ($now - epoch_us(timestamp)) / 1e6 as age_seconds, round(coalesce(trades_per_second, 0), 1) as
        trades_per_second, round(lag_seconds, 3) as lag_seconds, coalesce(gaps, 0) as gaps,
        coalesce(open_ids, 0) as open_ids, coalesce(lost_ids, 0) as lost_ids,
        coalesce(duplicates, 0) as duplicates_of_venue
    from latest left join recent using (exchange, market, symbol)
        left join holes using (exchange, market, symbol) left join repeated using (exchange)
    order by exchange, market, symbol
"""


def markets(reader: Reader, scope: Scope, now: int) -> Answer:
    """Of each market the last trade and its age, the rate of ten seconds, and the gaps of a day."""
    answer = latest(reader, scope)
    recent = replace(scope, since=now - RATE, until=None)
    trades = reader.at(Trade)
    part = trades.part(recent.wanted(trades.time))
    lively = reader.ask(RECENT.format(trades=part.sql), part, seconds=RATE // UNITS["s"])
    gaps, part = gaps_of(reader.at(Gap), replace(scope, since=now - GAPS, until=None))
    holes = reader.ask(HOLES.format(gaps=gaps), part)
    sources = {"latest": answer.rows, "recent": lively, "holes": holes, "repeated": duplicates(reader)}
    return replace(answer, rows=reader.ask(GLANCE, sources=sources, now=now))


def duplicates(reader: Reader) -> pa.Table:
    """By venue: how many messages came again and were dropped, of the frames that are published."""
    found: Counter[str] = Counter()
    for shard, token in tokens_of(reader.at(Frame).table).items():
        numbers = (number for what, number in token.counts.items() if what.startswith("duplicates_"))
        found[exchange_of(shard)] += sum(numbers)
    return pa.table(
        {
            "exchange": pa.array(found.keys(), pa.string()),
            "duplicates": pa.array(found.values(), pa.int64()),
        }
    )
