"""House rules that a linter cannot hold. An exception says its reason, and goes when it is no longer one."""

import ast
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from connectors.venues import VENUES
from operate import VERSION

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

PRODUCT = ["schemas", "connectors", "dataflows", "query", "operate"]
OURS = [*PRODUCT, "simulator"]

FILE_LINES_MAX = 400  # beyond it a file holds two ideas
VENUE_LINES_MAX = 210  # what somebody who adds a venue reads before he starts
FUNCTION_LINES_MAX = 40  # a screen
PRODUCT_LINES_MAX = 19_650  # of code: what one person can know; reasons beside it are not to be saved on

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
}  # fmt: skip

LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "schemas/run.py:trades_of": "one constructor call, a field a line, by position",
}

WITHOUT_TEST_FILE: dict[str, str] = {
    "schemas/fields.py": "names types; what is derived from them is tested",
    "schemas/health.py": "declares records; what is derived from them is tested against what is frozen",
}

# Words that say how code is kept instead of what it is about.
VAGUE = {"util", "utils", "helper", "helpers", "common", "base", "core", "manager", "misc", "tools"}

# Everything through which the world, its time or chance comes in.
WORLD = {
    "asyncio", "fcntl", "ftplib", "http.client", "http.server", "httpx2", "mmap", "multiprocessing", "os",
    "random", "secrets", "select", "selectors", "shutil", "signal", "smtplib", "socket", "socketserver",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request", "urllib3", "uuid", "websockets",
}  # fmt: skip
TOUCHES_THE_WORLD = {
    # sockets, and the loop that waits for them
    "connectors/websocket.py": {"asyncio", "ssl", "websockets"},
    "connectors/rest.py": {"asyncio", "httpx2", "ssl", "time", "urllib.request"},
    "connectors/resilience.py": {"random", "socket", "ssl"},  # names their errors, and jitters
    "connectors/connection.py": {"asyncio"},
    "connectors/keeper.py": {"asyncio", "random"},
    "connectors/staleness.py": {"asyncio"},
    "connectors/capture.py": {"asyncio", "random", "threading", "time"},
    "connectors/intake.py": {"asyncio"},
    "connectors/registry.py": {"httpx2", "ssl", "time", "urllib.request"},
    "connectors/repair.py": {"asyncio"},
    "connectors/instruments.py": {"asyncio", "os"},
    "connectors/mode.py": {"asyncio"},
    "connectors/plans.py": {"asyncio"},
    "connectors/simulation.py": {"subprocess", "threading", "time"},
    "connectors/children.py": {"os", "signal", "subprocess"},
    "connectors/serving.py": {"http.server", "threading", "time"},
    "dataflows/metrics.py": {"threading", "time"},  # how old things are when somebody asks
    # disks
    "connectors/disk.py": {"os"},
    "connectors/segments.py": {"os"},
    "connectors/journal.py": {"fcntl", "os", "threading", "time"},
    "connectors/journal_reader.py": {"os"},
    "connectors/positions.py": {"os"},
    "connectors/slots.py": {"fcntl", "os", "uuid"},
    "connectors/source.py": {"threading", "time"},
    "connectors/files.py": {"os"},
    "connectors/staging.py": {"uuid"},
    "connectors/publishing.py": {"random", "time"},
    "connectors/courier.py": {"threading", "time"},
    "connectors/outages.py": {"threading", "time"},
    "connectors/bus.py": {"threading", "time"},
    "connectors/kafka.py": {"threading", "time"},
    "connectors/redis.py": {"threading"},
    "connectors/read_back.py": {"time"},
    "connectors/lake.py": {"threading", "uuid"},
    "connectors/tail.py": {"os", "threading"},
    "connectors/topics.py": {"time"},  # until brokers have heard of new ones
    "query/files.py": {"threading"},  # several threads may ask at once
    "query/latest.py": {"threading"},
    "query/health.py": {"time"},  # how old things are when somebody asks
    "query/rest/guard.py": {"asyncio", "time"},
    "query/rest/keys.py": {"os", "secrets"},
    "query/rest/lane.py": {"asyncio"},
    "query/rest/sharing.py": {"asyncio"},
    "query/rest/server.py": {"asyncio", "signal", "socket"},
    "query/rest/statements.py": {"subprocess", "threading"},
    "query/sandbox.py": {"os"},
    "query/rest/stream.py": {"asyncio"},
    # the person and the process
    "connectors/configuration.py": {"os"},
    "operate/cli.py": {"os"},
    "operate/tail.py": {"time"},
    "operate/top.py": {"select", "time"},
    "connectors/log.py": {"os"},
    "operate/answering.py": {"subprocess", "threading", "time"},
    "operate/run.py": {"os", "signal", "subprocess", "threading", "time"},
    "operate/live_check.py": {"tempfile", "time"},
    "operate/recover.py": {"time"},
    "operate/reset.py": {"shutil", "time"},
    "operate/maintain.py": {"os", "time"},
    "operate/maintenance/commits.py": {"random", "time"},
    "operate/maintenance/compaction.py": {"uuid"},
    "operate/audit.py": {"time"},
    "operate/auditing/auditor.py": {"time"},
    "connectors/failpoints.py": {"os", "signal", "time"},
    "dataflows/ending.py": {"os", "signal", "socket", "threading"},
    "dataflows/execution.py": {"os"},
    "dataflows/rebuilding.py": {"shutil", "threading"},
    "dataflows/recovery.py": {"shutil"},
    "dataflows/running.py": {"os", "threading", "time"},
}
READS_THE_ENVIRONMENT = {
    "connectors/children.py",  # hands ours on
    "connectors/configuration.py",
    "connectors/failpoints.py",  # named by tests before anything is configured
    "connectors/log.py",
    "dataflows/running.py",  # where the configuration is, if the command cannot say
    "operate/cli.py",
    "query/sandbox.py",  # which forgets it
}


