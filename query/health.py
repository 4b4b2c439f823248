"""How each venue is now, in one word and the figures behind it."""

import time

from query.answer import Answer
from query.bars import UNITS
from query.files import Scope
from query.markets import markets
from query.reader import Reader
from schemas import Frame

# Every venue of ours says something, be it a heartbeat, within a second or two.
STALE_SECONDS = 10
# Frames that old say as little of now as none.
HEARD = UNITS["m"]

HEARD_SQL = (
    "select exchange, max(received) as last_received from ({frames}) where kind in $kinds group by all"
)
HEALTH = """
    select exchange,
        case when last_received is null or age_seconds > $stale then 'stale'
            when open_ids > 0 then 'repairing' when lost_ids > 0 then 'lost' else 'live' end as state,
        last_received, age_seconds, trades_per_second, gaps, open_ids, lost_ids
    from (
        select exchange, sum(trades_per_second) as trades_per_second, sum(gaps)::bigint as gaps,
            sum(open_ids)::bigint as open_ids, sum(lost_ids)::bigint as lost_ids
        from markets group by exchange
    ) left join (
        select *, round(greatest(0, $now - epoch_us(last_received)) / 1e6, 1) as age_seconds from heard
    ) using (exchange) order by exchange
"""


def health_now(reader: Reader, scope: Scope) -> Answer:
    """The same as of this moment."""
    return health(reader, scope, time.time_ns() // 1_000)


def markets_now(reader: Reader, scope: Scope) -> Answer:
    """Each market as of this moment."""
    return markets(reader, scope, time.time_ns() // 1_000)


def health(reader: Reader, scope: Scope, now: int) -> Answer:
    """Of each venue how it is, when it was heard last, how lively it is, and the gaps of a day."""
    answer = markets(reader, scope, now)
    frames = reader.at(Frame)
    recent = Scope(scope.exchange, since=now - HEARD).wanted(frames.time)
    part = frames.part(recent, columns=("exchange", "received", "kind"))
    heard = reader.ask(HEARD_SQL.format(frames=part.sql), part, kinds=["data", "control"])
    sources = {"markets": answer.rows, "heard": heard}
    rows = reader.ask(HEALTH, sources=sources, now=now, stale=STALE_SECONDS)
    return Answer(rows, answer.simulated)
