"""`tape dead-letters`: what was refused and why, its bytes, and what today's code would make of it.

What the lake has is told from there. What it has not yet is made from the journal, from its beginning through
every step that can refuse. Looking changes nothing; what is published goes into the journal again.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import click
import msgspec

from connectors.journal_reader import all_of, recorded
from connectors.venues import VENUES
from operate.choice import Choice
from operate.cli import Session
from operate.decode import KINDS, plain
from operate.numbers import Moment
from operate.table import json_option, print_rows
from schemas import Control, DeadLetter, Frame, Quote, Trade
from schemas.health import Reason
from schemas.run import records_of

if TYPE_CHECKING:
    from dataflows.engine import Step
    from dataflows.steps.batch import Batch
    from query.files import Wanted
    from query.reader import Reader

# Of a payload on a screen: hostile ones have megabytes.
SHOWN_CHARACTERS_MAX = 2_000
# Of what the journal has no more, so many frames are read before the one that is meant: some refusals depend
# on messages shortly before, and all that ever came would take hours.
FRAMES_BEFORE = 20_000

COLUMNS_STORED = DeadLetter.__struct_fields__  # the bytes last
Message = Trade | Quote | Control | DeadLetter
ACCEPTED = (KINDS[Trade], KINDS[Quote])


@click.group("dead-letters")
def command() -> None:
    """List, show or retry the messages that were refused."""


def of_journals(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all have in common."""
    where = click.option(
        "--journal",
        "directory",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="A shard's journal, or a directory with some; else those of the store.",
    )
    return where(json_option(click.pass_obj(verb)))


@command.command("list")
@click.option("--venue", type=Choice(list(VENUES)), help="Only of this venue.")
@click.option("--reason", type=Choice(get_args(Reason)), help="Only refused for this.")
@click.option("--since", type=Moment(), default=0, metavar="TIME", help="Only received from then on.")
@click.option("--each", is_flag=True, help="A row for each, instead of a count by venue, stage and reason.")
@of_journals
def list_them(
    session: Session,
    directory: Path | None,
    as_json: bool,
    venue: str | None,
    reason: str | None,
    since: int,
    each: bool,
) -> None:
    """Count dead letters by venue, stage and reason, with the newest of each."""
    found = (
        letter
        for letter in letters(session, directory)
        if venue in (None, letter.exchange) and reason in (None, letter.reason) and letter.received >= since
    )
    rows = [listed(one) for one in found] if each else counted(found)
    print_rows(rows, as_json=as_json, columns=COLUMNS_EACH if each else COLUMNS)


def letters(session: Session, directory: Path | None) -> Iterator[DeadLetter]:
    """Those of the lake and its tail, without their bytes, then those that the journals have beyond."""
    from connectors.segments import newest_position
    from connectors.tokens import tokens_of

    journals = list(chosen(session, directory))
    reader = None if directory else lake_of(session)
    published: dict[str, int] = {}
    staged: set[str] = set()
    if reader is not None:
        published = {name: one.position for name, one in tokens_of(reader.at(DeadLetter).table).items()}
        for letter in stored(reader, {}, COLUMNS_STORED[:-1]):
            if letter.platform_sequence > published.get(letter.shard, 0):
                staged.add(letter.message_id)
            yield letter
    for journal in journals:
        end = published.get(journal.name, 0)
        if newest_position(journal) <= end:
            continue
        for batch, _ in judged(journal, recorded(journal)):
            found = [record for record in batch.records if type(record) is DeadLetter]
            yield from (one for one in found if one.platform_sequence > end and one.message_id not in staged)


def lake_of(session: Session) -> "Reader | None":
    """The tables of the store that runs or ran last; None where there are none yet."""
    from connectors.catalog import LakeError
    from connectors.mode import remembered, store
    from connectors.slots import read
    from operate.answers import reader_of

    settings = session.settings()
    directory = store(settings.data_dir, remembered(settings.mode, settings.data_dir))
    if read(directory) is None or not (settings.lake.catalog or (directory / "catalog.db").exists()):
        return None
    reader = reader_of(session)
    try:
        reader.at(DeadLetter)
    except LakeError:
        return None
    return reader


def stored(reader: "Reader", wanted: "Wanted", columns: Sequence[str]) -> Iterator[DeadLetter]:
    """Dead letters of the lake and its tail, in the order in which they were received."""
    import pyarrow as pa

    part = reader.at(DeadLetter).part(wanted, columns=columns)
    rows = reader.ask(f"from ({part.sql}) order by received, message_id", part)
    for batch in rows.to_batches():
        plain = [
            each.cast(pa.int64()) if pa.types.is_timestamp(each.type) else each for each in batch.columns
        ]
        for values in zip(*(column.to_pylist() for column in plain), strict=True):
            yield DeadLetter(**{"payload": b"", **dict(zip(columns, values, strict=True))})


COLUMNS = ("exchange", "stage", "reason", "count", "newest", "message_id", "detail")
COLUMNS_EACH = ("message_id", "received", "stage", "reason", "symbol", "detail")


