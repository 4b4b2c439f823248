"""A8: what tokens and commits say, and the rows that there are. Pure functions of facts.

A token is the table's and its newest commit's at once, so both say the same, whatever was written when.
"""

from collections.abc import Mapping

from connectors.tokens import Token
from operate.auditing.facts import ORDER, Facts, TableFacts
from operate.auditing.findings import Finding, Offences, judged
from schemas import DeadLetter, Frame, Gap, Quote, Trade

# What is committed before gaps are: at the cut they are all complete.
COMPARED = (Trade, Quote, DeadLetter, Gap)


def commits_add_up(facts: Facts) -> Finding:
    """A8: tokens only advance, each commit adds the rows that it counts, and all rows are counted."""
    offences, commits, unsummed = Offences(), 0, 0
    bronze = facts.table(Frame)
    for record_type in ORDER:
        table = facts.table(record_type)
        commits += len(table.commits)
        unsummed += sum(each.shared for each in table.commits)
        if not table.exists and any(token.position for token in bronze.tokens.values()):
            offences.add(f"{table.name} does not exist")
        if table.rolled_back:
            offences.add(f"{table.name} was rolled back behind what {table.rolled_back} has published")
        offences.take(history(table))
        for shard, token in table.tokens.items():
            if facts.store_id not in (None, token.store):
                offences.add(f"{table.name} {shard}: of store {token.store}, this is {facts.store_id}")
            start = facts.start(shard)
            # Where maintenance was, only the whole table adds up.
            whole = not start.position or not (token.added or token.removed)
            if start.position <= token.position and whole:
                said = put(token, table.name) - token.removed - start.counts.get(rows_name(table.name), 0)
                if said != table.rows[shard]:
                    told_as = f"{table.name} {shard}: {table.rows[shard]:,} rows, {said:,} counted"
                    offences.add(told_as, abs(said - table.rows[shard]))
        if record_type in COMPARED:
            offences.take(up_to_the_cut(facts, record_type))
    note = f"the rows of {unsummed:,} commits are other venues' too, and not summed up" if unsummed else ""
    return judged("A8", commits, "commits", offences, note)


def up_to_the_cut(facts: Facts, record_type: type) -> Offences:
    """Where the rows of a table are not those that the ledger counts at the cut."""
    offences, table = Offences(), facts.table(record_type)
    for shard in facts.shards():
        cut, start = facts.cut(shard), facts.start(shard)
        said = difference(cut.counts, start.counts, rows_name(table.name))
        rows = table.rows_at_cut[shard]
        # How many of those that retention took were before the cut nobody has counted.
        whole = not removed_from(facts, record_type, shard)
        if said != rows and cut.position >= start.position and whole:
            told_as = f"{table.name} {shard} up to {cut.position}: {rows:,} rows, {said:,} counted"
            offences.add(told_as, abs(said - rows))
    return offences


def history(table: TableFacts) -> Offences:
    """What is wrong with the commits that are still known."""
    offences = Offences()
    known: dict[str, Token] = {}
    for commit in table.commits:
        rows, sure = 0, bool(commit.tokens) and not commit.shared
        for shard, token in commit.tokens.items():
            before = known.get(shard)
            if before is None:
                sure = False  # what was before it has expired
            else:
                rows += put(token, table.name) - put(before, table.name)
                if token.position < before.position or token.incarnation < before.incarnation:
                    offences.add(
                        f"{table.name} snapshot {commit.snapshot}: {shard} goes back to {token.position}"
                    )
                if token.store != before.store:
                    offences.add(f"{table.name} snapshot {commit.snapshot}: {shard} of store {token.store}")
            known[shard] = token
        if sure and rows != commit.added:
            offences.add(f"{table.name} snapshot {commit.snapshot}: {commit.added:,} rows, {rows:,} counted")
    for shard, token in known.items():
        said = table.tokens.get(shard)
        if said is not None and said != token:
            named = ", ".join(
                f"{name} {getattr(said, name)}, its newest commit {getattr(token, name)}"
                for name in Token.__struct_fields__
                if name != "counts" and getattr(said, name) != getattr(token, name)
            )
            told_as = named or "other counts than its newest commit"
            offences.add(f"{table.name} {shard}: the table says {told_as}")
    return offences


def difference(after: Mapping[str, int], before: Mapping[str, int], name: str) -> int:
    """What was counted between two tokens."""
    return after.get(name, 0) - before.get(name, 0)


def rows_name(table: str) -> str:
    """The count of a table's rows."""
    return f"rows_{table}"


def put(token: Token, table: str) -> int:
    """Rows that were ever put into a table for a shard: by the flow, and by maintenance."""
    return token.counts.get(rows_name(table), 0) + token.added


def removed_from(facts: Facts, record_type: type, shard: str) -> int:
    """Rows of a shard that were there and that retention has removed."""
    table = facts.table(record_type)
    return table.tokens[shard].removed if shard in table.tokens else 0
