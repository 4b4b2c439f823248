"""The checks that need no row twice: pure functions of facts, one for each rule.

Every shard is judged up to where its tables are known to be complete, so that a flow that is running or was
killed is found as well as one at rest. What a token counts is compared with the rows that there are.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby
from operator import attrgetter

from operate.auditing.adding_up import commits_add_up, difference, removed_from, rows_name
from operate.auditing.collecting import GapRow, Ids
from operate.auditing.facts import ORDER, Facts, JournalFacts
from operate.auditing.findings import NAMED_MAX, Finding, Offences, judged, unchecked
from operate.auditing.runs import Range, account, size, told, without
from schemas import DeadLetter, Frame, Gap, Quote, Trade
from schemas.iceberg import TABLES
from schemas.shards import exchange_of

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
    offences, notes = Offences(), []
    for shard, token in facts.table(Frame).tokens.items():
        before = facts.start(shard).counts
        kinds = facts.rows.frames.kinds
        said = {kind: difference(token.counts, before, f"frames_{kind}") for kind in OWN_KINDS}
        said["data or control"] = difference(token.counts, before, "frames") - sum(said.values())
        found = {kind: kinds[shard, kind] for kind in OWN_KINDS}
        found["data or control"] = kinds[shard, "data"] + kinds[shard, "control"]
        for kind in [kind for kind in said if differs(found[kind], said[kind], token.removed)]:
            offences.add(f"{shard} {kind}: {found[kind]:,} frames, {said[kind]:,} counted")
        if token.removed:
            notes.append(f"frames of {shard}")
    for shard in facts.shards():
        cut, start = facts.cut(shard), facts.start(shard)
        removed = removed_from(facts, DeadLetter, shard)
        reasons = {name for name in cut.counts if name.startswith("dead_letters_")}
        reasons |= {
            f"dead_letters_{reason}" for owner, reason in facts.rows.dead_letters.reasons if owner == shard
        }
        for name in sorted(reasons):
            rows = facts.rows.dead_letters.reasons[shard, name.removeprefix("dead_letters_")]
            counted = difference(cut.counts, start.counts, name)
            if differs(rows, counted, removed):
                offences.add(f"{shard} {name}: {rows:,} rows, {counted:,} counted", abs(rows - counted))
        if removed:
            notes.append(f"dead letters of {shard}")
    note = f"retention took {', '.join(notes)}: only that there are not too many" if notes else ""
    return judged("A3", sum(facts.table(Frame).rows.values()), "frames", offences, note)


def differs(rows: int, counted: int, removed: int) -> bool:
    """Whether rows are not those that were counted; of what retention took nobody knows the kind."""
    return rows > counted or rows + removed < counted


def messages_accounted(facts: Facts) -> Finding:
    """A4: what was decoded and what became of it, up to the cut."""
    offences, notes, messages = Offences(), [], 0
    for shard in facts.shards():
        cut, start = facts.cut(shard), facts.start(shard)
        stored = 0
        for each in (Trade, Quote):
            name = facts.table(each).name
            if removed_from(facts, each, shard):
                # A8 compares what is left with this number.
                stored += difference(cut.counts, start.counts, rows_name(name))
                notes.append(f"{name} of {shard}")
            else:
                stored += facts.table(each).rows_at_cut[shard]
        retired = removed_from(facts, DeadLetter, shard)
        if retired:
            notes.append(f"dead letters of {shard}")
        # Those refused while gaps were looked for never came to where trades are counted.
        stages = facts.rows.dead_letters.stages
        refused = sum(stages[shard, stage] for stage in ("validate", "drop_duplicates"))
        counts = {name: difference(cut.counts, start.counts, name) for name in cut.counts}
        decoded = counts.get("trades", 0) + counts.get("quotes", 0)
        dropped = sum(count for name, count in counts.items() if name.startswith("duplicates_"))
        messages += decoded
        if differs(refused, decoded - stored - dropped, retired):
            offences.add(
                f"{shard} up to {cut.position}: {decoded:,} decoded, {stored:,} stored, {refused:,} refused, "
                f"{dropped:,} duplicates",
                abs(decoded - stored - refused - dropped),
            )
    note = f"retention took {', '.join(notes)}: those as the ledger counted them" if notes else ""
    return judged("A4", messages, "messages", offences, note)


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
    offences, looked, retired = Offences(), 0, set[str]()
    named, lost = named_missing(facts, "open", "lost"), named_missing(facts, "lost")
    refused = facts.rows.dead_letters.refused.copy()
    for ids in sorted(facts.rows.trades.ids):
        shard, exchange, symbol, series = ids
        if removed_from(facts, Trade, shard) or removed_from(facts, Gap, shard):
            retired.add(shard)
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
    note = f"not {', '.join(sorted(retired))}, of which retention took trades or gaps" if retired else ""
    return judged("A6", looked, "ids", offences, note) if looked or not retired else unchecked("A6", note)


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


def files_known(facts: Facts) -> Finding:
    """A9: no file is listed twice, none holds rows that no token speaks of, no commit is a stranger's."""
    offences = Offences()
    for table in facts.tables.values():
        offences.take(table.twice)
        offences.take(table.strangers)
        for commit in table.commits:
            if not commit.tokens and not commit.shared and commit.operation == "append" and commit.added:
                offences.add(
                    f"{table.name} snapshot {commit.snapshot}: {commit.added:,} rows of an unknown writer"
                )
    return judged("A9", sum(table.files for table in facts.tables.values()), "files", offences)


def files_whole(facts: Facts) -> Finding:
    """A10: what reading them has shown."""
    offences = Offences()
    for table in facts.tables.values():
        for path, problem in table.broken.items():
            offences.add(f"{path}: {problem}")
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
            lives = {shard: life for shard, life in closing.shards.items() if exchange_of(shard) == venue}
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
    if any(path.endswith(".avro") for table in facts.tables.values() for path in table.broken):
        return unchecked("A16", "a manifest cannot be read: see A10")
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


CHEAP = (
    frames_kept, frames_numbered, frames_counted, messages_accounted, messages_single, ids_complete,
    gaps_ended, commits_add_up, files_known, files_whole, bronze_leads, metrics_agree, nothing_lies_about,
)  # fmt: skip


def cheap(facts: Facts) -> Iterator[Finding]:
    """All checks that need nothing but facts."""
    for check in CHEAP:
        yield check(facts)
