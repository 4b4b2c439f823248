"""The last words of a run are the sums of what its batches counted."""

from connectors.slots import Slot
from connectors.source import Pulse
from dataflows.steps.batch import Batch
from dataflows.summary import Summary

SLOTS = (Slot(0, "binance-0", "k0"), Slot(1, "kraken-0", "k1"), Slot(2, "binance-1", "k2"))


def batch(shard: str, **counts: int) -> Batch:
    return Batch(shard, 1, 1, [], [], counts)


def test_each_venue_has_a_line_that_sums_its_shards() -> None:
    summary = Summary(SLOTS)
    parts = [summary.build_part("summarise", name, None) for name in summary.list_parts()]
    parts[0].write_batch([batch("binance-0", frames=1_000, trades=900, gaps_open=2), Pulse("binance-0")])
    parts[2].write_batch([batch("binance-1", frames=500, duplicates_same=3, duplicates_older=4)])
    parts[1].write_batch([batch("kraken-0", frames=7, dead_letters_malformed=1, dead_letters_crossed=1)])
    parts[0].write_batch([batch("binance-0", gaps_repaired=1, gaps_lost=1)])

    assert list(summary.lines()) == [
        "binance: 1,500 frames, 900 trades, 7 duplicates, 0 dead letters, "
        "2 gaps found, 1 gaps repaired, 1 gaps lost",
        "kraken: 7 frames, 0 trades, 0 duplicates, 2 dead letters, "
        "0 gaps found, 0 gaps repaired, 0 gaps lost",
    ]
