"""`tape decode` as a person runs it: lines in, records out, exit codes, and nothing from clock or network."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRADE = (
    '{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001",'
    '"q":"100","T":1672515782136,"m":true,"M":true}}'
)
MATCH = (
    '{"type":"match","trade_id":7,"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"450",'
    '"price":"0.791","product_id":"NEVER-SEEN","sequence":9,"time":"2021-04-17T16:43:37.121358Z"}'
)


def tape(*arguments: str, frames: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "operate", *arguments],
        input=frames,
        capture_output=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )


def records(*arguments: str, frames: bytes) -> list[dict[str, Any]]:
    run = tape("decode", *arguments, frames=frames)
    assert (run.returncode, run.stderr) == (0, b"")
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_trade_is_shown_with_every_field() -> None:
    assert records("binance", frames=TRADE.encode()) == [
        {
            "kind": "trade",
            "message_id": "binance:spot:BNB-BTC:0:12345",
            "trade_id": "12345",
            "symbol": "BNB-BTC",
            "exchange": "binance",
            "asset_class": "crypto",
            "timestamp": 1672515782136000,
            "price": "0.001",
            "quantity": "100",
            "currency": "BTC",
            "side": "SELL",
            "trade_conditions": [],
            "source_sequence": 12345,
            "ingestion_timestamp": 0,
            "platform_sequence": 1,
            "vendor_data": {
                "base_asset": "BNB",
                "quote_asset": "BTC",
                "native_symbol": "BNBBTC",
                "event_type": "trade",
                "event_time": "1672515782136",
                "trade_time": "1672515782136",
                "is_buyer_maker": "true",
            },
            "market": "spot",
            "base_asset": "BNB",
            "quote_asset": "BTC",
            "native_symbol": "BNBBTC",
            "first_sequence": 12345,
            "last_sequence": 12345,
            "series": 0,
            "origin": "live",
            "shard": "binance-0",
        }
    ]


def test_every_line_is_a_frame_and_a_bad_one_stops_nothing() -> None:
    quote = '{"stream":"x@bookTicker","data":{"u":4,"s":"BNBUSDT","b":"25.3","B":"31.2","a":"25.4","A":"4"}}'
    lines = [
        TRADE.encode() + b"\r",
        b"",
        b'{"x":"\xff"}',
        b'{"result":null,"id":1}',
        quote.encode(),
        b"caf\xc3\xa9",
    ]
    found = records("binance", frames=b"\n".join(lines))
    assert [(one["kind"], one["platform_sequence"]) for one in found] == [
        ("trade", 1),
        ("dead_letter", 2),
        ("dead_letter", 3),
        ("control", 4),
        ("quote", 5),
        ("dead_letter", 6),
    ]
    assert (found[1]["reason"], found[1]["payload"]) == ("malformed", "")
    assert "payload" not in found[2]
    assert base64.b64decode(found[2]["payload_base64"]) == b'{"x":"\xff"}'
    assert found[3]["what"] == "subscribed"
    assert (found[4]["bid_price"], found[4]["ask_quantity"]) == ("25.3", "4")
    assert found[5]["payload"] == "caf\u00e9"


def test_a_frame_of_any_bytes_comes_in_base64() -> None:
    frames = [TRADE.encode(), b"\n\x00\xff", b""]
    lines = [base64.b64encode(frame) for frame in frames] + [b"%%%"]
    found = records("binance", "--base64", frames=b"\n".join(lines) + b"\n")
    assert [one["kind"] for one in found] == ["trade", "dead_letter", "dead_letter", "dead_letter"]
    assert base64.b64decode(found[1]["payload_base64"]) == b"\n\x00\xff"
    assert (found[3]["payload"], found[3]["detail"][:10]) == ("%%%", "not base64")


def test_a_file_is_read_and_the_time_of_receipt_is_an_argument(tmp_path: Path) -> None:
    file = tmp_path / "frames"
    file.write_text(TRADE + "\n")
    for received in ("2022-12-31T19:43:03Z", "1672515783000000"):
        (found,) = records("binance", str(file), "--received", received, frames=b"")
        assert found["ingestion_timestamp"] == 1672515783000000


def test_names_that_spell_their_assets_need_no_metadata() -> None:
    (found,) = records("coinbase", frames=MATCH.encode())
    assert (found["kind"], found["symbol"], found["side"]) == ("trade", "NEVER-SEEN", "BUY")


def test_metadata_teaches_other_symbols(tmp_path: Path) -> None:
    frames = TRADE.replace("BNBBTC", "ODDUSDZ").encode()
    assert records("binance", frames=frames)[0]["reason"] == "unknown_symbol"
    metadata = tmp_path / "exchangeInfo.json"
    metadata.write_text('{"symbols":[{"symbol":"ODDUSDZ","baseAsset":"ODD","quoteAsset":"USDZ"}]}')
    (found,) = records("binance", "--metadata", str(metadata), frames=frames)
    assert found["symbol"] == "ODD-USDZ"


@pytest.mark.parametrize("venue", ["binance", "kraken", "coinbase"])
def test_the_same_input_gives_the_same_output(venue: str) -> None:
    table = json.loads((Path(__file__).parents[1] / "conformance" / f"{venue}.json").read_text())
    frames = "\n".join(row["frame"] for row in table["frames"] if "\n" not in row["frame"]).encode()
    first, second = tape("decode", venue, frames=frames), tape("decode", venue, frames=frames)
    assert first.returncode == 0
    assert first.stdout == second.stdout
    positions = {json.loads(line)["platform_sequence"] for line in first.stdout.splitlines()}
    assert positions >= {1, len(frames.split(b"\n"))}


def test_a_line_beyond_all_limits_is_one_dead_letter() -> None:
    found = records("kraken", frames=b"a" * 30_000_000 + b'\n{"channel":"heartbeat"}\n')
    assert [(one["kind"], one.get("reason")) for one in found] == [
        ("dead_letter", "too_large"),
        ("control", None),
    ]
    assert len(found[0]["payload"]) < 6_000_000
    assert found[0]["detail"] == "30000000 bytes"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("binanse",), b"did you mean binance?"),
        ((), b"Missing argument"),
        (("binance", "/no/such/file"), b"No such file"),
        (("binance", "--received", "yesterday"), b"neither microseconds nor a time"),
        (("binance", "--metadata", __file__), b"is not metadata of binance"),
    ],
)
def test_what_cannot_be_asked_ends_with_2(arguments: tuple[str, ...], said: bytes) -> None:
    run = tape("decode", *arguments)
    assert run.returncode == 2
    assert said in run.stderr
    assert b"Traceback" not in run.stderr
    assert run.stdout == b""


def test_no_frames_are_no_records() -> None:
    assert records("binance", frames=b"") == []
