"""Two processes on one store: the second is refused, whatever the first is doing, and names it."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.operate.test_recover import Store, check, store, until

__all__ = ["store"]
pytestmark = pytest.mark.timeout(300)

# Both ways to start the flow.
COMMANDS = {
    "tape run": ["-m", "operate", "run", "--simulated", "--no-table"],
    "the bare command": ["-m", "bytewax.run", "dataflows.crypto"],
}


def test_who_was_stopped_keeps_the_store_and_goes_on(store: Store) -> None:
    first = store.start()
    store.goes_on(first)
    first.send_signal(signal.SIGSTOP)
    try:
        for name, words in COMMANDS.items():
            said = refused(store, words, {})
            assert f"process {first.pid} on {os.uname().nodename} since " in said, name
    finally:
        first.send_signal(signal.SIGCONT)
    store.goes_on(first)
    assert {token.incarnation for token in store.tokens().values()} == {1}
    store.stop(first)
    check(store)


def refused(store: Store, words: list[str], environment: dict[str, str]) -> str:
    """What a process says that must end by itself."""
    process = store.start([sys.executable, *words], environment)
    until(lambda: process.poll() is not None)
    assert process.returncode == 2
    return store.said()


def test_who_only_shares_a_retired_shard_is_refused_too(store: Store) -> None:
    first = store.start(environment={"TAPE_VENUES__KRAKEN__ENABLED": "false"})
    until(lambda: {"binance-0", "coinbase-0"} <= set(store.tokens()))
    only_kraken = {"TAPE_VENUES__BINANCE__ENABLED": "false", "TAPE_VENUES__COINBASE__ENABLED": "false"}
    assert f"process {first.pid} on " in refused(store, COMMANDS["the bare command"], only_kraken)
    store.stop(first)


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