def counted(letters: Iterator[DeadLetter]) -> list[dict[str, object]]:
    """A row for each kind, the most frequent first."""
    counts: dict[tuple[str, str, str], tuple[int, DeadLetter]] = {}
    for letter in letters:
        kind = letter.exchange, letter.stage, letter.reason
        count, newest = counts.get(kind, (0, letter))
        counts[kind] = count + 1, max(newest, letter, key=lambda one: one.received)
    ordered = sorted(counts.items(), key=lambda item: -item[1][0])
    return [
        dict(zip(COLUMNS, (*kind, count, moment(one.received), one.message_id, one.detail), strict=True))
        for kind, (count, one) in ordered
    ]


def listed(letter: DeadLetter) -> dict[str, object]:
    """A row for one."""
    values = letter.message_id, moment(letter.received), letter.stage, letter.reason
    return dict(zip(COLUMNS_EACH, (*values, letter.symbol, letter.detail), strict=True))


@command.command("show")
@click.argument("message_id")
@of_journals
def show(session: Session, directory: Path | None, as_json: bool, message_id: str) -> None:
    """Print a dead letter: why it was refused, where it is, and the bytes of its frame."""
    from connectors.errors import TapeError
    from connectors.text import visible
    from query.files import only

    place(message_id)
    reader = None if directory else lake_of(session)
    known = stored(reader, {"message_id": only(message_id)}, COLUMNS_STORED) if reader else iter(())
    letter: Message | None = next(known, None)
    if letter is None:
        letter = judgements(session, directory, [message_id])[0].message
    if type(letter) is not DeadLetter:
        raise TapeError(
            f"{message_id} is no dead letter", hint=f"`tape dead-letters retry {message_id}` says what it is"
        )
    told = plain(letter)
    if as_json:
        click.echo(msgspec.json.encode(told))
        return
    told["received"] = moment(letter.received)
    for name, value in told.items():
        text = b64encode(value).decode() if isinstance(value, bytes) else "-" if value is None else str(value)
        more = len(text) - SHOWN_CHARACTERS_MAX
        cut = f" … and {more:,} characters more (--json shows all)" if more > 0 else ""
        click.echo(f"{name + ':':<19}{visible(text[:SHOWN_CHARACTERS_MAX])}{cut}")


@command.command("retry")
@click.argument("message_ids", nargs=-1, required=True)
@click.option(
    "--publish", is_flag=True, help="Put the frames of those that are accepted into the journal again."
)
@of_journals
@click.pass_context
def retry(
    context: click.Context,
    session: Session,
    directory: Path | None,
    as_json: bool,
    message_ids: tuple[str, ...],
    publish: bool,
) -> None:
    """Say what today's code makes of these messages; ends with 1 if it refuses any.

    Changes nothing unless told to publish; then the next run stores what is accepted. What else is in the
    same frames was stored before and is dropped as a duplicate.
    """
    found = judgements(session, directory, message_ids)
    print_rows([one.row() for one in found], as_json=as_json)
    accepted = [one for one in found if one.now in ACCEPTED]
    refused = sum(one.now in ("dead_letter", "nothing") for one in found)
    if publish:
        append(session, directory, accepted)
        done = f"{len(accepted)} journalled again: the next run stores them"
    else:
        done = "nothing was changed: --publish stores what is accepted now"
    click.echo(f"{len(found) - refused} accepted, {refused} not; {done}", err=True)
    if refused:
        context.exit(1)


def append(session: Session, directory: Path | None, accepted: Sequence["Judgement"]) -> None:
    """Put the frames of these messages behind the journals' ends, as they were received."""
    from connectors.journal import Journal
    from connectors.positions import expected_position

    again = {(one.frame.shard, one.frame.position): one.frame for one in accepted if one.frame}
    for shard in sorted({shard for shard, _ in again}):
        (path,) = chosen(session, directory, shard)
        frames = [frame for (of, _), frame in sorted(again.items()) if of == shard]
        journal = Journal.open(
            path,
            exchange=frames[0].exchange,
            shard=shard,
            now=frames[-1].received,
            expected_position=expected_position(path.parent.parent, shard),
        )
        journal.append([(one.received, one.connection, one.number, one.kind, one.payload) for one in frames])
        journal.sync()
        journal.close()


class Judgement(NamedTuple):
    """What today's code makes of a message."""

    message_id: str
    now: str  # its kind, or `duplicate`, or `nothing` where the frame holds fewer messages
    message: Message | None
    frame: Frame | None = None

    def row(self) -> dict[str, object]:
        """For a table."""
        message, becomes, detail = self.message, None, ""
        if type(message) is DeadLetter:
            detail = f"{message.stage}: {message.reason}: {message.detail}"
        elif isinstance(message, Trade | Quote):
            becomes = message.message_id
        return {"message_id": self.message_id, "now": self.now, "becomes": becomes, "detail": detail}


