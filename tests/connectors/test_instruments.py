"""Where the list of markets comes from, and what is said to somebody who asks for one that is not in it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from connectors.instruments import UnknownSymbol, find_instruments
from connectors.resilience import Policy
from connectors.rest import Rest
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, instrument
from simulator.venues import FACES

SHIPPED = (instrument("binance", "BTCUSDT", "BTC", "USDT"), instrument("binance", "ETHUSDT", "ETH", "USDT"))


def find(
    url: str, policy: Policy, kept: Path, *symbols: str, name: str = "binance"
) -> tuple[tuple[Instrument, ...], list[Any]]:
    """The instruments, and where they were taken from where that was not the venue."""

    async def main() -> tuple[Instrument, ...]:
        venue = replace(VENUES[name], rest_urls=(url,))
        async with Rest(venue, policy) as rest:
            return await find_instruments(
                venue, rest, symbols, kept=kept, shipped=SHIPPED, logger=structlog.get_logger()
            )

    with capture_logs() as lines:
        found = asyncio.run(main())
    return found, [line["taken_from"] for line in lines]


@pytest.mark.parametrize("name", FACES)
def test_the_venue_is_asked_and_its_answer_kept(
    name: str, venues: Any, policy: Policy, tmp_path: Path
) -> None:
    kept = tmp_path / "instruments" / f"{name}.json"
    symbols = VENUES[name].symbols[:2]
    with venues(venues=[name]) as sim:
        found, told = find(sim.rest_url(name), policy, kept, *symbols, name=name)
    assert ([each.symbol for each in found], told) == (list(symbols), [])
    assert find("http://127.0.0.1:9", policy, kept, *symbols, name=name) == (found, [str(kept)])


def test_without_the_venue_and_a_kept_list_what_was_shipped_does(policy: Policy, tmp_path: Path) -> None:
    found, told = find("http://127.0.0.1:9", policy, tmp_path / "none.json", "ETH-USDT")
    assert (found, told) == (SHIPPED[1:], ["what was shipped"])


@pytest.mark.parametrize("damage", [b"", b"[{]", b'[{"exchange":1}]'])
def test_a_damaged_list_is_as_good_as_none(damage: bytes, policy: Policy, tmp_path: Path) -> None:
    kept = tmp_path / "binance.json"
    kept.write_bytes(damage)
    assert find("http://127.0.0.1:9", policy, kept, "BTC-USDT") == (SHIPPED[:1], ["what was shipped"])


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"symbols":[]}'])
def test_an_answer_that_is_none_is_not_kept(body: bytes, peer: Any, policy: Policy, tmp_path: Path) -> None:
    async def host(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async def main() -> tuple[Instrument, ...]:
        async with peer(host, upgrades=False) as port:
            venue = replace(VENUES["binance"], rest_urls=(f"http://127.0.0.1:{port}",))
            async with Rest(venue, policy) as rest:
                return await find_instruments(
                    venue, rest, ["BTC-USDT"], kept=tmp_path / "kept.json", shipped=SHIPPED,
                    logger=structlog.get_logger(),
                )  # fmt: skip

    assert asyncio.run(main()) == SHIPPED[:1]
    assert not (tmp_path / "kept.json").exists()


def test_a_symbol_that_is_not_there_is_refused_with_the_one_that_was_meant(
    policy: Policy, tmp_path: Path
) -> None:
    with pytest.raises(UnknownSymbol, match="not listed there: BTC-USTD, ETC-USDT") as refused:
        find("http://127.0.0.1:9", policy, tmp_path / "none.json", "BTC-USTD", "ETH-USDT", "ETC-USDT")
    assert refused.value.hint == "did you mean BTC-USDT, ETH-USDT?"


def test_a_symbol_that_resembles_nothing_is_refused_without_guessing(policy: Policy, tmp_path: Path) -> None:
    with pytest.raises(UnknownSymbol) as refused:
        find("http://127.0.0.1:9", policy, tmp_path / "none.json", "QQQQQ-ZZZ")
    assert refused.value.hint == "binance lists 2 others"
