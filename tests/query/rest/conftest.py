"""`tape serve` as a process of its own on a real socket, over a store that the flow has filled."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.campaigns.kept import Kept

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60


class Served:
    """A running API, and how it is asked."""

    def __init__(self, process: "subprocess.Popen[str]", address: str, said: Path) -> None:
        self.process, self.address, self.said = process, address, said
        self.client = httpx2.Client(base_url=address, timeout=PATIENCE_SECONDS)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.client.get(path, **more)

    def rows(self, path: str) -> list[dict[str, Any]]:
        response = self.get(path)
        assert response.status_code == 200, response.text
        found: list[dict[str, Any]] = response.json()["rows"]
        return found


@contextmanager
def serve(data_dir: Path, directory: Path, *words: str, **variables: str) -> Iterator[Served]:
    """Start it, wait for the line that says where, and end it."""
    said = directory / f"said-{time.monotonic_ns()}"
    environment = {
        "PYTHONPATH": str(ROOT),
        "TAPE_DATA_DIR": str(data_dir),
        "TAPE_API__PORT": "0",
        "TAPE_API__METRICS_PORT": "0",
        "TAPE_API__REQUESTS_PER_SECOND": "100000",
    }
    with said.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "operate", "serve", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=directory,
            env=os.environ | environment | variables,
        )
    assert process.stdout is not None
    served = None
    try:
        line = process.stdout.readline().strip()
        assert line.startswith("http://"), said.read_text()
        served = Served(process, line, said)
        yield served
    finally:
        if served is not None:
            served.client.close()
        process.terminate()
        code = process.wait(PATIENCE_SECONDS)
        process.stdout.close()
    assert code == 0, said.read_text()
    assert "Traceback" not in said.read_text(), said.read_text()


@pytest.fixture(scope="session")
def served(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One that all tests may ask."""
    with serve(kept.directory.parent, tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture
def serving(tmp_path: Path, kept: Kept) -> Iterator[Callable[..., Served]]:
    """Starts one with settings of its own."""
    from contextlib import ExitStack  # noqa: PLC0415  # only here

    with ExitStack() as stack:

        def start(*words: str, data_dir: Path = kept.directory.parent, **variables: str) -> Served:
            return stack.enter_context(serve(data_dir, tmp_path, *words, **variables))

        yield start
