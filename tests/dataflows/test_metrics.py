"""Metrics against the stream they were counted from: exact numbers, sums that agree, closed labels."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from connectors.capture import CaptureStatus, KeeperStatus, ShardStatus
from connectors.connection import ConnectionStatus
from connectors.intake import IntakeStatus
from connectors.source import PartitionStatus
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument
from dataflows.chain import chain
from dataflows.metrics import METRICS, OTHER, SYMBOLS_MAX, Metrics
from dataflows.steps.batch import Batch, batch_of
from schemas import Bar, Control, DeadLetter, Frame, Quote, StaleWindow, Trade
from schemas.health import Gap
from tests.campaigns.recorded import entries

NOW = 1_700_000_000_000_000
SECOND = 1_000_000

Labels = dict[str, str]


def metrics(**given: Any) -> Metrics:
    return Metrics(version="1.2.3", venues=VENUES, clock=lambda: NOW, **given)


def scraped(found: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample as a scraper reads it."""
    text = generate_latest(found.registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Metrics, name: str, **labels: str) -> float:
    return scraped(found)[name, frozenset(labels.items())]


def by(found: Metrics, name: str, label: str, **labels: str) -> dict[str, float]:
    """The samples of a name that are not nought, by one label, where the others are as given."""
    return {
        told[label]: number
        for (called, given), number in scraped(found).items()
        if called == name and (told := dict(given)) and labels.items() <= told.items() and number
    }


def batches(frames: list[Frame], size: int) -> Iterator[Batch]:
    """What leaves the last step."""
    steps = [begin(frames[0].shard, None) for begin in chain(VENUES)]
    for start in range(0, len(frames), size):
        batch = batch_of(frames[start : start + size])
        for step in steps:
            batch = step.step(batch)
        yield batch


def framed(found: list[tuple[int, int, int, Any, bytes]]) -> list[Frame]:
    return [
        Frame("binance", "binance-0", position, connection, number, received, kind, payload)
        for position, (received, connection, number, kind, payload) in enumerate(found, 1)
    ]


def decoded(frames: list[Frame]) -> int:
    """How many messages decoding makes of the frames of one shard, counted without any step."""
    listed: dict[str, Any] = {}
    venue, messages = VENUES[frames[0].exchange], 0
    for frame in frames:
        if frame.kind == "metadata":
            listed = {one.native: one for one in msgspec.json.decode(frame.payload, type=list[Instrument])}
            messages += 1
        elif frame.kind == "repair":
            messages += len(venue.decode_page(frame, listed).records)
        elif frame.kind in ("data", "control"):
            messages += len(venue.decode(frame, listed))
    return messages


@pytest.mark.parametrize("size", [1, 100])
def test_what_was_decoded_is_the_sum_of_the_outcomes(size: int, seed: int) -> None:
    frames = framed(entries("binance-0", 3_000, seed))
    found = metrics()
    for batch in batches(frames, size):
        found.observe(batch)
    outcomes = by(found, "tape_messages_total", "outcome", venue="binance")
    assert set(outcomes) == {"accepted", "dead_letter", "duplicate", "control"}
    assert sum(outcomes.values()) == decoded(frames)
    assert sum(by(found, "tape_dead_letters_total", "reason").values()) == outcomes["dead_letter"]
    assert sum(by(found, "tape_duplicates_total", "reason").values()) == outcomes["duplicate"]
    kinds = by(found, "tape_frames_total", "kind", venue="binance")
    assert kinds == {kind: sum(one.kind == kind for one in frames) for kind in {one.kind for one in frames}}
    bytes_of_frames = value(found, "tape_frame_bytes_total", venue="binance")
    assert bytes_of_frames == sum(len(one.payload) for one in frames)


def test_how_the_journal_was_cut_changes_no_counter(seed: int) -> None:
    frames = framed(entries("binance-0", 1_000, seed))
    totals = []
    for size in (1, 7, 1_000):
        found = metrics()
        for batch in batches(frames, size):
            found.observe(batch)
        totals.append({key: number for key, number in scraped(found).items() if key[0].startswith("tape_")})
    assert totals[0] == totals[1] == totals[2]


def trade(identifier: int, time: int, symbol: str = "BTC-USDT", origin: str = "live") -> Trade:
    return Trade(
        message_id=f"binance:spot:{symbol}:0:{identifier}",
        trade_id=str(identifier),
        symbol=symbol,
        exchange="binance",
        asset_class="crypto",
        timestamp=time,
        price="1",
        quantity="1",
        currency="USDT",
        side="BUY",
        trade_conditions=(),
        source_sequence=identifier,
        ingestion_timestamp=NOW,
        platform_sequence=1,
        vendor_data=None,
        origin=origin,  # type: ignore[arg-type]
    )


