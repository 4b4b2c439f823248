"""Two processes on one store: the second is refused, whatever the first is doing, and names it."""

import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.operate.test_recover import Store, check, store, until

__all__ = ["store"]
pytestmark = pytest.mark.timeout(300)

ONLY_KRAKEN = {"TAPE_VENUES__BINANCE__ENABLED": "false", "TAPE_VENUES__COINBASE__ENABLED": "false"}
# Both ways to start the flow; the second shares no shard but one that is captured no more.
COMMANDS = {
    "tape run": (["-m", "operate", "run", "--simulated", "--no-table"], {}),
    "the bare command": (["-m", "bytewax.run", "dataflows.crypto"], ONLY_KRAKEN),
}


@pytest.mark.long
def test_who_was_stopped_keeps_the_store_and_goes_on(store: Store) -> None:
    store.shards = ("binance-0", "coinbase-0")
    first = store.start(environment={"TAPE_VENUES__KRAKEN__ENABLED": "false"})
    store.goes_on(first)
    first.send_signal(signal.SIGSTOP)
    try:
        # It may have been stopped in the middle of anything.
        with writing(store.recovery):
            for name, (words, environment) in COMMANDS.items():
                said = refused(store, words, environment)
                assert f"process {first.pid} on {os.uname().nodename} since " in said, name
    finally:
        first.send_signal(signal.SIGCONT)
    store.goes_on(first)
    assert {token.incarnation for token in store.tokens().values()} == {1}
    store.stop(first)
    check(store)


@contextmanager
def writing(recovery: Path) -> Iterator[None]:
    """Hold all recovery files as somebody does who is in the middle of writing them."""
    with ExitStack() as stack:
        for path in recovery.glob("part-*.sqlite3"):
            file = stack.enter_context(closing(sqlite3.connect(path, timeout=0)))
            with suppress(sqlite3.OperationalError):  # he is indeed
                file.execute("BEGIN EXCLUSIVE")
        yield


def refused(store: Store, words: list[str], environment: dict[str, str]) -> str:
    """What a process says that must end by itself."""
    process = store.start([sys.executable, *words], environment)
    until(lambda: process.poll() is not None)
    assert process.returncode == 2, store.said()
    return store.said()


@pytest.mark.long
def test_whose_shards_moved_to_another_host_appends_nothing_more(store: Store, tmp_path: Path) -> None:
    tables = {
        "TAPE_LAKE__CATALOG": f"sqlite:///{tmp_path}/shared.db",
        "TAPE_LAKE__WAREHOUSE": f"file://{tmp_path}/warehouse",
    }
    store.environment |= tables
    zombie = store.start()
    store.goes_on(zombie)
    zombie.send_signal(signal.SIGSTOP)
    # Another host has all but the locks.
    shutil.copytree(store.data, tmp_path / "host" / "data")
    host = Store(tmp_path / "host" / "data")
    host.environment |= tables
    successor = host.start()
    try:
        host.goes_on(successor)
        assert {token.incarnation for token in host.tokens().values()} == {2}
        zombie.send_signal(signal.SIGCONT)
        until(lambda: zombie.poll() is not None)
        assert zombie.returncode
        assert "error: another process has become the writer of " in store.said()
        host.goes_on(successor, 30)
        host.stop(successor)
    finally:
        successor.kill()
        successor.wait()
    check(host)
