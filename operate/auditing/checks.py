"""The checks that need no row twice: pure functions of facts, one for each rule.

Every shard is judged up to where its tables are known to be complete, so that a flow that is running or was
killed is found as well as one at rest. What a token counts is compared with the rows that there are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter

from connectors.tokens import Token
from operate.auditing.collecting import GapRow, Ids
from operate.auditing.facts import ORDER, Facts, JournalFacts, TableFacts
from operate.auditing.findings import NAMED_MAX, Finding, Offences, judged, unchecked
from operate.auditing.runs import Range, account, size, told, without
from schemas import DeadLetter, Frame, Gap, Quote, Trade
from schemas.iceberg import TABLES

# What is committed before gaps are: at the cut they are all complete.
COMPARED = (Trade, Quote, DeadLetter, Gap)
# Frames of our own are counted by kind; of the others only how many they are.
OWN_KINDS = ("repair", "metadata", "connection", "tick", "outcome")
# What metrics and ledger both count, by how the names begin.
MEASURED = ("frames_", "dead_letters_", "duplicates_", "gaps_")
# Seconds of capture: four times the patience of a repair with a venue that does not answer.
GAP_SECONDS_MAX = 3_600


def frames_kept(facts: Facts) -> Finding:
    """A1: the journal's frames and bronze's, as sets of positions."""
    offences, notes = Offences(), []
    bronze = facts.table(Frame)
    waiting = 0
    for shard in sorted({*bronze.tokens, *facts.journals}):
        token, journal = bronze.tokens.get(shard), facts.journals.get(shard)
        position = token.position if token else 0
        found = facts.rows.frames.positions.account((shard,))
        for repeated in found.repeated:
            offences.add(f"{shard} {told(repeated)} twice", size([repeated]))
        lost = account(journal.lost).ranges if journal else []
        missing = without(found.missing(facts.start(shard).position + 1, position), lost)
        if size(missing) != (token.removed if token else 0):
            for each in missing:
                offences.add(f"{shard} {told(each)} missing in bronze", size([each]))
        if journal is None:
            notes.append(f"the journal of {shard} is not on this host")
            continue
        if lost:
            named = ", ".join(map(told, lost[:NAMED_MAX])) + (", …" if lost[NAMED_MAX:] else "")
            notes.append(f"{size(lost):,} frames of {shard} are recorded as lost with its disk: {named}")
        waiting += beyond(shard, position, journal, without([(position + 1, journal.last)], lost), offences)
    if waiting:
        notes.append(f"{waiting:,} newer frames wait to be published")
    return judged("A1", sum(bronze.rows.values()), "frames", offences, "; ".join(notes))


def beyond(shard: str, position: int, journal: JournalFacts, newer: list[Range], offences: Offences) -> int:
    """How many of the newer frames the journal still has; what it should have and has not breaks the rule."""
    gone = account(journal.trimmed).ranges
    waiting = without(newer, gone)
    for each in without(newer, waiting):
        offences.add(f"{shard} {told(each)} neither in bronze nor in a segment", size([each]))
    reach = max(position, journal.expected)
    if journal.last < reach:
        extent = journal.last + 1, reach
        offences.add(f"{shard} {told(extent)} missing in the journal", size([extent]))
    for problem in journal.problems:
        offences.add(f"{shard} journal: {problem}")
    return size(waiting)


def frames_numbered(facts: Facts) -> Finding:
    """A2: the numbers of a connection's frames."""
    offences = Offences()
    numbers = facts.rows.frames.numbers
    for shard in facts.table(Frame).tokens:
        journal = facts.journals.get(shard)
        unknown = size(journal.lost) if journal else 0  # so many numbers may have gone with the disk
        gone = facts.table(Frame).tokens[shard].removed
        found = Offences()
        for _, connection in [key for key in numbers if key[0] == shard]:
            seen = numbers.account((shard, connection))
            # What was removed, or is not looked at, is the beginning of connections.
            partly = gone or facts.start(shard).position
            first = seen.ranges[0][0] if partly else 1
            for missing in seen.missing(first, seen.ranges[-1][1]):
                found.add(f"{shard} connection {connection} number {told(missing)}", size([missing]))
        if found.count > unknown:
            offences.take(found)
    return judged("A2", len(list(numbers)), "connections", offences)


