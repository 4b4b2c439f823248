"""Whether memory grows with what was seen: twenty million trades through all steps of one process."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.steps import chain, frame, frames
from dataflows.steps.batch import batch_of
from schemas import Frame

SYMBOLS = 50
TRADES = 20_000_000
# By then everything that is kept for a while has been kept that long once.
SETTLED = 2_000_000
# Of one turn; the next is the same trades with other ids and later times.
TURN = 100_000
# Until SETTLED more than an hour passes, so that bars are let go as often as they come; then time is saved.
EARLY_TURN_SECONDS, TURN_SECONDS = 200, 20
# Memory goes up and down with each turn: its height over so many of them counts.
LOOK_TURNS = 10
BATCH_FRAMES = 1_000
PARTS = re.compile(rb'^(.*"E":)(\d+)(,"s":"\w+","t":)(\d+)(,.*"T":)(\d+)(,.*)$')


def measure(trades: int = TRADES, settled: int = SETTLED) -> dict[str, float]:
    """Resident memory before and after, and how much it grew."""
    command = [sys.executable, "-m", "benchmarks.memory", str(trades), str(settled)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    before, after, seconds = json.loads(said)
    return {
        "rss_settled_megabytes": before / 1e6,
        "rss_end_megabytes": after / 1e6,
        "rss_growth_percent": (after / before - 1) * 100,
        "rss_trades": trades,
        "rss_cpu_seconds": seconds,
    }


def run(trades: int, settled: int) -> tuple[int, int, float]:
    """Resident bytes at their highest just before so many trades, and before the end; and the CPU time."""
    steps = [step for _, step in chain(SYMBOLS)]
    fed = accepted = 0
    heights: list[int] = []
    for made in turns(settled // TURN):
        for start in range(0, len(made), BATCH_FRAMES):
            batch = batch_of(made[start : start + BATCH_FRAMES])
            for step in steps:
                batch = step(batch)
            accepted += batch.counts["trades"]
        fed += TURN
        heights.append(resident())
        if fed >= trades:
            break
    assert accepted == fed, f"{fed - accepted} trades were refused: this measures something else"
    early = heights[max(0, settled // TURN - LOOK_TURNS) : settled // TURN]
    return max(early), max(heights[-LOOK_TURNS:]), time.process_time()


def turns(early: int) -> Iterator[list[Frame]]:
    """The same hundred thousand trades again and again, later and with the ids that come next; and ticks."""
    made = [one for one in frames(SYMBOLS, TURN) if one.kind == "data"]
    parts, began = [PARTS.match(one.payload) for one in made], made[0].received
    cut = [part.groups() for part in parts if part]
    assert len(cut) == TURN
    ids: dict[bytes, int] = {}
    for _, _, name, _, _, _, _ in cut:
        ids[name] = ids.get(name, 0) + 1
    turn = position = 0
    while True:
        seconds = EARLY_TURN_SECONDS if turn < early else TURN_SECONDS
        made = []
        for number, (head, _, name, given, middle, _, tail) in enumerate(cut):
            now = began + number * seconds * 1_000_000 // TURN
            if number % (TURN // seconds) == 0:
                made.append(frame(position + len(made) + 1, now, "tick", b'{"open":1}'))
            at = position + len(made) + 1
            payload = b"%b%d%b%d%b%d%b" % (
                head, now, name, int(given) + turn * ids[name], middle, now, tail
            )  # fmt: skip
            made.append(frame(at, now, "data", payload))
        yield made
        turn, position, began = turn + 1, position + len(made), began + seconds * 1_000_000


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
