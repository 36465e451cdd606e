"""Capture mode and system parameters over the API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse

from postroom.flows.keys import make_key
from postroom.workspaces import installation, parameters
from postroom.workspaces.models import Installation, Member, Role, Workspace
from tests.api.conftest import Program, program_in
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
KEY = "mail.undo.seconds"


@pytest.fixture
def operator(people: Cast) -> Program:
    return Program(people, make_key(people.olga, "console", by=people.olga)[1])


@pytest.fixture
def admin(people: Cast) -> Program:
    """An administrator who is no operator."""
    key = make_key(people.ana, "shop", by=people.olga)[1]
    Member.objects.filter(pk=people.ana.pk).update(role=Role.ADMIN)
    return Program(people, key)


def body(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def test_a_workspace_is_captured_redirected_and_let_go(admin: Program) -> None:
    on = body(admin.put("/capture", {"mode": "redirect", "to": "me@example.org"}))
    [level] = on["levels"]
    assert (level["level"], level["mode"], level["to"]) == ("workspace", "redirect", "me@example.org")
    assert body(admin.get("/capture")) == on
    assert body(admin.put("/capture", {"mode": "off"}))["levels"] == []
    assert body(admin.put("/capture", {"mode": "redirect"}), 422)["code"] == "refused"
    assert not Workspace.objects.get().is_capturing


def test_the_installation_is_captured_by_operators_only(admin: Program, operator: Program) -> None:
    installation.recognise()
    wanted = {"level": "installation", "mode": "all"}
    assert "an operator" in body(admin.put("/capture", wanted), 404)["detail"]
    assert not Installation.objects.exclude(capturing_since=None).exists()
    assert body(operator.put("/capture", wanted))["installation"] is True


def test_the_workspace_is_renamed_and_moved_to_another_clock(admin: Program) -> None:
    shown = body(admin.ask("patch", "/workspace", {"time_zone": "europe/madrid"}))
    assert (shown["slug"], shown["name"], shown["time_zone"]) == ("demo", "Demo Company", "Europe/Madrid")
    assert body(admin.ask("patch", "/workspace", {"name": "Lamps"}))["time_zone"] == "Europe/Madrid"
    assert body(admin.get("/workspace"))["name"] == "Lamps"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({"name": "Lamps", "time_zone": "Europe/Nowhere"}, "refused"),
        ({"name": "x" * 121}, "malformed"),
        ({"name": ""}, "malformed"),
        ({"slug": "mine"}, "malformed"),
    ],
)
def test_a_workspace_that_cannot_be_changed_so_stays(
    admin: Program, wanted: dict[str, str], code: str
) -> None:
    assert body(admin.ask("patch", "/workspace", wanted), 422)["code"] == code
    workspace = Workspace.objects.get()
    assert (workspace.name, workspace.time_zone) == ("Demo Company", "UTC")


def test_a_member_sees_no_settings_of_the_workspace(people: Cast) -> None:
    program = program_in(people)
    assert body(program.get("/workspace"), 404)["code"] == "not_found"
    assert body(program.ask("patch", "/workspace", {"name": "Mine"}), 404)["code"] == "not_found"


def test_parameters_are_set_all_or_none(admin: Program) -> None:
    shown = body(admin.put("/parameters", {"values": {KEY: "10"}}))["data"]
    [undo] = [each for each in shown if each["key"] == KEY]
    assert (undo["value"], undo["is_default"]) == ("10", False)
    assert undo["takes"] == "a whole number from 0 to 300"
    refused = {"values": {KEY: "20", "mail.retry.deadline_hours": "0"}}
    assert "from 1 to 8760" in body(admin.put("/parameters", refused), 422)["detail"]
    assert parameters.value(admin.people.workspace.pk, KEY) == 10
    body(admin.put("/parameters", {"values": {KEY: ""}}))
    assert body(admin.get("/parameters"))["data"] != shown


@pytest.mark.parametrize("path", ["/capture", "/parameters"])
def test_a_member_has_neither(program: Program, path: str) -> None:
    assert "an administrator" in body(program.get(path), 404)["detail"]
    assert "an administrator" in body(program.put("/capture", {"mode": "all"}), 404)["detail"]
    assert "an administrator" in body(program.put("/parameters", {"values": {KEY: "1"}}), 404)["detail"]


def test_what_one_workspace_sets_is_not_seen_next_door(admin: Program) -> None:
    """Nor is it theirs."""
    neighbour = program_in(cast("next"))
    Member.objects.filter(pk=neighbour.people.ana.pk).update(role=Role.ADMIN)
    body(admin.put("/capture", {"mode": "all"}))
    body(admin.put("/parameters", {"values": {KEY: "10"}}))
    theirs = body(neighbour.get("/capture"))
    assert (theirs["levels"], theirs["workspaces"]) == ([], [])
    assert all(each["is_default"] for each in body(neighbour.get("/parameters"))["data"])