def frames_counted(facts: Facts) -> Finding:
    """A3: frames by kind, and refusals by reason, as the ledger counted them."""
    offences = Offences()
    for shard, token in facts.table(Frame).tokens.items():
        before = facts.start(shard).counts
        kinds = facts.rows.frames.kinds
        gone = token.removed
        said = {kind: difference(token.counts, before, f"frames_{kind}") for kind in OWN_KINDS}
        said["data or control"] = difference(token.counts, before, "frames") - sum(said.values())
        found = {kind: kinds[shard, kind] for kind in OWN_KINDS}
        found["data or control"] = kinds[shard, "data"] + kinds[shard, "control"]
        for kind in [kind for kind in said if said[kind] != found[kind] and not gone]:
            offences.add(f"{shard} {kind}: {found[kind]:,} frames, {said[kind]:,} counted")
    for shard in facts.shards():
        cut, start = facts.cut(shard), facts.start(shard)
        if removed_from(facts, DeadLetter, shard):
            continue
        reasons = {name for name in cut.counts if name.startswith("dead_letters_")}
        reasons |= {
            f"dead_letters_{reason}" for owner, reason in facts.rows.dead_letters.reasons if owner == shard
        }
        for name in sorted(reasons):
            rows = facts.rows.dead_letters.reasons[shard, name.removeprefix("dead_letters_")]
            counted = difference(cut.counts, start.counts, name)
            if rows != counted:
                offences.add(f"{shard} {name}: {rows:,} rows, {counted:,} counted", abs(rows - counted))
    return judged("A3", sum(facts.table(Frame).rows.values()), "frames", offences)


def messages_accounted(facts: Facts) -> Finding:
    """A4: what was decoded and what became of it, up to the cut."""
    offences, messages = Offences(), 0
    for shard in facts.shards():
        if any(removed_from(facts, each, shard) for each in COMPARED):
            continue
        cut, start = facts.cut(shard), facts.start(shard)
        # Those refused while gaps were looked for never came to where trades are counted.
        stages = facts.rows.dead_letters.stages
        refused = sum(stages[shard, stage] for stage in ("validate", "drop_duplicates"))
        decoded = difference(cut.counts, start.counts, "trades") + difference(
            cut.counts, start.counts, "quotes"
        )
        stored = facts.table(Trade).rows_at_cut[shard] + facts.table(Quote).rows_at_cut[shard]
        dropped = sum(
            difference(cut.counts, start.counts, name)
            for name in cut.counts
            if name.startswith("duplicates_")
        )
        messages += decoded
        if decoded != stored + refused + dropped:
            offences.add(
                f"{shard} up to {cut.position}: {decoded:,} decoded, {stored:,} stored, {refused:,} refused, "
                f"{dropped:,} duplicates",
                abs(decoded - stored - refused - dropped),
            )
    return judged("A4", messages, "messages", offences)


def messages_single(facts: Facts) -> Finding:
    """A5: ids that more than one row has."""
    offences = Offences()
    shards: dict[tuple[str, str, int], list[Ids]] = {}
    for ids in facts.rows.trades.ids:
        shards.setdefault(ids[1:], []).append(ids)
    for (exchange, symbol, series), keys in shards.items():
        for repeated in facts.rows.trades.ids.account(*keys).repeated:
            offences.add(f"{exchange}:spot:{symbol}:{series}:{told(repeated)}", size([repeated]))
    for shard, position in facts.rows.dead_letters.indexes:
        for repeated in facts.rows.dead_letters.indexes.account((shard, position)).repeated:
            offences.add(f"dead letter {shard}:{position}:{told(repeated)}", size([repeated]))
    for (gap_id, status), count in Counter((row.gap_id, row.status) for row in facts.rows.gaps.rows).items():
        if count > 1:
            offences.add(f"gap {gap_id}:{status}", count - 1)
    windows = facts.rows.bars.windows
    for exchange, symbol, interval, revision in windows:
        for start, _ in windows.account((exchange, symbol, interval, revision)).repeated:
            offences.add(f"bar {exchange}:spot:{symbol}:{interval}:{start}:{revision}")
    rows = sum(sum(facts.table(each).rows_at_cut.values()) for each in ORDER if each is not Frame)
    return judged("A5", rows, "rows", offences, "quotes by their number; --deep compares each")


