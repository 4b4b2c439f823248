"""How fast the steps are: decode to bars, and what each step costs, in CPU time of one process."""

import random
import time
from collections.abc import Callable
from typing import Any

from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, instrument
from dataflows.steps.bars import Aggregate
from dataflows.steps.batch import Batch, batch_of
from dataflows.steps.decode import Decode
from dataflows.steps.duplicates import DropDuplicates
from dataflows.steps.gaps import DetectGaps
from dataflows.steps.validate import Validate
from schemas import Frame

SEED = 1
FIRST_TIME = 1_760_000_000_000_000
# In event time: a market that needs such a speed. It decides how many trades share a window.
TRADES_PER_SECOND = 100_000


def frames(symbols: int, trades: int, seed: int = SEED) -> list[Frame]:
    """Binance trade frames with a tick every second; few symbols have most trades, sizes often repeat."""
    chance = random.Random(seed)
    weights = [1 / (1 + one) ** 0.7 for one in range(symbols)]
    names = chance.choices(range(symbols), weights, k=trades)
    ids, prices = [1_000_000] * symbols, [1_000_000 + 1_000 * one for one in range(symbols)]
    made: list[Frame] = []
    for number, one in enumerate(names):
        now = FIRST_TIME + number * 1_000_000 // TRADES_PER_SECOND
        if number % TRADES_PER_SECOND == 0:
            made.append(frame(len(made) + 1, now, "tick", b'{"open":1}'))
        ids[one] += 1
        prices[one] += chance.randint(-2, 2)
        size = chance.choice((1_000, 5_000, 10_000)) if chance.random() < 0.5 else chance.randint(1, 10**7)
        payload = (
            f'{{"stream":"s{one}usdt@trade","data":{{"e":"trade","E":{now + 900},"s":"S{one}USDT",'
            f'"t":{ids[one]},"p":"{prices[one] // 100}.{prices[one] % 100:02d}000000",'
            f'"q":"{size // 10**5}.{size % 10**5:05d}000","T":{now},'
            f'"m":{"true" if number & 1 else "false"},"M":true}}}}'
        )
        made.append(frame(len(made) + 1, now + 2_000, "data", payload.encode()))
    return made


def frame(position: int, received: int, kind: Any, payload: bytes) -> Frame:
    return Frame("binance", "binance-0", position, FIRST_TIME, position, received, kind, payload)


def instruments(symbols: int) -> dict[str, Instrument]:
    return {f"S{one}USDT": instrument("binance", f"S{one}USDT", f"S{one}", "USDT") for one in range(symbols)}


def chain(symbols: int) -> list[tuple[str, Callable[[Batch], Batch]]]:
    """The steps in order, by name."""
    venue = VENUES["binance"]
    decode = Decode(
        None,
        instruments=instruments(symbols),
        instrument=Instrument,
        decode_many=venue.decode_many,
        decode_page=lambda frame, listed: venue.decode_page(frame, listed).records,
        decode_metadata=venue.decode_metadata,
    )
    return [
        ("decode", decode.step),
        ("detect_gaps", DetectGaps(None, exchange="binance", continuity="contiguous").step),
        ("validate", Validate(None).step),
        ("drop_duplicates", DropDuplicates(None, continuity="contiguous").step),
        ("aggregate", Aggregate(None, continuity="contiguous").step),
    ]


def run(made: list[Frame], symbols: int, size: int) -> dict[str, float]:
    """Nanoseconds of CPU per trade of each step."""
    steps = chain(symbols)
    spent = dict.fromkeys([name for name, _ in steps], 0)
    clock = time.process_time_ns
    for start in range(0, len(made), size * 10):
        batches = [
            batch_of(made[at : at + size]) for at in range(start, min(start + size * 10, len(made)), size)
        ]
        for name, step in steps:
            before = clock()
            for batch in batches:
                step(batch)
            spent[name] += clock() - before
    trades = sum(one.kind == "data" for one in made)
    return {name: nanoseconds / trades for name, nanoseconds in spent.items()}


def through(made: list[Frame], symbols: int, size: int) -> float:
    """Trades per second of CPU through the whole chain, batch after batch as the flow does it."""
    steps = [step for _, step in chain(symbols)]
    cuts = [made[at : at + size] for at in range(0, len(made), size)]
    before = time.process_time()
    for cut in cuts:
        batch = batch_of(cut)
        for step in steps:
            step(batch)
    return sum(one.kind == "data" for one in made) / (time.process_time() - before)


def measure(trades: int = 200_000, rounds: int = 3) -> dict[str, float]:
    """All figures; each is the best of the rounds, because others use the machine too."""
    few, many = frames(50, trades), frames(1_000, trades)
    figures = {
        "decode_to_bars_trades_per_second": max(through(few, 50, 100) for _ in range(rounds)),
        "decode_to_bars_batch_1000_trades_per_second": max(through(few, 50, 1_000) for _ in range(rounds)),
        "decode_to_bars_batch_10_trades_per_second": max(through(few, 50, 10) for _ in range(rounds)),
        "decode_to_bars_1000_symbols_trades_per_second": max(
            through(many, 1_000, 100) for _ in range(rounds)
        ),
    }
    results = [run(few, 50, 100) for _ in range(rounds)]
    for name in results[0]:
        figures[f"{name}_nanoseconds_per_trade"] = min(one[name] for one in results)
    return figures


if __name__ == "__main__":
    for figure, value in measure().items():
        print(f"{figure:50} {value:12,.0f}")
