"""What the API says of itself: every route with an example that is true; a page that asks nobody else."""

import re
from typing import Any

import pytest

from query.questions import QUESTIONS
from query.rest.reference import page
from tests.query.rest.conftest import Served

OTHERS = {"/v1/stream", "/v1/sql"}


@pytest.fixture(scope="module")
def described(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = served.get("/openapi.json").json()
    return found


def test_every_route_is_described_with_an_example(described: dict[str, Any]) -> None:
    assert set(described["paths"]) == {f"/v1/{name}" for name in QUESTIONS} | OTHERS
    names = set()
    for methods in described["paths"].values():
        for operation in methods.values():
            names.add(operation["operationId"])
            assert any("example" in form for form in operation["responses"]["200"]["content"].values())
            assert operation["summary"]
            assert all(
                each.get("description") or each["name"] == "format"
                for each in operation.get("parameters", ())
            )
    assert len(names) == len(described["paths"])


def test_the_columns_of_an_example_are_those_of_an_answer(described: dict[str, Any], served: Served) -> None:
    for name in QUESTIONS:
        content = described["paths"][f"/v1/{name}"]["get"]["responses"]["200"]["content"]
        example = content["application/json"]["example"]
        answer = served.get(f"/v1/{name}").json()
        assert answer.keys() == example.keys()
        if answer["rows"]:
            assert set(example["rows"][0]) <= set(answer["rows"][0]), name
            for column, value in example["rows"][0].items():
                true = answer["rows"][0][column]
                assert true is None or value is None or isinstance(value, type(true) | int), (name, column)


def test_the_page_asks_nobody_else(served: Served) -> None:
    text = served.get("/docs").text
    assert not re.search(r"https?://|//cdn|<script|style=|onclick", text)
    for name in QUESTIONS:
        assert f"GET /v1/{name}<" in text
    style = re.findall(r'<link rel="stylesheet" href="([^"]+)">', text)
    assert [served.get(path).status_code for path in style] == [200]


def test_hostile_text_stays_text() -> None:
    evil = "<script>alert(1)</script>"
    operation = {
        "summary": evil,
        "parameters": [{"name": evil, "schema": {"enum": [evil]}}],
        "responses": {"200": {}},
    }
    text = page(
        {"info": {"title": evil, "version": evil, "description": evil}, "paths": {evil: {"get": operation}}}
    )
    assert "<script" not in text
