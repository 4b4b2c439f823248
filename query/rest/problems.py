"""What goes wrong, as RFC 9457 says it: a status, a code for programs, words and a hint for people.

Nothing of how we are built gets out: no path, no traceback, no text of others.
"""

from http import HTTPStatus
from typing import Any

import duckdb
import msgspec
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from connectors.catalog import OUTAGES, LakeError
from connectors.errors import TapeError, Unknown, nearest
from query.database import SqlError
from query.rest.forms import NotAcceptable

MEDIA_TYPE = "application/problem+json"
# Of one answer; somebody who has more wrong asks again.
TOLD_MAX = 5


class Mistaken(TapeError):
    """This cannot be meant."""

    code = "bad_parameter"


class Unready(TapeError):
    """There is nothing to answer from yet, or no room to do it in; later there is."""

    code = "unavailable"

    def __init__(self, message: str, *, hint: str = "", seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.seconds = seconds


# The first that fits; what is in none of them is a bug.
EXPECTED: tuple[tuple[tuple[type[Exception], ...], HTTPStatus, str], ...] = (
    ((Unready,), HTTPStatus.SERVICE_UNAVAILABLE, ""),
    ((Unknown,), HTTPStatus.NOT_FOUND, ""),
    ((NotAcceptable,), HTTPStatus.NOT_ACCEPTABLE, ""),
    ((SqlError,), HTTPStatus.BAD_REQUEST, ""),
    ((LakeError,), HTTPStatus.SERVICE_UNAVAILABLE, ""),
    ((TapeError,), HTTPStatus.BAD_REQUEST, ""),
    # A file that was removed while it was read, or more than the memory that there is.
    ((duckdb.IOException, duckdb.OutOfMemoryException), HTTPStatus.SERVICE_UNAVAILABLE, "ask again"),
    (OUTAGES, HTTPStatus.SERVICE_UNAVAILABLE, "the tables cannot be read just now"),
)


def problem(
    status: HTTPStatus, code: str, detail: str, *, hint: str = "", headers: dict[str, str] | None = None
) -> Response:
    """An answer that says what is wrong."""
    said: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "code": code,
        "detail": detail,
        "hint": hint,
    }
    return Response(msgspec.json.encode(said), status.value, headers, MEDIA_TYPE)


def of_error(error: Exception) -> Response | None:
    """The answer to an expected error; none for a bug."""
    for kinds, status, words in EXPECTED:
        if isinstance(error, kinds):
            headers = {"Retry-After": str(getattr(error, "seconds", 1))} if status >= 500 else {}
            if isinstance(error, TapeError):
                return problem(status, error.code, str(error), hint=error.hint, headers=headers)
            return problem(status, "unavailable", words, headers=headers)
    return None


def of_mistakes(mistakes: RequestValidationError, known: list[str]) -> Response:
    """The answer to parameters that cannot be meant."""
    told, hint, code = [], "/docs names every parameter", "bad_parameter"
    for each in mistakes.errors()[:TOLD_MAX]:
        name = str(each["loc"][-1])
        if each["type"] == "extra_forbidden":
            code, meant = "unknown_parameter", nearest(name, known)
            told.append(f"unknown parameter {name!r}")
            hint = f"did you mean {meant}?" if meant else f"known: {', '.join(known)}"
        else:
            told.append(f"{name}: {each['msg'].removeprefix('Value error, ')}")
    return problem(HTTPStatus.BAD_REQUEST, code, "; ".join(told), hint=hint)


def install(app: FastAPI) -> None:
    """Have an app answer so."""

    async def expected(_: Request, error: Exception) -> Response:
        answer = of_error(error)
        if answer is None:
            raise error
        return answer

    async def mistaken(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        model = getattr(request.scope.get("endpoint"), "told", None)
        return of_mistakes(error, list(model.model_fields) if model else [])

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        is_nowhere = status == HTTPStatus.NOT_FOUND
        detail, hint = (
            ("nothing is here", "/docs names every route") if is_nowhere else (str(error.detail), "")
        )
        code = status.phrase.lower().replace(" ", "_")
        return problem(status, code, detail, hint=hint, headers=dict(error.headers or {}))

    async def broken(request: Request, error: Exception) -> Response:
        structlog.get_logger().error("an answer failed", route=request.url.path, exc_info=error)
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR, "bug", "this is a bug in tape", hint="its log says more"
        )

    for kinds, _, _ in EXPECTED:
        for kind in kinds:
            app.add_exception_handler(kind, expected)
    app.add_exception_handler(RequestValidationError, mistaken)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(Exception, broken)
