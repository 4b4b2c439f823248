"""What the engine calls is wrapped here: in a cluster it loses exceptions, so we say and keep them first."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import structlog

from connectors.errors import is_expected


class Named(Protocol):
    """A partition or step that can say which one it is."""

    name: str


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Named)

# What our callbacks have raised in this process, the cause first; the engine ends with the first.
failures: list[Exception] = []


def said_first(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """The same method, but what it raises is in the log, once, before the engine gets it."""

    @wraps(method)
    def said(self: S, *arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(self, *arguments, **named)
        except StopIteration:
            raise  # the engine's word for the end of a source
        except Exception as error:
            # One such method may call another.
            if not any(error is known for known in failures):
                failures.append(error)
                logger: Any = structlog.get_logger()
                logger.error(
                    "the flow failed",
                    where=f"{self.name}.{method.__name__}",
                    problem=f"{type(error).__name__}: {error}",
                    **({} if is_expected(error) else {"exc_info": True}),
                )
            raise

    return cast(Callable[Concatenate[S, P], R], said)
