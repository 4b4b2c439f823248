"""Kills the flow again and again and compares what it published with the straight run, record by record.

`make kill KILLS=n SEED=s`: so many kills with a simple sink that is exactly once, which proves the flow, and
so many with the lake and with Kafka, which prove the product. A round is one store from its first start to
the end of its journals: killed at any moment and at named places, as one process and as clusters of two and
three, in random order, now and then with an old copy of its recovery files. A round that differs is printed
with the command that repeats its plan.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from random import Random

import msgspec
from msgspec.structs import replace

from benchmarks import figures
from connectors import failpoints
from tests.campaigns.kafka_servers import bus, without_topics
from tests.campaigns.recorded import record
from tests.campaigns.rounds import KILLS_MAX, MEMORY, PATIENCE_SECONDS, Hung, Result, Round, fork, wait
from tests.campaigns.running import Job
from tests.campaigns.verifying import Verdict, verify, watch
from tests.services.lakes import KINDS, servers
from tests.services.programs import NotHere

SHARDS = ("binance-0", "binance-1", "binance-2", "binance-3")
FRAMES = 6_000


class Sink(msgspec.Struct, frozen=True):
    """What is behind the flow."""

    figures: str  # the name of the file that they are written to
    places: list[str]  # where its processes come by
    seconds_max: float  # in which most of a start's work is done
    watched: bool = False
    stages: tuple[str, ...] = ()  # how the places begin that no campaign may leave out
    frames: int = FRAMES


def places(*others: str) -> list[str]:
    """All names but those of what is not in this flow."""
    elsewhere = ("journal.", "recover.", "reset.", "maintain.", *others)
    return [name for name in failpoints.NAMES if not name.startswith(elsewhere)]


SINKS = {
    "files": Sink("kill", places("iceberg.", "tail.", "kafka."), 1.2),
    "lake": Sink("kill-sink", places("sink.", "kafka."), 2.5, watched=True, stages=("iceberg.", "tail.")),
    "kafka": Sink("kill-kafka", places("iceberg.", "tail.", "sink."), 4.0, stages=("kafka.",), frames=3_000),
    # Wrong on purpose: a campaign that cannot tell proves nothing of the others. It commits once for a batch.
    "naive": Sink("", places("iceberg.", "tail.", "sink.", "kafka."), 2.5, frames=300),
}
NAIVE, NAIVE_KILLS = "naive", 20
KAFKA = "kafka"
# Rounds after the last kill that was asked for, until all stages of a commit were struck.
ROUNDS_MORE = 10


class Campaign:
    """Rounds until so many kills are done."""

    def __init__(
        self, sink: str, catalog: str, *, kills: int, seed: int, frames: int | None, places: list[str]
    ) -> None:
        self.name, self.sink, self.catalog = sink, SINKS[sink], catalog
        self.kills, self.seed, self.frames = kills, seed, frames or self.sink.frames
        self.places = places or Random(seed).sample(self.sink.places, len(self.sink.places))
        self.told = bool(places)
        self.again = f"python -m tests.campaigns.kill --sink {sink} --kills {kills} --seed {seed}"
        self.again += f" --frames {self.frames}" + (f" --catalog {catalog}" if sink == "lake" else "")
        self.result = Result()

    @property
    def missed(self) -> list[str]:
        """Stages of the commit at which nobody was killed yet; of a campaign for a few kills all may be."""
        if self.told or not self.sink.stages or self.kills < KILLS_MAX:
            return []
        stages = [name for name in self.places if name.startswith(self.sink.stages)]
        return [name for name in stages if not self.result.places[name]]

    def next_places(self) -> list[str]:
        """Where a round strikes, in this order: first where none did so far, stages before others."""
        if self.told:
            return self.places
        struck = self.result.places
        return sorted(self.places, key=lambda name: (struck[name], not name.startswith(self.sink.stages)))

    def run(self, only: int | None = None) -> Result:
        """All rounds, or only that one."""
        memory = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        topics = bus() if self.name == KAFKA else nullcontext(("", ""))
        with memory as name, servers() as started, topics as (brokers, registry):
            folder, number = Path(name), only or 0
            record(folder / "template", SHARDS, self.frames, self.seed)
            more = ROUNDS_MORE
            while only is not None or self.result.kills < self.kills or (self.missed and more):
                if self.name == NAIVE and self.result.is_caught:
                    break
                before = self.result.kills
                more -= before >= self.kills
                place = started.place(self.catalog)
                job = Job("", sink=self.name, catalog=place.catalog, warehouse=place.warehouse)
                job = replace(job, brokers=brokers, registry=registry)
                self.round(folder, number, replace(job, access=place.access))
                number += 1
                if only is not None or (self.result.failures and self.result.kills == before):
                    break
        return self.result

    def round(self, folder: Path, number: int, job: Job) -> None:
        """One store, and what became of it."""
        result, directory, places = self.result, folder / f"round-{number}", self.next_places()
        one = Round(
            directory,
            folder / "template",
            number,
            seed=self.seed,
            kills_max=min(KILLS_MAX, max(self.kills - result.kills, len(self.missed))),
            places=places,
            seconds_max=self.sink.seconds_max,
            result=result,
        )
        found = Verdict()
        try:
            self.watched(one, job)
            found = verified(one, replace(job, directory=str(directory)))
        except Hung as error:
            found.problems += (str(error),)
        result.rounds += 1
        result.lost, result.doubled = result.lost + found.lost, result.doubled + found.doubled
        if found.problems:
            again = f"again: {self.again} --round {number} --places {' '.join(places)}"
            result.failures.append("\n  ".join((f"round {number}:", *found.problems, again)))
        if self.name == KAFKA:
            remove_topics(job)
        print(f"round {number}: {result.kills} kills, {found.lost} lost, {found.doubled} doubled", flush=True)
        shutil.rmtree(directory)

    def watched(self, one: Round, job: Job) -> None:
        """Run a round, where it can be read with a reader beside it."""
        if not self.sink.watched:
            one.run(job, SHARDS)
            return
        reader = fork(lambda: watch(replace(job, directory=str(one.directory))), "", one.log)
        try:
            one.run(job, SHARDS)
        finally:
            (one.directory / "done").touch()
            code = wait([reader], PATIENCE_SECONDS)
        if code != {reader: 0}:
            raise Hung(f"the reader failed: {one.last_words()}")
        one.result.polls += int((one.directory / "polls").read_text())


def remove_topics(job: Job) -> None:
    """Let the next round find none: its store has the same name."""
    process = fork(lambda: without_topics(job), "", None)
    if wait([process], PATIENCE_SECONDS) != {process: 0}:
        raise Hung("topics cannot be removed")


def verified(one: Round, job: Job) -> Verdict:
    """What a process of its own makes of a store."""
    path = one.directory / "verdict"
    process = fork(lambda: path.write_bytes(msgspec.json.encode(verify(job))) and None, "", one.log)
    if wait([process], PATIENCE_SECONDS) != {process: 0}:
        raise Hung(one.last_words())
    return msgspec.json.decode(path.read_bytes(), type=Verdict)


def write_figures(campaign: Campaign) -> None:
    """What `make kill` leaves for comparison; other catalogs' figures stay, and are part of the sums."""
    result, sums = campaign.result, ("kills", "lost", "doubled", "failures", "rounds", "polls")
    own = {name: getattr(result, name) for name in sums} | {"failures": len(result.failures)}
    own |= {"seed": campaign.seed} | {f"kills_at {place}": number for place, number in result.places.items()}
    path = figures.FOLDER / f"{campaign.sink.figures}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept = {name: value for name, value in kept.items() if name.partition(" ")[0] in KINDS}
    kept = {name: value for name, value in kept.items() if not name.startswith(f"{campaign.catalog} ")}
    kept |= {f"{campaign.catalog} {name}": value for name, value in own.items()}
    totals = {name: sum(kept.get(f"{each} {name}", 0) for each in KINDS) for name in sums}
    figures.write(campaign.sink.figures, totals | {"seed": campaign.seed} | kept)


