"""What the engine calls is wrapped here: in a cluster it loses the text of exceptions, so we say it first."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import structlog


class Named(Protocol):
    """A partition or step that can say which one it is."""

    name: str


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Named)


def said_first(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The same method, but what it raises is in the log before the engine gets it."""

    @wraps(method)
    def said(self: S, *arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(self, *arguments, **named)
        except StopIteration:
            raise  # the engine's word for the end of a source
        except Exception:
            logger: Any = structlog.get_logger()
            logger.exception("the flow failed", where=f"{self.name}.{method.__name__}")
            raise

    return cast(Callable[Concatenate[S, P], R], said)
