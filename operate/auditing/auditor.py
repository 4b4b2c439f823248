"""The audit as a whole: facts are read, and every check says something, in the order of the rules."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import Struct
from pyiceberg.catalog import Catalog

from connectors.catalog import LakeError, explained, is_outage
from connectors.kafka_settings import KafkaSettings
from operate.auditing.checks import cheap, ids_complete
from operate.auditing.damage import UNREADABLE
from operate.auditing.facts import ORDER, Facts
from operate.auditing.findings import RULES, Finding, unchecked
from operate.auditing.lying_about import look
from operate.auditing.reading import Asked, Changed, Opened, batches, read
from operate.auditing.rebuilding import rebuilt
from operate.auditing.replaying import replayed
from schemas import Bar, Frame, StaleWindow, Trade
from schemas.iceberg import table_columns

# Tables are compacted and expired while we read them: so often we begin again.
ATTEMPTS_MAX = 5

T = TypeVar("T")
Tables = Mapping[type[Struct], Opened | None]


def audit(
    catalog: Catalog,
    directory: Path,
    asked: Asked,
    *,
    deep: bool,
    now: int,
    topics: KafkaSettings | None = None,
) -> list[Finding]:
    """One finding for each rule."""

    def attempt() -> list[Finding]:
        checks = all_checks(catalog, directory, asked, deep=deep, now=now, topics=topics)
        found = {finding.check: finding for finding in checks}
        return [found[check] for check in RULES]

    return steady(attempt)


def all_checks(
    catalog: Catalog,
    directory: Path,
    asked: Asked,
    *,
    deep: bool,
    now: int,
    topics: KafkaSettings | None,
) -> Iterator[Finding]:
    """The findings, as they come."""
    facts, tables = read(catalog, directory, asked)
    for found in tables.values():
        if found is not None and not facts.limited:
            look(facts, found, now)
    if deep:  # what it finds out about files A10 tells
        read_whole = partial(needing, catalog, facts, tables)
        yield read_whole("A12", (Trade, Bar, StaleWindow), partial(rebuilt, catalog, facts, tables))
        yield read_whole("A15", ORDER, partial(replayed, catalog, directory, facts, tables))
    else:
        yield unchecked("A12", "only with --deep")
        yield unchecked("A15", "only with --deep")
    for finding in cheap(facts):
        if finding.check == "A6" and finding.violations and asked.since:
            # What seems missing may have come before the time that was asked for.
            whole, _ = read(catalog, directory, Asked(asked.wanted, limited=asked.limited))
            finding = ids_complete(whole)  # noqa: PLW2901  # the better answer
        yield finding
    if topics is None or not topics.bootstrap_servers:
        yield unchecked("A11", "no topics are configured")
    elif not deep:
        yield unchecked("A11", "only with --deep")
    else:
        from operate.auditing.topics import CHECKED, published

        look_there = partial(published, catalog, facts, tables, topics, now)
        yield needing(catalog, facts, tables, "A11", CHECKED, look_there)


def needing(
    catalog: Catalog,
    facts: Facts,
    tables: Tables,
    check: str,
    needed: Sequence[type[Struct]],
    look_through: Callable[[], Finding],
) -> Finding:
    """What a check says that reads the rows of some tables; nothing where a file of theirs is not whole."""
    if not facts.broken(needed):
        try:
            finding = look_through()
        except (OSError, *UNREADABLE):
            # A scan of bronze does not say which file it could not read.
            if bronze := tables[Frame]:
                look_at_every_byte(catalog, bronze)
            if not facts.broken(needed):
                raise
        else:
            if not facts.broken(needed):
                return finding
    return unchecked(check, f"{', '.join(facts.broken(needed))} cannot be read as a whole: see A10")


def look_at_every_byte(catalog: Catalog, found: Opened) -> None:
    """Note the files of a table that are not whole."""
    names = [column.name for column in table_columns(found.record_type)]
    for file in found.files:
        for _ in batches(catalog, found, file, names):
            pass


def steady(attempt: Callable[[], T]) -> T:
    """What an attempt says during which no file left its table."""
    for _ in range(ATTEMPTS_MAX):
        try:
            with explained():
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
