"""From settings to shards: which symbols each captures, at which addresses, into which journal."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

from connectors.capture import ShardPlan
from connectors.errors import together
from connectors.instruments import UnknownSymbol, find_instruments
from connectors.resilience import Policy
from connectors.rest import Rest
from connectors.settings import CaptureSettings, Settings
from connectors.venues import VENUES
from connectors.venues.protocol import Instrument, Venue
from connectors.venues.shipped import shipped_instruments
from schemas.shards import shard_name


def policy_of(capture: CaptureSettings) -> Policy:
    """The policy that the settings ask for."""
    return Policy(**capture.model_dump())


def venues_of(settings: Settings) -> list[Venue]:
    """The venues that are captured, at the addresses that the settings name, else at their own."""
    return [
        replace(
            VENUES[name],
            websocket_urls=chosen.websocket_urls or VENUES[name].websocket_urls,
            rest_urls=chosen.rest_urls or VENUES[name].rest_urls,
        )
        for name, chosen in settings.enabled().items()
    ]


def shard_names(settings: Settings) -> list[str]:
    """Every shard of the settings, in an order that does not change while venues and counts do not."""
    return [
        shard_name(name, number)
        for name, chosen in settings.enabled().items()
        for number in range(chosen.shards)
    ]


def shard_of(symbol: str, shards: int) -> int:
    """Which of a venue's shards a symbol belongs to; the same in every process and version."""
    return crc32(symbol.encode()) % shards


def plan_shards(settings: Settings, venues: Sequence[Venue], directory: Path, logger: Any) -> list[ShardPlan]:
    """A plan for each shard below a store's directory; asks each venue for its instruments."""
    found = asyncio.run(find_all(settings, venues, directory, logger))
    return [
        ShardPlan(
            venue=venue,
            shard=shard_name(venue.name, number),
            instruments=tuple(
                each for each in found[venue.name] if shard_of(each.symbol, chosen.shards) == number
            ),
            directory=directory / "journal" / shard_name(venue.name, number),
            connections=chosen.connections,
        )
        for venue in venues
        for chosen in (settings.venues[venue.name],)
        for number in range(chosen.shards)
    ]


async def find_all(
    settings: Settings, venues: Sequence[Venue], directory: Path, logger: Any
) -> Mapping[str, tuple[Instrument, ...]]:
    """The instruments of all venues, asked for side by side."""

    async def find(venue: Venue) -> tuple[Instrument, ...]:
        async with Rest(venue, policy_of(settings.capture)) as rest:
            return await find_instruments(
                venue,
                rest,
                settings.venues[venue.name].symbols,
                kept=directory / "instruments" / f"{venue.name}.json",
                shipped=shipped_instruments(venue.name).values(),
                logger=logger,
            )

    answers = await asyncio.gather(*map(find, venues), return_exceptions=True)
    if unknown := [each for each in answers if isinstance(each, UnknownSymbol)]:
        raise together(unknown)
    listed: dict[str, tuple[Instrument, ...]] = {}
    for venue, answer in zip(venues, answers, strict=True):
        if isinstance(answer, BaseException):
            raise answer
        listed[venue.name] = answer
    return listed
