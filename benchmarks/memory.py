"""Whether memory grows with what was seen: twenty million trades through all steps of one process.

The process holds nothing but the steps and one batch, so that a byte kept of each trade would be a third of
what is measured. The baseline is taken when all that the steps keep for a while has been kept that long.
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.steps import FIRST_TIME, chain, frame, frames
from dataflows.steps.batch import batch_of
from dataflows.steps.windows import SECOND
from schemas import Frame

SYMBOLS = 50
TRADES = 20_000_000
# Of one turn; the next is the same trades with other ids and later times.
TURN = 10_000
# More than an hour passes in the first turns: bars are then let go as often as they come. Afterwards trades
# are dense, which saves CPU time: a bar costs as much as some ten trades.
EARLY_TURNS, EARLY_TURN_SECONDS = 100, 40
TURN_MICROSECONDS = 200_000
# So many are dense too when the baseline is taken: windows of more trades are somewhat longer.
SETTLED = 2_000_000
# Memory goes up and down with each batch: its height over so many trades counts.
LOOK_TRADES = 1_000_000
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
    fed = accepted = before = after = 0  # nothing is kept that grows
    for made in batches():
        batch = batch_of(made)
        for step in steps:
            batch = step(batch)
        accepted += batch.counts["trades"]
        fed += sum(one.kind == "data" for one in made)
        if settled - LOOK_TRADES < fed <= settled:
            before = max(before, resident())
        elif fed > trades - LOOK_TRADES:
            after = max(after, resident())
        if fed >= trades:
            break
    assert accepted == fed, f"{fed - accepted} trades were refused: this measures something else"
    return before, after, time.process_time()


def batches() -> Iterator[list[Frame]]:
    """The same trades turn after turn, later and with the ids that come next; and ticks."""
    parts = [PARTS.match(one.payload) for one in frames(SYMBOLS, TURN) if one.kind == "data"]
    cut = [(part[1], part[3], int(part[4]), part[5], part[7]) for part in parts if part]
    assert len(cut) == TURN
    a_turn = Counter(name for _, name, _, _, _ in cut)
    turn = position = second = 0
    now = FIRST_TIME
    while True:
        pause = (EARLY_TURN_SECONDS * SECOND if turn < EARLY_TURNS else TURN_MICROSECONDS) // TURN
        for start in range(0, TURN, BATCH_FRAMES):
            made: list[Frame] = []
            for head, name, given, middle, tail in cut[start : start + BATCH_FRAMES]:
                now += pause
                if now // SECOND > second:
                    second = now // SECOND
                    made.append(frame(position := position + 1, now, "tick", b'{"open":1}'))
                payload = b"%b%d%b%d%b%d%b" % (
                    head, now, name, given + turn * a_turn[name], middle, now, tail
                )  # fmt: skip
                made.append(frame(position := position + 1, now, "data", payload))
            yield made
        turn += 1


def resident() -> int:
    """Bytes of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    print(json.dumps(run(*map(int, sys.argv[1:]))))
