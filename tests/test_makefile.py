"""The verbs of `make`: each explained, and set-up as rare and as small as it can be."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make") or "make"


def make(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        [MAKE, *arguments],
        cwd=directory,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone before anything was set up."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for path in ROOT.glob("requirements*.txt"):
        (tmp_path / path.name).touch()
        os.utime(tmp_path / path.name, (1_000, 1_000))
    return tmp_path


def set_up(checkout: Path, stamp: str) -> None:
    """Leave what a set-up at time 2,000 leaves."""
    for path in (checkout / ".venv/bin/tape", checkout / ".venv" / stamp):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (2_000, 2_000))


def installed(planned: str) -> list[str]:
    """Which requirements a dry run would install."""
    return re.findall(r"-r (\S+\.txt)", planned)


def test_every_verb_is_explained() -> None:
    verbs = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    shown = make(ROOT, "--silent").stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(verbs)


def test_no_machine_and_no_registry_is_named() -> None:
    assert not re.search(r"://|/tmp/|/opt/|/usr/", (ROOT / "Makefile").read_text())


def test_a_fresh_clone_makes_its_environment_first(checkout: Path) -> None:
    planned = make(checkout, "-n", "run").stdout
    assert planned.index("-m venv .venv") < planned.index("-m pip") < planned.index(".venv/bin/tape run")
    assert installed(planned) == ["requirements.txt"]


@pytest.mark.parametrize(
    ("verb", "requirements"),
    [
        ("run", "requirements.txt"),
        ("test", "requirements-services.txt"),
        ("lint", "requirements-dev.txt"),
    ],
)
def test_set_up_repeats_itself_only_when_its_inputs_changed(
    checkout: Path, verb: str, requirements: str
) -> None:
    for stamp in ("run", "dev", "services"):
        set_up(checkout, f"{stamp}.stamp")
    assert installed(make(checkout, "-n", verb).stdout) == []
    os.utime(checkout / "requirements-bench.txt", (3_000, 3_000))
    assert installed(make(checkout, "-n", verb).stdout) == []
    os.utime(checkout / requirements, (3_000, 3_000))
    planned = make(checkout, "-n", verb).stdout
    assert installed(planned) == [requirements]
    assert "-m venv" not in planned


def test_without_a_fitting_python_one_line_says_how_to_get_it(checkout: Path) -> None:
    bare = checkout / "bare"
    bare.mkdir()
    (bare / "sh").symlink_to("/bin/sh")
    nowhere = str(checkout / "nowhere")
    done = make(checkout, "run", PATH=str(bare), HOME=nowhere, PYENV_ROOT=nowhere)
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith(
        "Python 3.11 or 3.12 is needed and was not found (apt-get install python3.11-venv"
    )
    assert second.startswith("make: ***")


def test_the_newest_fitting_python_of_the_path_is_taken(checkout: Path) -> None:
    programs = checkout / "programs"
    programs.mkdir()
    for name, code in (("python3.12", 1), ("python3.11", 0), ("python3", 0)):
        program = programs / name
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    (programs / "sh").symlink_to("/bin/sh")
    done = make(checkout, "--silent", "python", PATH=str(programs))
    assert done.stdout == "python3.11\n"