def gap(status: str, first: int, last: int, ended: int | None = None) -> Gap:
    return Gap(
        message_id="", gap_id="", exchange="binance", asset_class="crypto", market="spot", symbol="BTC-USDT",
        series=0, first_missing=first, last_missing=last, status=status,  # type: ignore[arg-type]
        reason="ids", found=NOW - 20 * SECOND, ended=ended, shard="binance-0", platform_sequence=1,
    )  # fmt: skip


def bar(interval: str, revision: int) -> Bar:
    texts = dict.fromkeys(
        ("open", "high", "low", "close", "volume", "notional", "vwap", "taker_buy_volume"), "1"
    )
    return Bar(
        message_id="", symbol="BTC-USDT", exchange="binance", asset_class="crypto", interval=interval,
        window_start=0, window_end=1, trade_count=1, taker_buy_count=1, first_trade_id="1", last_trade_id="1",
        missing=0, revision=revision, currency="USDT", market="spot", base_asset="BTC", quote_asset="USDT",
        shard="binance-0", platform_sequence=1, **texts,
    )  # fmt: skip


def batch_with(*records: Any, **counts: int) -> Batch:
    frame = Frame("binance", "binance-0", 1, 1, 1, NOW, "data", b"12345")
    return Batch("binance-0", 1, 1, [frame], list(records), counts)


def test_rows_of_the_steps_are_counted_by_what_they_say() -> None:
    found = metrics()
    stale = StaleWindow("binance", "spot", "BTC-USDT", "1m", 0, "binance-0", 1)
    said = Control("binance", "binance-0", 1, NOW, "heartbeat")
    rows = [gap("open", 5, 9), gap("repaired", 5, 7, NOW), gap("lost", 8, 9, NOW), bar("1m", 0), bar("1m", 2)]
    found.observe(batch_with(*rows, stale, said, duplicates_overlap=3, sequence_jumps=2))
    assert by(found, "tape_gaps_total", "status") == {"open": 1, "repaired": 1, "lost": 1}
    assert by(found, "tape_gap_ids_total", "status") == {"open": 5, "repaired": 3, "lost": 2}
    assert by(found, "tape_bars_total", "issue", interval="1m") == {"first": 1, "again": 1}
    assert value(found, "tape_stale_windows_total", venue="binance") == 1
    assert by(found, "tape_messages_total", "outcome") == {"control": 1, "duplicate": 3}
    assert by(found, "tape_series_ends_total", "cause") == {"jumps": 2}
    # 20 seconds from the finding to the end.
    steps = by(found, "tape_repair_seconds_bucket", "le", venue="binance")
    assert steps == {"30.0": 1, "60.0": 1, "300.0": 1, "900.0": 1, "+Inf": 1}
    assert value(found, "tape_repair_seconds_sum", venue="binance") == 20


def test_latency_is_that_of_live_trades_to_the_microsecond() -> None:
    found = metrics()
    found.observe(
        batch_with(
            trade(1, NOW - 5_000),  # on a bound, which counts as within
            trade(2, NOW - 5_001),
            trade(3, NOW + 100),  # the venue's clock is ahead
            trade(4, NOW - 700 * SECOND),
            trade(5, NOW - 2 * SECOND, origin="repair"),
        )
    )
    steps = by(found, "tape_event_to_decoded_seconds_bucket", "le", venue="binance")
    assert (steps["0.005"], steps["0.01"], steps["600.0"], steps["+Inf"]) == (2, 3, 3, 4)
    assert value(found, "tape_event_to_decoded_seconds_sum", venue="binance") == pytest.approx(700.010001)


def test_a_trade_is_late_behind_the_newest_of_its_own_symbol() -> None:
    found = metrics()
    found.observe(batch_with(trade(1, NOW), trade(1, NOW - 60 * SECOND, "ETH-USDT")))
    found.observe(
        batch_with(
            trade(2, NOW - 5 * SECOND),  # as old as is still waited for
            trade(3, NOW - 5 * SECOND - 1),
            trade(4, NOW - 9 * SECOND, origin="repair"),
            trade(2, NOW - 62 * SECOND, "ETH-USDT"),
        )
    )
    assert value(found, "tape_late_trades_total", venue="binance") == 2


def test_ages_of_symbols_have_a_limit_beyond_which_the_stalest_speaks() -> None:
    found = metrics()
    symbols = [f"S{number}-USDT" for number in range(SYMBOLS_MAX + 3)]
    found.observe(
        batch_with(*(trade(1, NOW - at * SECOND, symbol) for at, symbol in enumerate(symbols, start=1)))
    )
    ages = by(found, "tape_last_trade_age_seconds", "symbol", venue="binance")
    assert len(ages) == SYMBOLS_MAX + 1
    assert (ages["S0-USDT"], ages[OTHER]) == (1, SYMBOLS_MAX + 3)