def command() -> int:
    """The campaigns as a program."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.kill")
    parser.add_argument("--sink", choices=list(SINKS), action="append", help="only behind this one")
    parser.add_argument("--catalog", choices=KINDS, default="sqlite", help="of the lake")
    parser.add_argument("--kills", type=int, default=100, help="for each sink")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--round", type=int, default=None, help="only this one")
    parser.add_argument(
        "--places",
        nargs="+",
        default=[],
        choices=failpoints.NAMES,
        help="strike only there, and at any moment",
    )
    parser.add_argument("--frames", type=int, default=None, help="of each shard, in a round")
    parser.add_argument("--no-figures", action="store_true")
    said = parser.parse_args()
    seed = Random().randrange(2**32) if said.seed is None else said.seed
    failed = 0
    for sink in said.sink or SINKS:
        kills = min(said.kills, NAIVE_KILLS) if sink == NAIVE else said.kills
        campaign = Campaign(
            sink, said.catalog, kills=kills, seed=seed, frames=said.frames, places=said.places
        )
        try:
            failed += report(campaign, said.round)
        except NotHere as error:
            print(f"{sink}: NOT PROVED: {error}", flush=True)
            continue
        if not said.no_figures and said.round is None and campaign.sink.figures:
            write_figures(campaign)
    return 1 if failed else 0


def report(campaign: Campaign, only: int | None) -> int:
    """Run a campaign and say what it found; how much failed."""
    began = time.monotonic()
    result = campaign.run(only)
    if missed := [] if only is not None else campaign.missed:
        result.failures.append(f"never struck: {', '.join(missed)}")
    for failure in result.failures:
        print(failure)
    starts = ", ".join(f"{count} with {size}" for size, count in sorted(result.processes.items()))
    print(f"{campaign.name}: processes: {starts}; places: {dict(result.places.most_common())}")
    print(
        f"{campaign.name}: kills {result.kills}, rounds {result.rounds}, lost {result.lost}, "
        f"doubled {result.doubled}, failures {len(result.failures)}, old copies restored {result.restored}, "
        f"looks {result.polls}, seed {campaign.seed}, {time.monotonic() - began:.0f} s",
        flush=True,
    )
    if campaign.name != NAIVE:
        return len(result.failures)
    print(
        f"naive: {'caught' if result.is_caught else 'NOT CAUGHT: this campaign proves nothing'}", flush=True
    )
    return int(not result.is_caught)


if __name__ == "__main__":
    sys.exit(command())
