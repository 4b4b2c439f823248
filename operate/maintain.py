"""`tape maintain`: look after the tables, once or for ever. What would be done is shown before it is done."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from operate.choice import Choice
from operate.table import json_option, print_rows

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from connectors.settings import Settings
    from operate.cli import Session
    from operate.maintenance.jobs import Job, Policy

# How often each is looked for by `--schedule`: what is seldom needed costs nothing to look for.
SECONDS: dict[str, float] = {"bars": 60, "expire": 120, "compact": 600, "retain": 3_600, "orphans": 86_400}
# Behind everybody else who wants the processor.
NICE = 15
# A catalog that is away is asked again then.
OUTAGE_SECONDS = 30.0
# A table is looked after by one process of a host at a time.
LOCK = "maintain.lock"
COLUMNS = ("task", "table", "what", "files", "rows", "bytes")


@click.command("maintain")
@click.argument("task", type=Choice([*SECONDS, "status", "all"]))
@click.option("--yes", is_flag=True, help="Do it; without it only shown.")
@click.option("--schedule", is_flag=True, help="Go on for ever, each task at its interval; needs --yes.")
@click.option("--live", "mode", flag_value="live", help="The tables of live data.")
@click.option("--simulated", "mode", flag_value="simulated", help="The tables of simulated data.")
@json_option
@click.pass_obj
@click.pass_context
def command(
    context: click.Context,
    session: "Session",
    task: str,
    yes: bool,
    schedule: bool,
    mode: str | None,
    as_json: bool,
) -> None:
    """Compact, expire and clean the tables; status says how well they are and exits 1 if they are not."""
    settings = session.settings()
    if mode:
        settings = settings.model_copy(update={"mode": mode})
    tasks = list(SECONDS) if task == "all" else [task]
    if schedule:
        if not yes or task == "status":
            raise click.UsageError("--schedule does what it finds: say --yes too, and a task")
        session.start_log(settings)
        keep_on(settings, tasks)
    elif task == "status":
        rows = list(states(settings))
        print_rows(rows, as_json=as_json)
        if any(row["well"] != "yes" for row in rows):
            context.exit(1)
    else:
        once(settings, tasks, yes=yes, as_json=as_json)


def once(settings: "Settings", tasks: list[str], *, yes: bool, as_json: bool) -> None:
    """Show what is to be done and, if wanted, do it and show what came of it."""
    if not yes:
        rows = [job.shown() for task in tasks for job in found(settings, task)]
        print_rows(rows, as_json=as_json, columns=COLUMNS)
        if rows:
            click.echo("nothing was changed: --yes does it", err=True)
        return
    done = []
    for task in tasks:
        with turn(settings):
            for job in list(found(settings, task)):
                click.echo(f"{job.task} {job.table}: {job.what}", err=True)
                done.append(job.shown() | {"done": job.do()})
    print_rows(done, as_json=as_json, columns=(*COLUMNS, "done"))


def keep_on(settings: "Settings", tasks: list[str]) -> None:
    """Do each task whenever its time has come, until somebody ends this process; a crash costs nothing."""
    os.nice(NICE)
    due = {task: time.monotonic() + min(SECONDS[task], SECONDS["bars"]) for task in tasks}
    while True:
        task = min(due, key=lambda task: due[task])
        time.sleep(max(0.0, due[task] - time.monotonic()))
        due[task] = time.monotonic() + (SECONDS[task] if attempt(settings, task) else OUTAGE_SECONDS)


def attempt(settings: "Settings", task: str) -> bool:
    """Do what there is to do; whether nothing was in the way."""
    import structlog  # by now a flow that was started with us is running

    from connectors.catalog import is_outage
    from connectors.errors import TapeError

    logger = structlog.get_logger()
    try:
        with turn(settings):
            for job in list(found(settings, task)):
                logger.debug(f"{job.task} {job.table}", what=job.what, done=job.do())
    except Exception as error:
        if not isinstance(error, TapeError) and not is_outage(error):
            raise
        logger.warning(f"cannot {task} now, trying again", problem=str(error))
        return False
    return True


def found(settings: "Settings", task: str) -> "Iterator[Job]":
    """What there is to do."""
    from pyiceberg.exceptions import NoSuchTableError

    from operate.maintenance import bars, compaction, expiry, orphans, retention
    from schemas.iceberg import TABLES

    catalog, policy = opened(settings), policy_of(settings)
    if task == "bars":
        try:
            yield from bars.jobs(catalog)
        except NoSuchTableError:
            return
    else:
        modules = {"compact": compaction, "expire": expiry, "retain": retention, "orphans": orphans}
        for record_type in TABLES:
            try:
                yield from modules[task].jobs(catalog, record_type, policy)
            except NoSuchTableError:
                continue


def states(settings: "Settings") -> Iterator[dict[str, object]]:
    """How well each table is."""
    from pyiceberg.exceptions import NoSuchTableError

    from operate.maintenance.status import state
    from schemas.iceberg import TABLES

    catalog, policy = opened(settings), policy_of(settings)
    for record_type in TABLES:
        try:
            yield state(catalog, record_type, policy)
        except NoSuchTableError:
            continue


def opened(settings: "Settings") -> "Catalog":
    """The catalog of the tables."""
    from connectors.catalog import at_once, open_catalog

    chosen = settings.lake
    access = chosen.access()
    return at_once(partial(open_catalog, directory(settings), chosen.catalog, chosen.warehouse, **access))


def directory(settings: "Settings") -> Path:
    """Of the store whose tables they are."""
    from connectors.mode import remembered, store
    from connectors.slots import StoreError, read

    found = store(settings.data_dir, remembered(settings.mode, settings.data_dir))
    if read(found) is None:
        raise StoreError(f"{found} holds no store", hint="set mode or data_dir to where it is")
    return found


def turn(settings: "Settings") -> AbstractContextManager[None]:
    """Be the only one on this host that changes these tables without being their writer; others wait."""
    from connectors.slots import locked

    return locked(directory(settings), LOCK)


def policy_of(settings: "Settings") -> "Policy":
    """What the operator decided, and the time."""
    from operate.maintenance.jobs import Policy

    chosen = settings.lake
    return Policy(
        now=time.time_ns() // 1_000,
        retention_days=chosen.retention_days,
        reader_seconds=chosen.reader_seconds,
        tag_days=chosen.tag_days,
    )
