"""Errors as problems: what was expected has a code and a hint; a bug says nothing of us."""

import json
from http import HTTPStatus

import duckdb
import pytest

from connectors.catalog import LakeError
from connectors.errors import TapeError, unknown
from query.database import SqlError
from query.rest.forms import NotAcceptable
from query.rest.problems import MEDIA_TYPE, Unready, of_error, problem


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (unknown("venue", "krakn", ["kraken"]), 404, "unknown_venue"),
        (Unready("later", seconds=7), 503, "unavailable"),
        (LakeError("away"), 503, "refused"),
        (SqlError("no"), 400, "refused"),
        (TapeError("no"), 400, "refused"),
        (NotAcceptable("no"), 406, "not_acceptable"),
        (duckdb.IOException("IO Error: /secret/place"), 503, "unavailable"),
        (duckdb.OutOfMemoryException("/secret"), 503, "unavailable"),
        (ConnectionError("/secret"), 503, "unavailable"),
    ],
)
def test_an_expected_error_has_a_status_and_a_code(error: Exception, status: int, code: str) -> None:
    response = of_error(error)
    assert response is not None
    said = json.loads(bytes(response.body))
    assert (response.status_code, said["status"], said["code"]) == (status, status, code)
    assert response.media_type == MEDIA_TYPE
    assert b"secret" not in bytes(response.body)
    assert ("retry-after" in response.headers) == (status == 503)


def test_a_bug_is_not_expected() -> None:
    assert of_error(ZeroDivisionError()) is None
    assert of_error(duckdb.BinderException("ours")) is None


def test_a_problem_says_what_the_standard_asks_for() -> None:
    said = json.loads(bytes(problem(HTTPStatus.NOT_FOUND, "x", "words", hint="do this").body))
    assert said == {
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "x", "detail": "words",
        "hint": "do this",
    }  # fmt: skip
