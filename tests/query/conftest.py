"""A browser for the tests of the page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser


# Not longer: while it runs, nobody else in this process can run a loop of asyncio.
@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A real one, started when the first test needs it."""
    from tests.services.chromium import chromium  # noqa: PLC0415  # few tests need it

    with chromium() as started:
        yield started
