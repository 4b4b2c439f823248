"""Every venue and its conformance table: those that are registered, and that of docs/adding-a-venue.md."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from connectors.venues import VENUES as REGISTERED
from connectors.venues.protocol import Venue

TABLES = Path(__file__).parent
PAGE = (TABLES.parents[1] / "docs" / "adding-a-venue.md").read_text(encoding="utf-8")
(DOCUMENTED_FILE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(DOCUMENTED_TABLE,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


def documented() -> Venue:
    """The venue of that page, as it stands there."""
    module = sys.modules["documented_venue"] = ModuleType("documented_venue")
    exec(DOCUMENTED_FILE, module.__dict__)
    venue = module.OKX
    assert isinstance(venue, Venue)
    return venue


VENUES = {**REGISTERED, "okx": documented()}


def table(name: str) -> Any:
    """Metadata, frames and pages, each with a verdict and why."""
    if name == "okx":
        return json.loads(DOCUMENTED_TABLE)
    return json.loads((TABLES / f"{name}.json").read_text(encoding="utf-8"))
