"""What a shell offers behind the options that say of which venue and symbol."""

from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from operate import cli


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["bars", "--venue", "k"], ["kraken"]),
        (["simulate", "--venue", "c"], ["coinbase"]),
        (["top", "--symbol", "sol"], ["SOL-USD"]),
        (["run", "--symbols", "BTC-USD,kraken:so"], ["BTC-USD,kraken:SOL-USD"]),
        (["run", "--symbols", "BTC-USD,k"], ["BTC-USD,kraken:"]),
        (["tail", "--symbol", "x"], []),
        (["decode", "b"], ["binance"]),
    ],
)
def test_what_is_configured_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], offered: list[str]
) -> None:
    (tmp_path / "tape.toml").write_text('[venues.kraken]\nsymbols = ["SOL-USD"]\n')
    monkeypatch.chdir(tmp_path)
    completion = BashComplete(cli.tape, {}, "tape", "_TAPE_COMPLETE")
    assert [one.value for one in completion.get_completions(words[:-1], words[-1])] == offered


def test_a_configuration_that_cannot_be_used_keeps_nobody_from_typing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tape.toml").write_text("mode = 3")
    monkeypatch.chdir(tmp_path)
    completion = BashComplete(cli.tape, {}, "tape", "_TAPE_COMPLETE")
    assert [one.value for one in completion.get_completions(["bars", "--symbol"], "bnb")] == ["BNB-USDT"]
