"""`tape completion`: the script that teaches a shell our verbs."""

import click
from click.shell_completion import get_completion_class

from operate.choice import Choice

HOW = {
    "bash": 'eval "$(tape completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(tape completion zsh)"   in ~/.zshrc',
    "fish": "tape completion fish > ~/.config/fish/completions/tape.fish",
}


@click.command("completion", epilog="\b\n" + "\n".join(HOW.values()))
@click.argument("shell", type=Choice(list(HOW)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    completion = get_completion_class(shell)
    assert completion is not None
    click.echo(completion(context.find_root().command, {}, "tape", "_TAPE_COMPLETE").source())
