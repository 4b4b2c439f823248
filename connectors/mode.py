"""Live or simulated: asked of the venues once, said in one line, remembered in the data directory."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from connectors.resilience import Policy, Problem, ProblemKind
from connectors.rest import Rest, Unanswered
from connectors.venues.protocol import Venue

Kind = Literal["live", "simulated"]
Mode = Literal["auto", "live", "simulated"]

# Long enough for a slow line, short enough for somebody who waits to see something move.
PROBE_SECONDS = 3.0

# What usually keeps a venue from answering; of a certificate the details matter too.
PLAIN: dict[ProblemKind, str] = {
    "unresolved": "name not resolved",
    "refused": "connection refused",
    "timeout": "no answer in time",
    "cut": "connection cut",
    "tls": "TLS refused",
}


class Decision(NamedTuple):
    """Which kind of data is captured, and why, for a person."""

    kind: Kind
    said: str


def decide(mode: Mode, data_dir: Path, venues: Sequence[Venue]) -> Decision:
    """What `mode` means here and now; `auto` asks each venue's cheapest question.

    An existing live store never becomes simulated: there `auto` is live, and waits for the network like it.
    """
    if mode != "auto":
        decision = Decision(mode, f"mode is {mode}; data in {data_dir / mode}")
    elif store(data_dir, "live").exists():
        decision = Decision("live", f"continuing the live data in {store(data_dir, 'live')}")
    else:
        decision = judge(asyncio.run(ask_all(venues)), data_dir)
    remember(data_dir, decision.kind)
    return decision


def judge(problems: dict[str, str | None], data_dir: Path) -> Decision:
    """Live where a venue answered; else simulated, with what each venue's silence was."""
    answered = [name for name, problem in problems.items() if problem is None]
    if answered:
        return Decision("live", f"{', '.join(answered)} answered: live data in {store(data_dir, 'live')}")
    why = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    where = store(data_dir, "simulated")
    return Decision("simulated", f"no venue answered ({why}): running the simulator; data in {where}")


async def ask_all(venues: Sequence[Venue]) -> dict[str, str | None]:
    """By venue: None where it answered, else why it did not."""
    return dict(zip((venue.name for venue in venues), await asyncio.gather(*map(ask, venues)), strict=True))


async def ask(venue: Venue) -> str | None:
    policy = replace(Policy(), answer_seconds=PROBE_SECONDS)
    async with Rest(venue, policy) as rest:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                answer = await rest.ask(venue.alive, patience_seconds=PROBE_SECONDS)
        except Unanswered as error:
            return plain(error.problems[0]) if error.problems else "no answer"
        except TimeoutError:
            return f"no answer within {PROBE_SECONDS:.0f} s"
    return None if answer.status == 200 else f"HTTP {answer.status}"


def plain(problem: Problem) -> str:
    """Why there was no answer, for somebody who knows no system's error numbers."""
    said = PLAIN.get(problem.kind, problem.text)
    return f"{said} ({problem.text})" if problem.kind == "tls" else said


def store(data_dir: Path, kind: Kind) -> Path:
    """The directory of all data of that kind."""
    return data_dir / kind


def remember(data_dir: Path, kind: Kind) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "mode").write_text(f"{kind}\n")


def remembered(mode: Mode, data_dir: Path) -> Kind:
    """The kind of data that commands which only read should look at."""
    if mode != "auto":
        return mode
    try:
        last = (data_dir / "mode").read_text().strip()
    except FileNotFoundError:
        last = ""
    return "live" if last == "live" or (not last and store(data_dir, "live").exists()) else "simulated"
