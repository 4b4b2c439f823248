"""The audit as a whole: facts are read, and every check says something, in the order of the rules."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.catalog import LakeError, is_outage
from operate.auditing.checks import cheap, ids_complete
from operate.auditing.findings import RULES, Finding, unchecked
from operate.auditing.lying_about import look
from operate.auditing.reading import Asked, Changed, Opened, read
from operate.auditing.rebuilding import rebuilt
from operate.auditing.replaying import replayed

# Tables are compacted and expired while we read them: so often we begin again.
ATTEMPTS_MAX = 5

T = TypeVar("T")
Tables = Mapping[type[Struct], Opened | None]


def audit(catalog: Catalog, directory: Path, asked: Asked, *, deep: bool, now: int) -> list[Finding]:
    """One finding for each rule."""

    def attempt() -> list[Finding]:
        found = {
            finding.check: finding for finding in all_checks(catalog, directory, asked, deep=deep, now=now)
        }
        return [found[check] for check in RULES]

    return steady(attempt)


def all_checks(catalog: Catalog, directory: Path, asked: Asked, *, deep: bool, now: int) -> Iterator[Finding]:
    """The findings, as they come."""
    facts, tables = read(catalog, directory, asked)
    for found in tables.values():
        if found is not None and not facts.limited:
            look(facts, found, now)
    for finding in cheap(facts):
        if finding.check == "A6" and finding.violations and asked.since:
            # What seems missing may have come before the time that was asked for.
            whole, _ = read(catalog, directory, Asked(asked.wanted, limited=asked.limited))
            finding = ids_complete(whole)  # noqa: PLW2901  # the better answer
        yield finding
    yield unchecked("A11", "no topics are configured")
    if deep:
        yield rebuilt(catalog, facts, tables)
        yield replayed(catalog, directory, facts, tables)
    else:
        yield unchecked("A12", "only with --deep")
        yield unchecked("A15", "only with --deep")


def steady(attempt: Callable[[], T]) -> T:
    """What an attempt says during which no file left its table."""
    for _ in range(ATTEMPTS_MAX):
        try:
            return attempt()
        except (Changed, FileNotFoundError) as error:
            gone = error
            time.sleep(PAUSE_SECONDS)
        except Exception as error:
            if not is_outage(error):
                raise
            raise LakeError(f"the lake cannot be read: {error}", hint="nothing was checked") from error
    raise LakeError(
        f"cannot be read: {gone}",
        hint="it belongs to a table's metadata, or maintenance removes files faster than they are read",
    )


# Time for whoever is changing a table.
PAUSE_SECONDS = 0.2
