"""Scheduled actions over the API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.utils import timezone

from postroom.flows.keys import make_key
from postroom.schedule.catalogue import SHIPPED
from postroom.schedule.models import ScheduledAction, Trigger
from postroom.workspaces.models import Workspace
from tests.api.conftest import Program, program_in
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
QUEUE = "/actions/mail_queue"


@pytest.fixture
def admin(people: Cast) -> Program:
    """A program that acts as Olga."""
    return Program(people, make_key(people.olga, "console", by=people.olga)[1])


def body(response: HttpResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def stored(key: str = "mail_queue", slug: str = "demo") -> ScheduledAction:
    return ScheduledAction.objects.get(workspace__slug=slug, key=key)


def let_run(key: str = "mail_queue") -> None:
    now = timezone.now()
    ScheduledAction.objects.filter(key=key).update(
        lease="x", began_at=now, leased_until=now + timedelta(minutes=1)
    )


def test_all_actions_are_listed_with_their_state(admin: Program) -> None:
    listed = body(admin.get("/actions"))["data"]
    assert [each["key"] for each in listed] == list(SHIPPED)
    queue = listed[0]
    assert (queue["name"], queue["every"], queue["state"]) == (
        "Mail: Email Queue Manager",
        "every 60 minutes",
        "new",
    )
    assert (queue["time_zone"], queue["has_own_time_zone"], queue["is_final"]) == ("UTC", False, False)
    assert queue["runs_next_at"] == queue["next_call_at"]


def test_what_this_version_does_not_have_is_said(admin: Program) -> None:
    mailboxes = body(admin.get("/actions/fetchmail"))
    assert (mailboxes["is_available"], mailboxes["state"], mailboxes["is_final"]) == (
        False,
        "not_available",
        True,
    )
    assert mailboxes["runs_next_at"] is None
    assert "This version of Postroom" in mailboxes["meaning"]
    for answer in (admin.post("/actions/fetchmail/run", {}), change(admin, "fetchmail", is_active=True)):
        refused = body(answer, 422)
        assert (refused["code"], refused["detail"]) == ("refused", mailboxes["meaning"])
    assert not Trigger.objects.exists()


def change(program: Program, action: str, **changed: Any) -> HttpResponse:
    return program.ask("patch", f"/actions/{action}", changed)


def test_what_is_given_is_changed_and_the_rest_stays(admin: Program) -> None:
    before = stored()
    changed = body(change(admin, "mail_queue", interval=30))
    assert (changed["action"]["interval"], changed["action"]["unit"]) == (30, "minutes")
    assert changed["warnings"] == []
    after = stored()
    assert (after.interval, after.priority, after.is_active) == (30, before.priority, True)
    at = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    moved = body(change(admin, "auto_vacuum", next_call_at=at.isoformat(), time_zone="europe/madrid"))
    assert (moved["action"]["time_zone"], moved["action"]["has_own_time_zone"]) == ("Europe/Madrid", True)
    assert stored("auto_vacuum").next_call_at == at
    assert body(change(admin, "auto_vacuum", time_zone=""))["action"]["time_zone"] == "UTC"


def test_a_time_without_an_offset_is_meant_by_the_clock_of_the_action(admin: Program) -> None:
    """As on the page and on the command line; what is out of bounds is refused in our own words."""
    at = (timezone.now() + timedelta(days=2)).replace(hour=3, minute=20, second=0, microsecond=0)
    body(change(admin, "auto_vacuum", next_call_at=f"{at:%Y-%m-%dT%H:%M}", time_zone="Asia/Tokyo"))
    assert stored("auto_vacuum").next_call_at == at - timedelta(hours=9)
    assert "1 to 999" in body(change(admin, "auto_vacuum", interval=0), 422)["detail"]


def test_switching_off_the_email_queue_warns_that_bulk_mail_waits(admin: Program) -> None:
    [warning] = body(change(admin, "mail_queue", is_active=False))["warnings"]
    assert "All bulk mail waits from now on" in warning
    assert body(change(admin, "mail_queue", is_active=True))["warnings"] == []


def test_an_interval_that_is_short_for_mail_is_taken_with_a_warning(admin: Program) -> None:
    [warning] = body(change(admin, "mail_queue", interval=10))["warnings"]
    assert "Under 15 minutes" in warning
    assert stored().interval == 10


def test_one_is_switched_off_and_on(admin: Program) -> None:
    off = body(change(admin, "dns_check", is_active=False))["action"]
    assert (off["state"], off["is_final"], off["runs_next_at"]) == ("off", True, None)
    assert body(change(admin, "dns_check", is_active=True))["action"]["state"] == "new"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"interval": 4}, "refused"),
        ({"interval": 0}, "refused"),
        ({"interval": None}, "malformed"),
        ({"unit": "years"}, "malformed"),
        ({"time_zone": "Bucharest"}, "refused"),
        ({"time_zone": "a\0b"}, "malformed"),
        ({"next_call_at": "2001-01-01T00:00:00Z"}, "refused"),
        ({"next_call_at": "9999-12-31T23:59:59", "time_zone": "America/Lima"}, "refused"),
        ({"next_call_at": "tomorrow"}, "malformed"),
        ({"next_call_at": "9999-12-31T23:59:59-12:00"}, "refused"),
        ({"priority": 100}, "refused"),
        ({"key": "mine"}, "malformed"),
    ],
)
def test_what_cannot_be_changes_nothing(admin: Program, changed: dict[str, Any], code: str) -> None:
    before = ScheduledAction.objects.values().get(pk=stored().pk)
    assert body(change(admin, "mail_queue", **changed), 422)["code"] == code
    assert ScheduledAction.objects.values().get(pk=stored().pk) == before


def test_nothing_is_changed_by_an_empty_request(admin: Program) -> None:
    before = ScheduledAction.objects.values().get(pk=stored().pk)
    assert body(change(admin, "mail_queue"))["action"]["interval"] == 60
    assert ScheduledAction.objects.values().get(pk=stored().pk) == before


def test_one_is_run_by_hand_once(admin: Program) -> None:
    asked = body(admin.post(f"{QUEUE}/run", {}), 202)["action"]
    assert asked["state"] == "due"
    assert [each["is_by_hand"] for each in asked["triggers"]] == [True]
    assert body(admin.post(f"{QUEUE}/run", {}), 422)["code"] == "refused"
    assert Trigger.objects.count() == 1


def test_running_the_mailing_queue_by_hand_warns(admin: Program) -> None:
    [warning] = body(admin.post("/actions/mailing_queue/run", {}), 202)["warnings"]
    assert "does not make it faster" in warning


def test_while_it_runs_it_is_neither_changed_nor_run(admin: Program) -> None:
    let_run()
    assert body(admin.get(QUEUE))["state"] == "running"
    for answer in (admin.post(f"{QUEUE}/run", {}), change(admin, "mail_queue", interval=30)):
        refused = body(answer, 409)
        assert refused["code"] == "action_running"
        assert "It has been running since" in refused["detail"]
    assert (stored().interval, Trigger.objects.count()) == (60, 0)


def test_an_action_that_there_is_not_is_not_found(admin: Program) -> None:
    assert body(admin.get("/actions/nothing"), 404)["code"] == "not_found"
    assert body(change(admin, "nothing", interval=30), 404)["code"] == "not_found"
    assert body(admin.post("/actions/nothing/run", {}), 404)["code"] == "not_found"


def test_to_a_member_there_are_no_actions(people: Cast) -> None:
    program = program_in(people)
    for answer in (
        program.get("/actions"),
        program.get(QUEUE),
        change(program, "mail_queue", interval=30),
        program.post(f"{QUEUE}/run", {}),
    ):
        assert "an administrator" in body(answer, 404)["detail"]
    assert (stored().interval, Trigger.objects.count()) == (60, 0)


def test_the_same_key_is_another_action_in_every_workspace(admin: Program) -> None:
    neighbours = cast("next")
    next_door = Program(neighbours, make_key(neighbours.olga, "console", by=neighbours.olga)[1])
    Workspace.objects.filter(pk=neighbours.workspace.pk).update(time_zone="Europe/Bucharest")
    body(change(next_door, "mail_queue", interval=45))
    body(next_door.post(f"{QUEUE}/run", {}), 202)
    ours = body(admin.get(QUEUE))
    assert (ours["interval"], ours["time_zone"], ours["triggers"]) == (60, "UTC", [])
    assert body(next_door.get(QUEUE))["time_zone"] == "Europe/Bucharest"
