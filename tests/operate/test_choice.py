"""Choices between words: mistyped, and left out."""

import pytest

from operate import cli


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["completion"], "Choose from bash, zsh, fish."),
        (["completion", "bahs"], "'bahs' is not one of 'bash', 'zsh', 'fish'; did you mean bash?"),
        (["audit", "--venue", "krakn"], "did you mean kraken?"),
        (["dead-letters", "list", "--venue", "Binanc"], "did you mean binance?"),
        (["--log-level", "zzz", "init"], "'zzz' is not one of 'debug', 'info', 'warning', 'error'."),
    ],
)
def test_who_mistypes_is_told_what_he_may_have_meant(
    capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.run(words) == 2
    assert said in capsys.readouterr().err
