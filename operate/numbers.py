"""Numbers and times on the command line, without those that nothing can be done with."""

import math
from typing import Any

import click

# The highest first port: those behind it must exist too.
PORT_MAX = 65_500
# Microseconds until the year 33658.
TIME_DIGITS_MAX = 18


class FiniteRange(click.FloatRange):
    """A range of numbers; what is not a number is in none."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        number: float = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, context)
        return number


class Moment(click.ParamType[int]):
    """A time as ISO text in UTC or as microseconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> int:
        from connectors.venues.values import Refused, clock_time

        text = str(value)
        try:
            is_number = text.isascii() and text.isdigit() and len(text) <= TIME_DIGITS_MAX
            return int(text) if is_number else clock_time(text)
        except Refused:
            self.fail(
                f"{text!r} is neither microseconds nor a time like 2026-11-21T09:30:00Z", param, context
            )
