"""A choice between words: who mistypes one is told which he may have meant."""

from typing import Any

import click

from connectors.errors import nearest


class Choice(click.Choice[str]):
    """One of some words."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """What is wrong with a word that is none of them."""
        meant = nearest(str(value), map(str, self.choices))
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message.removesuffix('.')}; did you mean {meant}?" if meant else message

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """What may stand there, on one line."""
        return f"Choose from {', '.join(map(str, self.choices))}."
