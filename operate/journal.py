"""`tape journal`: whether what is kept is sound, how much there is, and what it says."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from connectors.text import visible
from operate.choice import Choice
from operate.cli import Session
from operate.table import json_option, print_rows
from schemas.health import FrameKind

if TYPE_CHECKING:
    from connectors.segments import Inspection, Lost, Removed
    from schemas import Frame


@click.group("journal")
def command() -> None:
    """Check, measure or print what the journals hold."""


def which(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which journals."""
    directory = click.argument(
        "directory", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False
    )
    shard = click.option("--shard", help="Only this shard, such as binance-0.")
    return directory(shard(click.pass_obj(verb)))


@command.command("verify")
@which
@json_option
@click.pass_context
def verify(
    context: click.Context, session: Session, directory: Path | None, shard: str | None, as_json: bool
) -> None:
    """Check every byte of the journals in DIRECTORY, or of all shards; exit 1 if anything is damaged."""
    rows = [row for journal in journals(session, directory, shard) for row in findings(journal)]
    print_rows(rows, as_json=as_json)
    if any(row["verdict"] in ("damaged", "missing") for row in rows):
        context.exit(1)


@command.command("stat")
@which
@json_option
@click.pass_context
def stat(
    context: click.Context, session: Session, directory: Path | None, shard: str | None, as_json: bool
) -> None:
    """Say how much the journals in DIRECTORY hold, or those of all shards, and who writes them.

    A writer that has ended and is still named did not close its journal: it was killed. Exit 1 if anything
    is damaged or missing.
    """
    rows = [facts(journal) for journal in journals(session, directory, shard)]
    print_rows(rows, as_json=as_json)
    if any(row["damaged"] for row in rows):
        context.exit(1)


