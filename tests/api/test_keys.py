"""Who may call."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from postroom.flows.keys import make_key, revoke_key
from postroom.workspaces.models import ApiKey, Member
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.api.conftest import RECORD, Program
from tests.people import cast

pytestmark = pytest.mark.django_db


def test_a_key_opens_its_workspace(program: Program) -> None:
    assert program.get(RECORD).status_code == 200


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer x", "Basic eDp5", "Bearer pr_00000000_wrong"])
def test_without_a_key_the_answer_is_401_and_says_what_to_send(program: Program, sent: str | None) -> None:
    response = Client().get(f"/api/v1{RECORD}", headers={"Authorization": sent} if sent else {})
    assert response.status_code == 401
    assert response["Content-Type"] == "application/problem+json"
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert json.loads(response.content)["code"] == "key_missing_or_unknown"


def test_a_key_with_one_wrong_character_opens_nothing(program: Program) -> None:
    other = "A" if program.key[-1] != "A" else "B"
    assert Program(program.people, program.key[:-1] + other).get(RECORD).status_code == 401


def test_a_revoked_key_opens_nothing(program: Program) -> None:
    revoke_key(ApiKey.objects.get(), by=program.people.olga)
    assert program.get(RECORD).status_code == 401


def test_a_key_opens_nothing_once_its_member_may_not_log_in(program: Program) -> None:
    Member.objects.filter(pk=program.people.ana.pk).update(is_active=False)
    assert program.get(RECORD).status_code == 401


def test_the_last_use_is_noted_at_most_once_a_minute(program: Program) -> None:
    program.get(RECORD)
    first = ApiKey.objects.get().last_used_at
    assert first is not None
    program.get(RECORD)
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    program.get(RECORD)
    again = ApiKey.objects.get().last_used_at
    assert again is not None
    assert again > first - timedelta(seconds=1)


def test_only_an_administrator_makes_a_key(program: Program) -> None:
    with pytest.raises(RequestRefused):
        make_key(program.people.ana, "mine", by=program.people.ana)


def test_a_key_for_another_workspace_is_refused(program: Program) -> None:
    with pytest.raises(AcrossTheWall):
        make_key(cast("next").ana, "theirs", by=program.people.olga)


def test_the_openapi_document_needs_no_key_and_names_every_problem_that_is_documented() -> None:
    document = json.loads(Client().get("/api/v1/openapi.json").content)
    assert document["openapi"].startswith("3.1")
    post = document["paths"]["/api/v1/records/{model}/{external_id}/messages"]["post"]
    assert {"201", "401", "404", "409", "422"} <= set(post["responses"])
