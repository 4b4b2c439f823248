"""What every table of tape.toml is made of: a value is what was written, or refused."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, Strict

# Text is never taken for a number nor a number for a switch: what is written is what is meant.
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Switch = Annotated[bool, Strict()]


class Section(BaseModel):
    """A table of tape.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")
