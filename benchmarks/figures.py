"""Where figures go: one flat JSON file for each benchmark or campaign, comparable between runs."""

import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path("build/figures")


def write(name: str, figures: Mapping[str, float | int | str], **more: str | int) -> Path:
    """Write the figures, and what they were taken on; a figure that was not taken is absent."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(
        json.dumps({**figures, **more, "commit": commit(), "machine": machine()}, indent=2) + "\n"
    )
    return path


def commit() -> str:
    """The commit that runs, with a plus where the tree differs from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def machine() -> str:
    """What the figures were taken on, without naming it."""
    return f"{platform.system()} {platform.machine()}, {processor()}, Python {platform.python_version()}"


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else "unknown processor"


def shown(name: str, value: float | str) -> str:
    """One figure as a line of the table."""
    number = value if isinstance(value, str) else f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.3g}"
    return f"{name:<48}{number:>16}"
