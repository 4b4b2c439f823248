"""What all tests share: the seed, the number of hostile inputs, and a last word about what was skipped."""

import os
import random
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.services.programs import NotHere

if TYPE_CHECKING:
    from tests.campaigns.kept import Kept
    from tests.services.kafka import Cluster, Kafka
    from tests.services.lakes import Servers
    from tests.services.registry import Registry


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="repeat a run: the seed of everything random")
    parser.addoption("--fuzz-inputs", type=int, default=100_000, help="hostile frames for each decoder")


def pytest_configure(config: pytest.Config) -> None:
    # Workers of pytest-xdist get the seed of the process that started them.
    given = getattr(config, "workerinput", {}).get("seed", config.getoption("--seed"))
    config.stash[SEED] = random.SystemRandom().randrange(2**32) if given is None else given


SEED = pytest.StashKey[int]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: pytest.Item) -> None:
    node.workerinput["seed"] = node.config.stash[SEED]  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this run; printed at the end, repeated with --seed."""
    return request.config.stash[SEED]


@pytest.fixture(scope="session")
def kept(seed: int, tmp_path_factory: pytest.TempPathFactory) -> "Kept":
    """A store that the flow has filled, in a data directory of its own; only to be read."""
    from tests.campaigns.kept import filled  # noqa: PLC0415  # few tests need what it imports

    return filled(tmp_path_factory.mktemp("kept") / "simulated", seed)


@pytest.fixture
def fuzz_inputs(request: pytest.FixtureRequest) -> int:
    """How many hostile frames each decoder gets."""
    count: int = request.config.getoption("--fuzz-inputs")
    return count


# Settings of ours, proxies, and what some wish of colours.
OTHERS = re.compile(r"TAPE_.*|.*_proxy|NO_COLOR|FORCE_COLOR|CLICOLOR.*", re.IGNORECASE)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches them; nothing that they start goes to a live venue."""
    for variable in [name for name in os.environ if OTHERS.fullmatch(name)]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("TAPE_MODE", "simulated")


@pytest.fixture(scope="session")
def lake_servers() -> Iterator["Servers"]:
    """Real catalogs and stores, started when the first test needs one."""
    from tests.services.lakes import servers  # noqa: PLC0415  # a second, which most runs need not spend

    with servers() as started:
        yield started


@pytest.fixture(scope="session")
def kafka() -> Iterator["Kafka"]:
    """A real broker; a test that harms it heals it."""
    from tests.services.kafka import kafka as broker  # noqa: PLC0415  # as above

    with broker() as started:
        yield started


@pytest.fixture(scope="session")
def kafka_cluster() -> Iterator["Cluster"]:
    """Three real brokers; a test that harms one heals it."""
    from tests.services.kafka import cluster  # noqa: PLC0415  # as above

    with cluster() as started:
        yield started


@pytest.fixture(scope="session")
def registry() -> Iterator["Registry"]:
    """A real Schema Registry; a test takes subjects of its own."""
    from tests.services.registry import registry as server  # noqa: PLC0415  # as above

    with server() as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test whose server is not installed is skipped, and says how to get it."""
    if call.excinfo is not None and isinstance(call.excinfo.value, NotHere):
        try:
            pytest.skip(str(call.excinfo.value))
        except pytest.skip.Exception:
            call.excinfo = pytest.ExceptionInfo.from_current()
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where everything needed must be there, a skipped test is a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter is not None and reporter.stats.get("skipped")
    if skipped and os.environ.get("CI") == "true" and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The last lines: the seed, and what was not proved and why."""
    terminalreporter.write_line(f"seed {config.stash[SEED]} (repeat with --seed {config.stash[SEED]})")
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"NOT PROVED: {report.nodeid}: {why}")
    if "not long" in config.option.markexpr:
        terminalreporter.write_line("left out: tests that take minutes each (make prove)")
    if not skipped:
        terminalreporter.write_line("nothing was skipped")
    elif os.environ.get("CI") == "true":
        terminalreporter.write_line("CI=true: a skipped test is a failure")
