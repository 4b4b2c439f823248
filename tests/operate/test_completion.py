"""The scripts that shells read."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from operate import cli


@pytest.mark.parametrize(
    ("shell", "words"),
    [("bash", "complete -o nosort -F _tape_completion tape"), ("zsh", "#compdef tape"), ("fish", "complete")],
)
def test_the_script_of_each_shell(shell: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert words in script
    assert "_TAPE_COMPLETE" in script


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    program = tmp_path / "tape"
    root = Path(cli.__file__).parent.parent
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{root}" exec "{sys.executable}" -m operate "$@"\n')
    program.chmod(0o755)
    session = (
        f'export PATH="{tmp_path}:$PATH"; eval "$(tape completion bash)"; '
        'COMP_WORDS=(tape completi); COMP_CWORD=1; _tape_completion tape; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run([bash, "-c", session], capture_output=True, text=True, check=True)
    assert done.stdout == "completion\n"


def test_an_unknown_shell_is_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["completion", "tcsh"]) == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