@command.command("cat")
@which
@click.option("--from", "position", type=click.IntRange(min=1), help="First position; else the oldest.")
@click.option("--limit", type=click.IntRange(min=0), help="At most so many frames of a shard.")
@click.option("--kind", type=Choice(get_args(FrameKind)), help="Only frames of this kind.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
def cat(
    session: Session,
    directory: Path | None,
    shard: str | None,
    position: int | None,
    limit: int | None,
    kind: str | None,
    as_json: bool,
) -> None:
    """Print frames: shard, position, received, connection, number, kind, payload; base64: if not text."""
    from connectors.journal_reader import recorded

    show = as_object if as_json else as_line
    for journal in journals(session, directory, shard):
        left = limit
        for taken in recorded(journal, position):
            wanted = [frame for frame in taken if kind in (None, frame.kind)][:left]
            if wanted:
                click.echo("\n".join(map(show, wanted)))
            if left is not None and not (left := left - len(wanted)):
                break


def journals(session: Session, directory: Path | None, shard: str | None) -> Iterator[Path]:
    """The journals that were asked for."""
    from connectors.errors import TapeError, unknown
    from connectors.segments import segment_paths

    if directory is not None and segment_paths(directory):
        found = [directory]
    else:
        root = session.settings().data_dir
        places = [directory] if directory else [root / mode / "journal" for mode in ("live", "simulated")]
        shards = [path for place in places if place.is_dir() for path in sorted(place.iterdir())]
        found = [path for path in shards if path.is_dir() and segment_paths(path)]
        if not found:
            hint = "name the directory of a shard, or one that holds shards"
            raise TapeError(f"no journal in {' or '.join(map(str, places))}", hint=hint)
    chosen = [path for path in found if shard in (None, path.name)]
    if not chosen:
        raise unknown("shard", shard or "", [path.name for path in found])
    yield from chosen


def findings(directory: Path) -> Iterator[dict[str, object]]:
    """What is to be said of each segment of a journal and of what is not there."""
    from connectors.segments import JournalError, first_position, inspect, lost, missing, segment_paths

    paths = segment_paths(directory)
    expected, own = 1, ""
    for path in paths:
        while hole := missing(expected, first_position(path) - 1, gone(directory)):
            yield row(directory, "missing", first=hole[0], last=hole[1])
            expected = hole[1] + 1
        try:
            found = inspect(path)
            own = require_own(found, own)
        except JournalError as error:
            if not path.exists():  # trimmed meanwhile: by now it is among what is gone
                continue
            yield row(directory, "damaged", file=path.name, offset=0, detail=str(error))
            expected = first_position(path)
            continue
        verdict, detail = judge(found, newest=path == paths[-1], overlap=expected - found.header.first)
        yield row(
            directory,
            verdict,
            file=path.name,
            first=found.header.first,
            last=found.next_position - 1,
            offset=found.bytes_whole if found.torn else None,
            detail=detail,
        )
        expected = found.next_position
    for extent in lost(directory):
        yield row(directory, "lost", first=extent.first, last=extent.last, detail=f"noticed {extent.noticed}")


def gone(directory: Path) -> "list[Lost | Removed]":
    """What a journal does not hold any more, as it is known now: a flow may be trimming it."""
    from connectors.segments import lost, removed

    return [*lost(directory), *removed(directory)]


def judge(found: "Inspection", *, newest: bool, overlap: int) -> tuple[str, str]:
    """How a segment is, and why."""
    if found.damaged or (found.torn and not newest):
        return "damaged", "what follows the offset was durable once"
    if overlap > 0:
        return "damaged", f"begins {overlap:,} positions before the end of the one before it"
    if found.torn:
        return "torn", f"{found.torn:,} bytes were not known to be durable; the next start drops them"
    return "sound", ""


def row(
    directory: Path,
    verdict: str,
    *,
    file: str | None = None,
    first: int | None = None,
    last: int | None = None,
    offset: int | None = None,
    detail: str = "",
) -> dict[str, object]:
    """One finding."""
    frames = 0 if first is None or last is None else last - first + 1
    return {
        "shard": directory.name,
        "verdict": verdict,
        "first": first,
        "last": last,
        "frames": frames,
        "file": file,
        "offset": offset,
        "detail": detail,
    }


def facts(directory: Path) -> dict[str, object]:
    """How much a journal holds."""
    from connectors.journal import writer
    from connectors.journal_reader import recorded
    from connectors.segments import JournalError, inspect, iso, lost, removed, segment_paths

    name, ended = writer(directory)
    inspected, unreadable, own = [], [], ""
    for path in segment_paths(directory):
        try:
            found = inspect(path)
            own = require_own(found, own)
            inspected.append(found)
        except JournalError as error:
            if path.exists():
                unreadable.append(str(error))
    whole = [] if unreadable else inspected  # a reader would stumble over the others
    held = [found for found in whole if found.next_position > found.header.first]
    oldest = next(recorded(directory, held[0].header.first))[0] if held else None
    newest = next(recorded(directory, held[-1].next_position - 1))[0] if held else None
    return {
        "shard": inspected[0].header.shard if inspected else directory.name,
        "segments": len(inspected) + len(unreadable),
        "bytes": sum(found.bytes for found in inspected),
        "frames": sum(found.next_position - found.header.first for found in inspected),
        "first": oldest.position if oldest else None,
        "last": newest.position if newest else None,
        "oldest": iso(oldest.received) if oldest else None,
        "newest": iso(newest.received) if newest else None,
        "removed": sum(segment.count for segment in removed(directory)),
        "lost": sum(extent.last - extent.first + 1 for extent in lost(directory)),
        "writer": name,
        "ended": ended,
        "damaged": "; ".join(unreadable) or damage(directory, inspected),
    }


def require_own(found: "Inspection", own: str) -> str:
    """Whose a segment is, or JournalError where those before it are another's."""
    from connectors.segments import JournalError

    whose = f"{found.header.exchange} {found.header.shard}"
    if own and whose != own:
        raise JournalError(f"{found.path.name} is of {whose}, not of {own}", hint="move it away")
    return whose


def damage(directory: Path, inspected: "list[Inspection]") -> str | None:
    """The first that is not as it was written, and who tells the rest; None where all is."""
    from connectors.segments import missing

    expected = 1
    for found in inspected:
        first = found.header.first
        hole = missing(expected, first - 1, gone(directory))
        verdict, _ = judge(found, newest=found is inspected[-1], overlap=expected - first)
        if hole or verdict == "damaged":
            place = f"position {hole[0]:,}" if hole else f"byte {found.bytes_whole:,} of {found.path.name}"
            return f"at {place}, see tape journal verify"
        expected = found.next_position
    return None


def as_line(frame: "Frame") -> str:
    """A frame as a person reads it."""
    from connectors.segments import iso

    text = as_text(frame.payload)
    shown = f"base64:{b64encode(frame.payload).decode()}" if text is None else visible(text)
    return (
        f"{frame.shard}  {frame.position}  {iso(frame.received)}  {frame.connection}  {frame.number}  "
        f"{frame.kind}  {shown}"
    )


def as_object(frame: "Frame") -> str:
    """A frame as a program reads it."""
    from connectors.segments import iso

    text = as_text(frame.payload)
    payload = {"payload_base64": b64encode(frame.payload).decode()} if text is None else {"payload": text}
    facts = {
        "exchange": frame.exchange,
        "shard": frame.shard,
        "position": frame.position,
        "received": iso(frame.received),
        "connection": frame.connection,
        "number": frame.number,
        "kind": frame.kind,
    }
    return json.dumps(facts | payload)


def as_text(payload: bytes) -> str | None:
    """The payload as text, if it is."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
