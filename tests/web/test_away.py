"""What is answered while the database is away."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client

from tests.people import Cast


def away(*_: object, **__: object) -> None:
    raise OperationalError("connection to server at 10.1.2.3 failed")


def test_a_page_says_that_the_database_is_away_and_that_nothing_is_lost(
    people: Cast, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.raise_request_exception = False
    client.force_login(people.ana.user)
    monkeypatch.setattr("postroom.web.membership._memberships", away)
    answer = client.get("/")
    assert (answer.status_code, answer["Retry-After"]) == (503, "10")
    page = answer.content.decode()
    assert "The database does not answer at this moment" in page
    assert "10.1.2.3" not in page
    assert "Traceback" not in page


def test_another_fault_stays_a_fault(people: Cast, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    client.force_login(people.ana.user)

    def broken(*_: object, **__: object) -> None:
        raise ValueError("a defect")

    monkeypatch.setattr("postroom.web.membership._memberships", broken)
    assert client.get("/").status_code == 500


def test_a_program_reads_a_problem(people: Cast, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.raise_request_exception = False
    client.force_login(people.ana.user)
    monkeypatch.setattr("postroom.web.membership._memberships", away)
    answer = client.get("/api/v1/records")
    assert (answer.status_code, answer["Content-Type"]) == (503, "application/problem+json")
    assert (answer.json()["code"], answer["Retry-After"]) == ("unavailable", "10")
    assert "in 10 seconds" in answer.json()["detail"]
