"""Which ids are missing: what `silver.gaps` says of each gap last, beside how many came.

A gap belongs to the moment when it was found, by our clock.
"""

from connectors.venues import VENUES
from connectors.venues.protocol import Continuity
from query.answer import Completeness
from query.files import Scope
from query.reader import AsOf, Reader
from query.view import Part, View
from schemas import Gap

# Whose ids show that one is missing.
PROVABLE = {
    name for name, venue in VENUES.items() if venue.continuity in (Continuity.CONTIGUOUS, Continuity.RANGE)
}

COLUMNS = (
    "gap_id", "exchange", "market", "symbol", "series", "first_missing", "last_missing", "status", "reason",
    "found", "ended", "platform_sequence",
)  # fmt: skip


def gaps_of(view: View, scope: Scope) -> tuple[str, Part]:
    """A query for each gap as it stands, but for those whose ids smaller gaps name now; and its part."""
    part = view.part(scope.wanted("found"), columns=COLUMNS)
    sql = f"""
        select * exclude (platform_sequence), last_missing - first_missing + 1 as ids from ({part.sql})
        qualify status <> 'split' and row_number() over (
            partition by gap_id order by platform_sequence desc, status = 'open'
        ) = 1
    """
    return sql, part


def completeness(reader: Reader, scope: Scope, as_of: AsOf | None, received: int) -> Completeness:
    """What is missing beside so many ids that came."""
    if scope.exchange is not None and scope.exchange not in PROVABLE:
        return Completeness()
    view = reader.at(Gap, as_of)
    missing = 0
    if view.tail.num_rows or view.files.holding(scope.wanted("found")):
        gaps, part = gaps_of(view, scope)
        found = reader.ask(
            f"select sum(ids)::bigint as ids from ({gaps}) where status in ('open', 'lost')", part
        )
        missing = found["ids"][0].as_py() or 0
    return Completeness(missing, received + missing)