def ids_complete(facts: Facts) -> Finding:
    """A6: from the first id of a series to its last, each is stored, open, lost or was refused."""
    offences, looked = Offences(), 0
    named, lost = named_missing(facts, "open", "lost"), named_missing(facts, "lost")
    refused = facts.rows.dead_letters.refused.copy()
    for ids in sorted(facts.rows.trades.ids):
        shard, exchange, symbol, series = ids
        if removed_from(facts, Trade, shard) or removed_from(facts, Gap, shard):
            continue
        found = facts.rows.trades.ids.account(ids)
        looked += found.different()
        holes = found.missing(facts.rows.trades.begin(ids), found.ranges[-1][1])
        unnamed = without(holes, named.get(ids, []))
        # Which ids were refused only --deep can say: here as many may be missing as trades were refused.
        if size(unnamed) > refused[shard, symbol]:
            for each in unnamed:
                offences.add(f"{exchange}:spot:{symbol}:{series}:{told(each)} missing", size([each]))
        else:
            refused[shard, symbol] -= size(unnamed)
        gone = lost.get(ids, [])
        for each in without(gone, without(gone, found.ranges)):
            offences.add(f"{exchange}:spot:{symbol}:{series}:{told(each)} lost, but stored", size([each]))
    return judged("A6", looked, "ids", offences)


def gaps_ended(facts: Facts) -> Finding:
    """A7: no gap is open longer than a repair may take."""
    offences = Offences()
    last = standing(facts)
    for row in last.values():
        seconds = facts.rows.frames.ticks_after(row.shard, row.position) if row.status == "open" else 0
        if seconds > GAP_SECONDS_MAX:
            offences.add(f"{row.gap_id} open for {seconds:,} seconds of capture")
    still = sum(row.status == "open" for row in last.values())
    return judged("A7", len(last), "gaps", offences, f"{still:,} open, being repaired" if still else "")


def commits_add_up(facts: Facts) -> Finding:
    """A8: tokens only advance, each commit adds the rows that it counts, and all rows are counted."""
    offences, commits = Offences(), 0
    bronze = facts.table(Frame)
    for record_type in ORDER:
        table = facts.table(record_type)
        commits += len(table.commits)
        if not table.exists and any(token.position for token in bronze.tokens.values()):
            offences.add(f"{table.name} does not exist")
        if table.rolled_back:
            offences.add(f"{table.name} was rolled back behind what {table.rolled_back} has published")
        offences.take(history(table))
        for shard, token in table.tokens.items():
            start = facts.start(shard)
            # Where maintenance was, only the whole table adds up.
            whole = not start.position or not (token.added or token.removed)
            if start.position <= token.position and whole:
                said = put(token, table.name) - token.removed - start.counts.get(rows_name(table.name), 0)
                if said != table.rows[shard]:
                    told_as = f"{table.name} {shard}: {table.rows[shard]:,} rows, {said:,} counted"
                    offences.add(told_as, abs(said - table.rows[shard]))
        if record_type in COMPARED:
            for shard in facts.shards():
                cut, start = facts.cut(shard), facts.start(shard)
                said = difference(cut.counts, start.counts, rows_name(table.name))
                rows = table.rows_at_cut[shard]
                # How many of those that retention took were before the cut nobody has counted.
                whole = not removed_from(facts, record_type, shard)
                if said != rows and cut.position >= start.position and whole:
                    told_as = f"{table.name} {shard} up to {cut.position}: {rows:,} rows, {said:,} counted"
                    offences.add(told_as, abs(said - rows))
    return judged("A8", commits, "commits", offences)


def history(table: TableFacts) -> Offences:
    """What is wrong with the commits that are still known."""
    offences = Offences()
    known: dict[str, Token] = {}
    for commit in table.commits:
        rows, sure = 0, bool(commit.tokens)
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
            known[shard] = token
        if sure and rows != commit.added:
            offences.add(f"{table.name} snapshot {commit.snapshot}: {commit.added:,} rows, {rows:,} counted")
    for shard, token in known.items():
        said = table.tokens.get(shard)
        if said is not None and (said.position, said.counts) != (token.position, token.counts):
            offences.add(
                f"{table.name} {shard}: the table says {said.position}, its newest commit {token.position}"
            )
    return offences


def files_known(facts: Facts) -> Finding:
    """A9: no file is listed twice, none holds rows that no token speaks of, no commit is a stranger's."""
    offences = Offences()
    for table in facts.tables.values():
        offences.take(table.twice)
        offences.take(table.strangers)
        for commit in table.commits:
            if not commit.tokens and commit.operation == "append" and commit.added:
                offences.add(
                    f"{table.name} snapshot {commit.snapshot}: {commit.added:,} rows of an unknown writer"
                )
    return judged("A9", sum(table.files for table in facts.tables.values()), "files", offences)