def captured(**connection: Any) -> CaptureStatus:
    intake = IntakeStatus(700, 1_000, 7, {"append": "disk full"}, "", 501, 400)
    keepers = (
        KeeperStatus((ConnectionStatus(1, "wss://a", "open", 9, 90, NOW, NOW - 3 * SECOND),), 0.0, 0, "",
                     {"cut": 2}, 4),
        KeeperStatus((), 1.5, 3, "refused: no", {"cut": 1, "refused": 5}, 0),
    )  # fmt: skip
    shard = ShardStatus("binance", "binance-0", ("BTC-USDT",), intake, keepers)
    return CaptureStatus(True, "", (shard,), {"wss://a": "half_open"})


def test_what_runs_beside_the_stream_is_asked_when_scraped() -> None:
    partition = PartitionStatus("binance-0", 480, 300, stall_seconds=0.2, stall_seconds_total=1.7, pauses=6)
    partition.outage = "no space"
    found = metrics(partitions=lambda: [partition])
    found.capture = captured
    found.durable("binance-0")
    found.holes(
        "binance-0", [("binance", "BTC-USDT", 0, 5, 9, NOW, NOW), ("binance", "X", 0, 1, 1, NOW, NOW)]
    )
    place = {"venue": "binance", "shard": "binance-0"}
    assert by(found, "tape_connections", "state", **place) == {"open": 1, "backoff": 1}
    assert by(found, "tape_connection_ends_total", "problem", **place) == {"cut": 3, "refused": 5}
    assert by(found, "tape_breaker_state", "state", endpoint="wss://a") == {"half_open": 1}
    assert by(found, "tape_brake", "brake", **place) == {"append": 1}
    expected = {
        "tape_rotations_total": 4,
        "tape_reconnect_delay_seconds": 1.5,
        "tape_connect_failures": 3,
        "tape_last_data_age_seconds": 3,
        "tape_queue_frames": 7,
        "tape_queue_bytes": 700,
        "tape_journal_position": 500,
        "tape_journal_durable_position": 400,
        "tape_flow_position": 480,
        "tape_flow_lag_frames": 20,
        "tape_flow_durable_position": 300,
        "tape_durable_epoch_age_seconds": 0,
        "tape_epochs_total": 1,
        "tape_epoch_stall_seconds": 0.2,
        "tape_epoch_stall_seconds_total": 1.7,
        "tape_epoch_pauses_total": 6,
        "tape_flow_waits_for_disk": 1,
    }
    assert {name: value(found, name, **place) for name in expected} == expected
    assert value(found, "tape_gaps_open", venue="binance") == 2
    assert value(found, "tape_gap_ids_open", venue="binance") == 6
    assert value(found, "tape_build_info", version="1.2.3") == 1


def test_every_metric_has_the_form_that_prometheus_asks_for() -> None:
    found = metrics(partitions=lambda: [PartitionStatus("binance-0", 1, 1)])
    found.capture = captured
    frames = [trade(1, NOW), gap("open", 1, 1), bar("1s", 0)]
    found.observe(batch_with(*frames))
    told = {
        family.name: family
        for family in text_string_to_metric_families(generate_latest(found.registry).decode())
    }
    ours = {name for name in told if name.startswith("tape_")}
    assert ours == {name.removesuffix("_total") for name in METRICS}
    for name, (labels, meaning) in METRICS.items():
        samples = told[name.removesuffix("_total")].samples
        assert {label for sample in samples for label in sample.labels} - {"le"} <= set(labels)
        assert meaning.endswith(".")
        assert ("symbol" in labels) == (name == "tape_last_trade_age_seconds")
    assert "process_resident_memory_bytes" in told


def test_counters_that_have_counted_nothing_are_there() -> None:
    found = scraped(metrics())
    for venue in VENUES:
        for outcome in ("accepted", "dead_letter", "duplicate", "control"):
            key = "tape_messages_total", frozenset({"venue": venue, "outcome": outcome}.items())
            assert found[key] == 0
    assert not [key for key in found if key[0] == "tape_capture_alive"]


def test_dead_letters_and_quotes_are_messages_too() -> None:
    found = metrics()
    letter = DeadLetter("", "binance", "decode", "malformed", "", None, "binance-0", 1, 1, 1, 0, NOW, b"")
    offer = Quote(
        "", "", "BTC-USDT", "binance", "crypto", NOW, "1", "1", None, None, "USDT", None, NOW, 1, None
    )
    found.observe(batch_with(letter, offer, offer))
    assert by(found, "tape_messages_total", "outcome") == {"dead_letter": 1, "accepted": 2}
    assert by(found, "tape_dead_letters_total", "reason") == {"malformed": 1}
