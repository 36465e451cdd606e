"""What leads nowhere is answered with a problem, never with a page."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import RECORD, Program

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("delete", RECORD, {"GET", "PUT"}),
        ("put", "/emails", {"GET"}),
        ("options", f"{RECORD}/messages", {"GET", "POST"}),
    ],
)
def test_a_wrong_method_is_a_problem_that_lists_the_right_ones(
    program: Program, method: str, path: str, allowed: set[str]
) -> None:
    response = program.ask(method, path)
    assert (response.status_code, response["Content-Type"]) == (405, "application/problem+json")
    assert json.loads(response.content)["code"] == "method_not_allowed"
    assert {name.strip() for name in response["Allow"].split(",")} >= allowed


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", "no slash at their end"),
        ("/emails/", "no slash at their end"),
        (f"{RECORD}/", "no slash at their end"),
        ("/records/sale.order/SO%2F42", "not even as %2F"),
        ("/nonsense", "is not part of this API"),
    ],
)
def test_an_address_that_leads_nowhere_is_a_problem_with_a_hint(
    program: Program, path: str, words: str
) -> None:
    response = program.get(path)
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")
    assert json.loads(response.content)["code"] == "no_such_endpoint"
    assert words in json.loads(response.content)["detail"]


def test_the_wrong_method_problem_has_a_page_of_its_own(program: Program) -> None:
    assert "Allow" in json.loads(program.get("/problems/method_not_allowed").content)["what_to_do"]