def files_whole(facts: Facts) -> Finding:
    """A10: what reading them has shown."""
    offences = Offences()
    for table in facts.tables.values():
        offences.take(table.broken)
    return judged("A10", sum(table.files for table in facts.tables.values()), "files", offences)


def bronze_leads(facts: Facts) -> Finding:
    """A13: bronze is committed first, so nothing is ever ahead of it."""
    offences, behind = Offences(), 0
    bronze = facts.table(Frame)
    for record_type in ORDER:
        for shard, token in facts.table(record_type).tokens.items():
            lead = bronze.tokens[shard].position if shard in bronze.tokens else 0
            if token.position > lead:
                offences.add(f"{TABLES[record_type].name} {shard}: {token.position:,}, bronze {lead:,}")
    for shard, token in bronze.tokens.items():
        behind = max(behind, token.position - facts.cut(shard).position)
    shards = len(facts.shards())
    return judged(
        "A13", shards, "shards", offences, f"gold is up to {behind:,} frames behind" if behind else ""
    )


def metrics_agree(facts: Facts) -> Finding:
    """A14: what metrics said at the end of a process, and what the ledger counted in its life."""
    offences, counts, unknown = Offences(), 0, set[str]()
    for closing in facts.closings:
        for venue, said in closing.counted.items():
            lives = {
                shard: life for shard, life in closing.shards.items() if shard.rpartition("-")[0] == venue
            }
            after = {shard: counts_at(facts, shard, life.position) for shard, life in lives.items()}
            if not all(after.values()):
                unknown.add(venue)
                continue
            names = {name for each in after.values() for name in each}
            for name in sorted(name for name in names | said.keys() if name.startswith(MEASURED)):
                if name in ("frames_data", "frames_control"):
                    continue
                ledger = sum(difference(after[shard], life.before, name) for shard, life in lives.items())
                counts += 1
                if ledger != said.get(name, 0):
                    offences.add(
                        f"{venue} {name}: {said.get(name, 0):,} in metrics, {ledger:,} in the ledger"
                    )
    if not counts:
        return unchecked("A14", "no process has ended well whose end the ledger still knows")
    note = f"the ledger knows no more of the last end of {', '.join(sorted(unknown))}" if unknown else ""
    return judged("A14", counts, "counts", offences, note)


def counts_at(facts: Facts, shard: str, position: int) -> Mapping[str, int]:
    """What the ledger had counted at a position; nothing where no commit that is known ended there."""
    bronze = facts.table(Frame)
    tokens = [commit.tokens[shard] for commit in bronze.commits if shard in commit.tokens]
    tokens += [bronze.tokens[shard]] if shard in bronze.tokens else []
    return next((token.counts for token in tokens if token.position == position), {})


def nothing_lies_about(facts: Facts) -> Finding:
    """A16: files of no table, older than anybody may still need them."""
    if facts.limited:
        return unchecked("A16", "files belong to tables, not to venues")
    return judged("A16", sum(table.files for table in facts.tables.values()), "files", facts.orphans)


def standing(facts: Facts) -> dict[str, GapRow]:
    """How each gap ended last, by its id."""
    ranks = {"open": 0, "lost": 1, "split": 2, "repaired": 2}
    found: dict[str, GapRow] = {}
    for row in facts.rows.gaps.rows:
        if row.gap_id not in found or ranks[row.status] >= ranks[found[row.gap_id].status]:
            found[row.gap_id] = row
    return found


def named_missing(facts: Facts, *statuses: str) -> dict[Ids, list[Range]]:
    """The ids of the gaps that stand so, by series."""
    chosen = sorted(
        (row for row in standing(facts).values() if row.status in statuses), key=attrgetter("ids", "first")
    )
    return {
        ids: account((row.first, row.last) for row in rows).ranges
        for ids, rows in groupby(chosen, key=attrgetter("ids"))
    }


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


CHEAP = (
    frames_kept, frames_numbered, frames_counted, messages_accounted, messages_single, ids_complete,
    gaps_ended, commits_add_up, files_known, files_whole, bronze_leads, metrics_agree, nothing_lies_about,
)  # fmt: skip


def cheap(facts: Facts) -> Iterator[Finding]:
    """All checks that need nothing but facts."""
    for check in CHEAP:
        yield check(facts)
