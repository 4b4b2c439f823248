"""What the repairer is told, and when."""

from dataflows.holes import Telling
from dataflows.steps.batch import Batch, batch_of
from dataflows.steps.gaps import DetectGaps, OpenHole
from schemas import Frame, Tick, Trade

SECOND = 1_000_000
START = 1_795_000_000 * SECOND


def trade(position: int, identifier: int) -> Trade:
    return Trade(
        f"binance:spot:BTC-USDT:0:{identifier}",
        str(identifier),
        "BTC-USDT",
        "binance",
        "crypto",
        START + identifier,
        "1",
        "1",
        "USDT",
        "BUY",
        (),
        identifier,
        START + position,
        position,
        None,
        first_sequence=identifier,
        last_sequence=identifier,
        series=0,
        origin="live",
        shard="binance-0",
    )


def batch(*records: Trade | Tick) -> Batch:
    frames = [
        Frame("binance", "binance-0", record.platform_sequence or 0, 1, 1, START, "data", b"")
        for record in records
    ]
    made = batch_of(frames)
    made.records = list(records)
    return made


def test_open_holes_are_told_with_each_tick_and_only_then() -> None:
    told: list[tuple[str, list[OpenHole], int, int]] = []
    step = Telling(
        DetectGaps(None, exchange="binance", continuity="contiguous"), lambda *all_: told.append(all_)
    )
    step.step(batch(trade(1, 10), trade(2, 13)))
    assert told == []
    step.step(batch(Tick("binance-0", 3, START + SECOND)))
    hole = ("binance", "BTC-USDT", 0, 11, 12, START + 2, START + 10)
    assert told == [("binance-0", [hole], 3, START + SECOND)]
    step.step(batch(trade(4, 11), trade(5, 12), Tick("binance-0", 6, START + 2 * SECOND)))
    assert told[1:] == [("binance-0", [], 6, START + 2 * SECOND)]


def test_the_step_within_keeps_its_state() -> None:
    step = Telling(DetectGaps(None, exchange="binance", continuity="contiguous"), lambda *_: None)
    step.step(batch(trade(1, 10), trade(2, 13)))
    again = DetectGaps(step.snapshot(), exchange="binance", continuity="contiguous")
    assert [hole[3:5] for hole in again.open_holes()] == [(11, 12)]