def modules(packages: list[str]) -> list[str]:
    """Every module below the packages, as a path from the root."""
    return sorted(
        path.relative_to(ROOT).as_posix() for package in packages for path in (ROOT / package).rglob("*.py")
    )


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def lines(module: str) -> int:
    return len((ROOT / module).read_text(encoding="utf-8").splitlines())


def code_lines(module: str) -> int:
    """How many lines hold code: not blank, not only a comment, not a docstring."""
    described: set[int] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node):
            described |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    with (ROOT / module).open("rb") as file:
        coded = {
            line
            for token in tokenize.tokenize(file.readline)
            if token.type not in NOT_CODE
            for line in range(token.start[0], token.end[0] + 1)
        }
    return len(coded - described)


def imported(module: str) -> set[str]:
    """What a module imports, wherever in it: the names in full, and those of the top."""
    names = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names | {name.partition(".")[0] for name in names}


def functions(module: str) -> Iterator[tuple[str, int]]:
    """Each function of a module and how many lines it has."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{module}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_a_file_holds_one_idea() -> None:
    long = {module for module in modules(OURS) if lines(module) > FILE_LINES_MAX}
    assert long == set(LONG_FILES)


def test_a_function_fits_a_screen() -> None:
    long = {
        name for module in modules(OURS) for name, count in functions(module) if count > FUNCTION_LINES_MAX
    }
    assert long == set(LONG_FUNCTIONS)


def test_a_venue_is_read_in_one_sitting() -> None:
    venues = {venue: lines(f"connectors/venues/{venue}.py") for venue in VENUES}
    assert not {venue: count for venue, count in venues.items() if count > VENUE_LINES_MAX}


def test_the_product_fits_one_head() -> None:
    # A venue is read by itself, and nobody who adds one makes the rest harder to know.
    rest = set(modules(PRODUCT)) - {f"connectors/venues/{venue}.py" for venue in VENUES}
    assert sum(map(code_lines, rest)) <= PRODUCT_LINES_MAX


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert not [m for m in modules([*OURS, "tests"]) if VAGUE & set(re.split(r"[/_.]", m))]


def test_every_module_opens_with_its_law() -> None:
    assert not [m for m in modules([*OURS, "tests"]) if not ast.get_docstring(tree(m))]


def test_every_module_has_its_test_file() -> None:
    missing = {
        module
        for module in modules(PRODUCT)
        if not Path(module).stem.startswith("__")
        and Path(module).stem not in VENUES  # a venue's table is its test
        and not (ROOT / "tests" / Path(module).parent / f"test_{Path(module).name}").exists()
    }
    assert missing == set(WITHOUT_TEST_FILE)


def test_only_named_files_touch_the_world() -> None:
    touching = {module: imported(module) & WORLD for module in modules(PRODUCT)}
    assert {module: names for module, names in touching.items() if names} == TOUCHES_THE_WORLD


def test_the_environment_is_read_in_few_places() -> None:
    reading = {
        module
        for module in modules(OURS)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert reading == READS_THE_ENVIRONMENT


def test_steps_and_venues_import_only_what_reckons() -> None:
    for folder, known in (("dataflows/steps/", RECKONING), ("connectors/venues/", RECKONING | VENUES_TOO)):
        own = [module for module in modules(PRODUCT) if module.startswith(folder)]
        names = {name for module in own for name in imported(module)}
        assert {name for name in names if "." not in name} <= known
        assert {name for name in names if re.match(r"connectors\.(?!venues)", name)} == set()


RECKONING = {
    "bisect", "collections", "dataclasses", "dataflows", "datetime", "decimal", "enum", "functools",
    "itertools", "math", "msgspec", "operator", "re", "schemas", "string", "types", "typing",
}  # fmt: skip
# Their own package, the addresses that it names, and the instruments that it ships.
VENUES_TOO = {"connectors", "importlib", "urllib"}


def test_no_step_and_no_venue_opens_a_file_or_loads_a_module_by_name() -> None:
    doors = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "import_module", "__import__"}
    pure = [one for one in modules(PRODUCT) if one.startswith(("dataflows/steps/", "connectors/venues/"))]
    calls = {
        module
        for module in pure
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and (name := ast.unparse(node.func)).rpartition(".")[2] in doors
        and name != "series.open"  # a gap's
    }
    assert calls == {"connectors/venues/shipped.py"}  # which is of our own package


def test_nobody_asks_a_date_what_time_it_is() -> None:
    asking = {
        f"{module}:{node.lineno}"
        for module in modules(PRODUCT)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("now", "utcnow", "today")
    }
    assert not asking


def test_our_package_names_are_nobody_elses() -> None:
    owners = packages_distributions()
    assert {name: set(owners.get(name, ())) - {"tapekeeper"} for name in OURS} == {
        name: set() for name in OURS
    }


def test_every_tool_looks_at_every_package() -> None:
    tree_of_packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    tools = PYPROJECT["tool"]
    assert tree_of_packages == set(OURS)
    for listed in (
        tools["hatch"]["build"]["targets"]["wheel"]["packages"],
        tools["mypy"]["packages"],
        tools["coverage"]["run"]["source"],
        tools["importlinter"]["root_packages"],
    ):
        assert set(listed) == tree_of_packages


def test_the_version_is_told_once() -> None:
    assert PYPROJECT["project"]["version"] == VERSION


def pins(name: str) -> dict[str, str]:
    """What a requirements file pins, with its condition."""
    text = (ROOT / name).read_text()
    return {
        line.partition("==")[0]: line.rstrip(" \\") for line in re.findall(r"^\S+==.*$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", sorted(path.name for path in ROOT.glob("requirements*.txt")))
def test_requirements_are_hashed_and_name_no_registry(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index" not in re.sub(r"#.*", "", text)
    for pin in re.findall(r"^\S+==[^#]*", text, re.MULTILINE):
        assert "--hash=sha256:" in pin, pin


def test_tests_run_with_what_users_run() -> None:
    assert pins("requirements.txt").items() <= pins("requirements-dev.txt").items()


def test_nothing_here_names_the_machine_it_was_written_on() -> None:
    texts = [ROOT / module for module in modules([*OURS, "benchmarks", "tests"])]
    texts += [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        ROOT / "pyproject.toml",
        ROOT / ".ci" / "run",
        ROOT / "Makefile",
    ]
    named = {path for path in texts if re.search(r"/work/|/root/|/home/\w", path.read_text(encoding="utf-8"))}
    assert named == {Path(__file__)}


def test_python_is_one_that_the_engine_has_wheels_for() -> None:
    assert sys.version_info[:2] in ((3, 11), (3, 12))
