"""Records over the API."""

from __future__ import annotations

import json

import pytest

from postroom.conversations.models import Record
from tests.api.conftest import RECORD, Program

pytestmark = pytest.mark.django_db


def test_a_record_is_made_once_and_then_brought_up_to_date(program: Program) -> None:
    path = "/records/sale.order/SO900"
    wanted = {"title": "Lamps", "url": "https://erp.example/900", "followers": ["Dora@Example.org"]}
    made = program.put(path, wanted)
    assert made.status_code == 201
    assert json.loads(made.content)["title"] == "Lamps"
    again = program.put(path, {"title": "Forty lamps"})
    assert again.status_code == 200
    shown = json.loads(program.get(path).content)
    assert shown["title"] == "Forty lamps"
    assert shown["url"] == "https://erp.example/900"
    assert "dora@example.org" in [person["address"] for person in shown["followers"]]


def test_the_responsible_has_to_be_a_member(program: Program) -> None:
    fits = program.put(RECORD, {"title": "x", "responsible": "olga@demo.example"})
    assert json.loads(fits.content)["responsible"]["address"] == "olga@demo.example"
    refused = program.put(RECORD, {"title": "x", "responsible": "ben@example.org"})
    assert refused.status_code == 422
    assert json.loads(refused.content)["errors"][0]["field"] == "responsible"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": ""}, "title"),
        ({"title": "x", "url": "javascript:alert(1)"}, "url"),
        ({"title": "x", "folowers": []}, "folowers"),
    ],
)
def test_a_record_that_cannot_be_read_names_the_field(program: Program, body: object, field: str) -> None:
    response = program.put(RECORD, body)
    assert response.status_code == 422
    problem = json.loads(response.content)
    assert problem["code"] == "malformed"
    assert [error["field"] for error in problem["errors"]] == [field]


def test_a_follower_that_is_no_address_changes_nothing(program: Program) -> None:
    response = program.put("/records/sale.order/SO901", {"title": "x", "followers": ["not an address"]})
    assert (response.status_code, json.loads(response.content)["code"]) == (422, "address_malformed")
    assert not Record.objects.filter(external_id="SO901").exists()


def test_pages_follow_each_other_by_their_cursor_without_gap_or_repetition(program: Program) -> None:
    for number in range(5):
        program.put(f"/records/a.b/{number}", {"title": str(number)})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = json.loads(program.get(f"/records?limit=2&cursor={cursor}").content)
        seen += [record["id"] for record in page["data"]]
        cursor = page["next_cursor"]
    newest_first = [f"rec_{pk}" for pk in Record.objects.order_by("-pk").values_list("pk", flat=True)]
    assert seen == newest_first


@pytest.mark.parametrize("cursor", ["!", "YWJj", "YmVmb3JlOng", "%01", "é"])
def test_what_is_no_cursor_is_said_to_be_none(program: Program, cursor: str) -> None:
    response = program.get(f"/records?cursor={cursor}")
    assert (response.status_code, json.loads(response.content)["code"]) == (422, "cursor_malformed")


def test_a_record_that_does_not_exist_is_not_found(program: Program) -> None:
    response = program.get("/records/sale.order/none")
    assert (response.status_code, json.loads(response.content)["code"]) == (404, "not_found")


def test_the_problem_says_where_its_remedy_is_described(program: Program) -> None:
    problem = json.loads(program.get("/records/sale.order/none").content)
    path = problem["docs_url"].partition("/api/v1")[2]
    assert json.loads(program.get(path).content)["what_to_do"].startswith("There is nothing with this id")


@pytest.mark.parametrize("path", ["/nothing", "/emails/em_1/resurrect"])
def test_an_address_that_is_no_endpoint_is_said_to_be_none(program: Program, path: str) -> None:
    answer = program.post(path, {})
    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert json.loads(answer.content)["code"] == "no_such_endpoint"
