"""Numbers on the command line that click's own types let through although nothing can be done with them."""

import math
from typing import Any

import click

# The highest first port: those behind it must exist too.
PORT_MAX = 65_500


class FiniteRange(click.FloatRange):
    """A range of numbers; what is not a number is in none."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, context)
        return number