def judgements(session: Session, directory: Path | None, message_ids: Sequence[str]) -> list[Judgement]:
    """Each of these messages as today's code makes it."""
    from connectors.errors import TapeError
    from connectors.segments import first_position, segment_paths

    reader = None if directory else lake_of(session)
    known: dict[str, Judgement] = {}
    places = {one: place(one) for one in message_ids}
    for shard in {shard for shard, _, _ in places.values()}:
        (journal,) = chosen(session, directory, shard)
        oldest = first_position(segment_paths(journal)[0])
        wanted = {one: (position, index) for one, (name, position, index) in places.items() if name == shard}
        gone = {one: at for one, at in wanted.items() if reader and at[0] < oldest}
        for one, at in gone.items():
            assert reader is not None
            known |= judged_of(journal, kept(reader, journal, at[0]), {one: at})
        if wanted.keys() - gone:
            rest = {one: at for one, at in wanted.items() if one not in gone}
            known |= judged_of(journal, recorded(journal), rest)
    for message_id in message_ids:
        if message_id not in known:
            raise TapeError(
                f"{message_id}: the journal does not hold that frame",
                hint="nor do the tables, as far as there are any",
            )
    return [known[one] for one in message_ids]


def judged_of(
    journal: Path, taken: Iterator[list[Frame]], wanted: dict[str, tuple[int, int]]
) -> dict[str, Judgement]:
    """What is found of these messages, by position and index."""
    found: dict[str, Judgement] = {}
    end = max(position for position, _ in wanted.values())
    for batch, messages in judged(journal, taken):
        for message_id, (position, index) in wanted.items():
            if any(frame.position == position for frame in batch.frames):
                of_frame = [one for one in messages if one.platform_sequence == position]
                found[message_id] = judge(message_id, of_frame[index : index + 1], batch)
        if batch.last >= end:
            break
    return found


def kept(reader: "Reader", journal: Path, position: int) -> Iterator[list[Frame]]:
    """The frames before a position and on, which the journal has no more."""
    from connectors.kept_frames import KeptFrames
    from schemas.iceberg import TABLES

    table = reader.load(TABLES[Frame].name)
    return all_of(KeptFrames(table, journal, journal.name, max(0, position - FRAMES_BEFORE)))


def judge(message_id: str, found: list[Message], batch: "Batch") -> Judgement:
    """What the steps have left of a message."""
    for record in batch.records:
        if type(record) is DeadLetter and record.message_id == message_id:
            return Judgement(message_id, "dead_letter", record)
    if not found:
        return Judgement(message_id, "nothing", None)
    kept = any(record is found[0] for record in batch.records)
    frame = next(one for one in batch.frames if one.position == found[0].platform_sequence)
    return Judgement(message_id, KINDS[type(found[0])] if kept else "duplicate", found[0], frame)


def place(message_id: str) -> tuple[str, int, int]:
    """Shard, position and index that an id names."""
    from connectors.errors import TapeError

    match message_id.split(":"):
        case [_, shard, position, index] if position.isdecimal() and index.isdecimal():
            return shard, int(position), int(index)
    raise TapeError(
        f"{message_id!r} is no id of a dead letter", hint="they are EXCHANGE:SHARD:POSITION:INDEX"
    )


def chosen(session: Session, directory: Path | None, shard: str | None = None) -> list[Path]:
    """The journals that were asked for."""
    from connectors.errors import TapeError
    from connectors.mode import remembered, store
    from operate.journal import journals

    if directory is None:
        settings = session.settings()
        directory = store(settings.data_dir, remembered(settings.mode, settings.data_dir)) / "journal"
        if not directory.exists():
            raise TapeError(f"no journal in {directory}", hint="`tape run` begins one")
    return list(journals(session, directory, shard))


def judged(journal: Path, read: Iterator[list[Frame]]) -> "Iterator[tuple[Batch, list[Message]]]":
    """Each batch of frames behind the steps that refuse, and its messages as they were before the last."""
    from dataflows.chain import chain
    from dataflows.steps.batch import batch_of

    checks: list[Step] = []
    before: list[Frame] = []
    for taken in read:
        if not checks:
            before = instruments_before(journal, taken[0])
            steps = chain(VENUES)
            begins = steps.decode, steps.detect_gaps, steps.validate, steps.drop_duplicates
            *checks, drop_duplicates = [begin(taken[0].shard, None) for begin in begins]
        batch = batch_of(before + taken)
        before = []
        for check in checks:
            batch = check.step(batch)
        batch.records = records_of(batch.records)
        messages = [one for one in batch.records if isinstance(one, Message)]
        yield drop_duplicates.step(batch), messages


def instruments_before(journal: Path, first: Frame) -> list[Frame]:
    """What a journal whose beginning was removed does not say any more: the venue's instruments, as kept."""
    from msgspec.structs import replace

    kept = journal.parent.parent / "instruments" / f"{first.exchange}.json"
    if first.position == 1 or not kept.exists():
        return []
    return [replace(first, position=first.position - 1, kind="metadata", payload=kept.read_bytes())]


def moment(time: int) -> str:
    """A time as a person reads it."""
    from connectors.segments import iso

    return iso(time)
