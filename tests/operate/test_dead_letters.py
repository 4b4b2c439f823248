"""`tape dead-letters` over a journal with one refusal of each stage: listed, shown, tried again."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bytewax.recovery import init_db_dir

from connectors.blocks import Entry
from connectors.journal import Journal
from connectors.journal_reader import JournalReader
from connectors.segments import segment_paths
from connectors.slots import open_store
from connectors.venues import VENUES
from connectors.venues.protocol import instrument
from operate import cli
from tests.campaigns.kept import flow

NOW = 1_700_000_000_000_000
SECOND = 1_000_000
LISTED = instrument("binance", "BTCUSDT", "BTC", "USDT")
CONNECTION = NOW - 3_600 * SECOND


def trade(identifier: int, price: str) -> bytes:
    time = NOW // 1_000
    return (
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{time},"s":"BTCUSDT","t":{identifier},'
        f'"p":"{price}","q":"1.00000000","T":{time},"m":true,"M":true}}}}'
    ).encode()


PAYLOADS = [
    trade(7, "5.00000000"),  # 2
    trade(8, "0.00000000"),  # 3: validate
    trade(7, "6.00000000"),  # 4: drop_duplicates
    b"\xff\x1b[31m",  # 5: decode
    trade(8, "5.00000000"),  # 6
    trade(9, "-1.00000000"),  # 7: validate
    trade(8, "5.00000000"),  # 8: a duplicate
]


def entries() -> list[Entry]:
    listed: list[Entry] = [(NOW, 0, 1, "metadata", msgspec.json.encode((LISTED,)))]
    return listed + [
        (NOW + at * SECOND, CONNECTION, at, "data", payload) for at, payload in enumerate(PAYLOADS, start=2)
    ]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "data" / "simulated" / "journal" / "binance-0"
    with_journal(directory, entries())
    return directory


def with_journal(directory: Path, found: list[Entry]) -> None:
    journal = Journal.open(directory, exchange="binance", shard="binance-0", now=NOW, segment_bytes_max=1)
    for entry in found:
        journal.append([entry])
    journal.close()


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert cli.run(["dead-letters", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_letters_of_every_stage_are_counted_with_the_newest(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = told(capsys, "list")
    assert [tuple(row.values())[:6] for row in rows] == [
        ("binance", "validate", "not_positive", 2, "2023-11-14T22:13:27.000000Z", "binance:binance-0:7:0"),
        ("binance", "drop_duplicates", "conflict", 1, "2023-11-14T22:13:24.000000Z", "binance:binance-0:4:0"),
        ("binance", "decode", "malformed", 1, "2023-11-14T22:13:25.000000Z", "binance:binance-0:5:0"),
    ]
    assert rows[0]["detail"] == "price is -1.00000000"


@pytest.mark.parametrize(
    ("arguments", "positions"),
    [
        ([], [3, 4, 5, 7]),
        (["--reason", "not_positive"], [3, 7]),
        (["--since", "2023-11-14T22:13:25Z"], [5, 7]),
        (["--since", str(NOW + 7 * SECOND + 1)], []),
        (["--venue", "binance"], [3, 4, 5, 7]),
        (["--venue", "kraken"], []),
    ],
)
def test_letters_can_be_chosen(
    directory: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], positions: list[int]
) -> None:
    rows = told(capsys, "list", "--each", *arguments)
    assert [row["message_id"] for row in rows] == [f"binance:binance-0:{at}:0" for at in positions]


def test_a_letter_is_shown_with_its_place_and_bytes(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = told(capsys, "show", "binance:binance-0:3:0")
    assert shown["payload"] == PAYLOADS[1].decode()
    places = ("connection", "number", "shard", "platform_sequence", "index", "stage", "reason")
    assert [shown[name] for name in places] == [
        CONNECTION,
        3,
        "binance-0",
        3,
        0,
        "validate",
        "not_positive",
    ]
    assert cli.run(["dead-letters", "show", "binance:binance-0:5:0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "reason:            malformed" in lines
    assert "payload_base64:    /xtbMzFt" in lines


def test_what_is_no_dead_letter_is_said(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, words in {
        "binance:binance-0:2:0": "binance:binance-0:2:0 is no dead letter",
        "binance:binance-0:99:0": "the journal does not hold that frame",
        "binance:binance-1:2:0": "unknown shard",
        "nonsense": "'nonsense' is no id of a dead letter",
    }.items():
        assert cli.run(["dead-letters", "show", wrong]) == 2
        assert words in capsys.readouterr().err


def test_retry_says_what_the_code_of_today_makes_of_it(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [f"binance:binance-0:{position}:{index}" for position, index in ((7, 0), (6, 0), (8, 0), (6, 1))]
    rows = told(capsys, "retry", *asked, code=1)
    assert [tuple(row.values()) for row in rows] == [
        (asked[0], "dead_letter", None, "validate: not_positive: price is -1.00000000"),
        (asked[1], "trade", "binance:spot:BTC-USDT:0:8", ""),
        (asked[2], "duplicate", "binance:spot:BTC-USDT:0:8", ""),
        (asked[3], "nothing", None, ""),
    ]
    # A release that knows better than to take a sign for one.
    binance = VENUES["binance"]

    def lenient(frames: Any, listed: Any) -> Any:
        mended = [msgspec.structs.replace(one, payload=one.payload.replace(b'"-', b'"')) for one in frames]
        return binance.decode_many(mended, listed)

    monkeypatch.setitem(VENUES, "binance", replace(binance, decode_many=lenient))
    assert cli.run(["dead-letters", "retry", asked[0]]) == 0
    said = capsys.readouterr()
    assert "binance:spot:BTC-USDT:0:9" in said.out
    assert said.err.startswith("1 accepted, 0 not; nothing was changed")
    # Put into the journal again it is what the next run stores, once however often it is done.
    for _ in range(2):
        assert cli.run(["dead-letters", "retry", "--publish", asked[0]]) == 0
        assert capsys.readouterr().err.startswith("1 accepted, 0 not; 1 journalled again")
    assert cli.run(["journal", "verify"]) == 0
    reader = JournalReader(directory, exchange="binance", shard="binance-0")
    *_, old, _, last, again = reader.read(100)
    reader.close()
    assert last == msgspec.structs.replace(again, position=again.position - 1)
    assert last == msgspec.structs.replace(old, position=last.position)


def test_hostile_bytes_do_not_fill_the_screen(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = b"[" * 100_000
    journal = Journal.open(directory, exchange="binance", shard="binance-0", now=NOW)
    journal.append([(NOW + 9 * SECOND, CONNECTION, 9, "data", payload)])
    journal.close()
    assert cli.run(["dead-letters", "show", "binance:binance-0:9:0"]) == 0
    shown = capsys.readouterr().out
    assert "… and 98,000 characters more (--json shows all)" in shown
    assert len(shown) < 3_000
    assert told(capsys, "show", "binance:binance-0:9:0")["payload"] == payload.decode()


def test_a_journal_whose_beginning_is_gone_is_read_with_the_kept_instruments(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for segment in segment_paths(directory)[:2]:
        segment.unlink()
    (row,) = told(capsys, "list", "--reason", "unknown_symbol")
    assert row["count"] == 5
    kept = directory.parent.parent / "instruments" / "binance.json"
    kept.parent.mkdir()
    kept.write_bytes(msgspec.json.encode([LISTED]))
    rows = told(capsys, "list", "--each")
    assert [row["message_id"] for row in rows] == [f"binance:binance-0:{at}:0" for at in (3, 5, 7)]


@pytest.mark.parametrize("trimmed", [False, True])
def test_what_the_lake_has_is_told_though_the_journal_is_trimmed(
    directory: Path, capsys: pytest.CaptureFixture[str], trimmed: bool
) -> None:
    root = directory.parent.parent
    open_store(root, "simulated", ["binance-0", "binance-1"])
    kept = root / "instruments" / "binance.json"
    kept.parent.mkdir()
    kept.write_bytes(msgspec.json.encode([LISTED]))
    (root / "recovery").mkdir()
    init_db_dir(root / "recovery", 2)
    before = told(capsys, "list", "--each")
    shown = told(capsys, "show", before[0]["message_id"])
    flow(root)
    journal = Journal.open(
        directory, exchange="binance", shard="binance-0", now=NOW, segment_bytes_max=1, expected_position=8
    )
    # Beyond the lake: one refused, one as before that is still accepted.
    journal.append([(NOW + 9 * SECOND, CONNECTION, 9, "data", b"{")])
    journal.append([(NOW + 10 * SECOND, CONNECTION, 10, "data", trade(10, "5.00000000"))])
    if trimmed:
        assert journal.remove_through(8)
    journal.close()
    rows = told(capsys, "list", "--each")
    assert rows[:-1] == before
    assert [row["message_id"] for row in rows[-1:]] == ["binance:binance-0:9:0"]
    assert [row["message_id"] for row in told(capsys, "list", "--each", "--reason", "conflict")] == [
        "binance:binance-0:4:0"
    ]
    assert told(capsys, "show", before[0]["message_id"]) == shown
    asked = [f"binance:binance-0:{position}:0" for position in (3, 4, 6, 8, 10)]
    retried = told(capsys, "retry", *asked, code=1)
    assert [row["now"] for row in retried] == ["dead_letter", "dead_letter", "trade", "duplicate", "trade"]
    assert cli.run(["dead-letters", "retry", "--publish", asked[2]]) == 0
    assert capsys.readouterr().err.startswith("1 accepted, 0 not; 1 journalled again")
    reader = JournalReader(directory, exchange="binance", shard="binance-0", position=10)
    (again,) = reader.read(100)
    reader.close()
    assert (again.received, again.number, again.payload) == (NOW + 6 * SECOND, 6, PAYLOADS[4])


def test_an_empty_store_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["dead-letters", "list"]) == 2
    assert "no journal in data/simulated/journal" in capsys.readouterr().err
