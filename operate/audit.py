"""`tape audit`: whether everything that was received is in the lake, once, or is named as missing.

It reads, and leaves behind nothing but when it last found all well, for whoever watches the metrics.
"""

import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connectors.venues import VENUES
from operate.choice import Choice
from operate.cli import Session
from operate.numbers import Moment
from operate.table import json_option, print_rows
from schemas.shards import exchange_of

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from connectors.settings import Settings
    from operate.auditing.findings import Finding

MICROSECONDS = 1_000_000
# For the textfile collector of Prometheus' node exporter: an audit is over before anybody could scrape it.
RESULT = "audit.prom"
LAST_SUCCESS = "tape_audit_last_success_timestamp_seconds"
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


class Since(Moment):
    """A time, or how long ago."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        ago = re.fullmatch(r"([0-9]{1,6})([smhd])", str(value))
        if ago:
            return now() - int(ago[1]) * UNITS[ago[2]] * MICROSECONDS
        return super().convert(value, param, context)


@click.command("audit")
@click.option(
    "--since", type=Since(), default=0, metavar="TIME", help="Only what came since then, or for so long: 1h."
)
@click.option("--venue", type=Choice(list(VENUES)), help="Only this venue.")
@click.option("--deep", is_flag=True, help="Decode all frames again, and sum up all trades again: minutes.")
@json_option
@click.pass_context
def command(context: click.Context, since: int, venue: str | None, deep: bool, as_json: bool) -> None:
    """Check that what was received is stored, once, or named as missing; exit 1 if not, 2: cannot tell."""
    from operate.auditing.auditor import audit
    from operate.auditing.findings import violations
    from operate.auditing.reading import Asked

    session: Session = context.obj
    settings = session.settings()
    directory = store_of(settings)
    began = now()
    asked = Asked(lambda shard: venue in (None, exchange_of(shard)), since, limited=venue is not None)
    catalog = catalog_of(settings, directory)
    found = audit(catalog, directory, asked, deep=deep, now=began, topics=settings.kafka)
    show(found, directory, began, as_json=as_json)
    if not since and venue is None:
        try:
            note(directory / RESULT, violations(found), began // MICROSECONDS)
        except OSError as error:  # who may only read has his answer
            click.echo(f"not noted for Prometheus: {error}", err=True)
    if violations(found):
        context.exit(1)


def now() -> int:
    """The time in microseconds."""
    return time.time_ns() // 1_000


def store_of(settings: "Settings") -> Path:
    """Where the store is that runs or ran last."""
    from connectors.errors import TapeError
    from connectors.mode import remembered, store
    from connectors.slots import read

    directory = store(settings.data_dir, remembered(settings.mode, settings.data_dir))
    if read(directory) is None:
        raise TapeError(f"{directory} holds no store", hint="`tape run` begins one")
    return directory


def catalog_of(settings: "Settings", directory: Path) -> "Catalog":
    """The catalog of the store's tables."""
    from connectors.catalog import at_once, open_catalog

    lake = settings.lake
    return at_once(partial(open_catalog, directory, lake.catalog, lake.warehouse, **lake.access()))


def note(path: Path, count: int, time: int) -> None:
    """Leave behind how many violations there are, and when there were none last."""
    before = re.search(rf"^{LAST_SUCCESS} (\d+)$", path.read_text(), re.MULTILINE) if path.exists() else None
    success = int(before[1]) if count and before else 0 if count else time
    new = path.with_suffix(".new")
    new.write_text(
        f"# TYPE {LAST_SUCCESS} gauge\n{LAST_SUCCESS} {success}\n"
        f"# TYPE tape_audit_violations gauge\ntape_audit_violations {count}\n"
    )
    new.replace(path)


def show(found: Sequence["Finding"], directory: Path, began: int, *, as_json: bool) -> None:
    """A line for each check, and what it amounts to."""
    from connectors.segments import iso
    from operate.auditing.findings import violations

    count = violations(found)
    if as_json:
        import msgspec

        said = {"store": str(directory), "audited": iso(began), "violations": count, "checks": found}
        click.echo(msgspec.json.encode(said))
        return
    print_rows([line(each) for each in found], as_json=False)
    held = sum(each.verdict == "holds" for each in found)
    click.echo(f"{directory}: {held} checks hold, {count:,} violations")


def line(finding: "Finding") -> dict[str, object]:
    """A finding as a row."""
    named = [*finding.offenders]
    if named and finding.violations > len(named):
        named.append("…")
    return {
        "check": finding.check,
        "rule": finding.rule,
        "verdict": finding.verdict,
        "counted": f"{finding.counted:,} {finding.of}" if finding.of else "",
        "violations": finding.violations or "",
        "offenders": "; ".join([*named, *([finding.note] if finding.note else [])]),
    }
