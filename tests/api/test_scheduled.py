"""What is said later over the API."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.utils import timezone

from postroom.conversations.models import Contact, Message, ScheduledMessage
from postroom.flows import scheduling
from postroom.flows.drafts import Draft
from postroom.outgoing.models import Email
from tests.api.conftest import RECORD, Program, program_in
from tests.people import cast

pytestmark = pytest.mark.django_db
MESSAGES = f"{RECORD}/messages"
LATER = "/scheduled-messages"


def ahead(**length: float) -> str:
    return (timezone.now() + timedelta(**length)).isoformat()


def body(response: HttpResponse, status: int) -> Any:
    assert response.status_code == status, response.content
    return json.loads(response.content)


def scheduled(program: Program, **given: Any) -> Any:
    return body(program.post(MESSAGES, {"text": "Shipped.", "post_at": ahead(hours=2), **given}), 202)


def test_it_is_said_later_and_the_answer_says_when(program: Program) -> None:
    at = ahead(hours=2)
    answer = scheduled(program, post_at=at, to=["carla@example.com"], subject="On its way")
    assert (answer["state"], answer["record"], answer["to"]) == (
        "waiting",
        "sale.order/SO042",
        ["carla@example.com"],
    )
    assert answer["author"]["address"] == "ana@demo.example"
    assert not Message.objects.filter(kind="comment").exists()
    [listed] = body(program.get(LATER), 200)["data"]
    assert listed == body(program.get(f"{LATER}/{answer['id']}"), 200)
    assert (listed["id"], listed["post_at"][:16]) == (answer["id"], at[:16])


def test_a_time_that_has_passed_is_now(program: Program) -> None:
    assert body(program.post(MESSAGES, {"text": "Shipped.", "post_at": ahead(hours=-2)}), 201)["id"]


def test_a_repeated_request_schedules_once(program: Program) -> None:
    wanted = {"text": "Shipped.", "post_at": ahead(hours=2)}
    first = program.post(MESSAGES, wanted, Idempotency_Key="1")
    assert program.post(MESSAGES, wanted, Idempotency_Key="1").content == first.content
    assert ScheduledMessage.objects.count() == 1


@pytest.mark.parametrize("at", ["2026-12-01T09:00:00", "soon", "2999-12-01T09:00:00Z"])
def test_a_time_without_a_zone_or_too_far_ahead_is_refused(program: Program, at: str) -> None:
    for name in ("post_at", "send_at"):
        assert program.post(MESSAGES, {"text": "Shipped.", name: at}).status_code == 422
    assert not ScheduledMessage.objects.exists()
    assert not Email.objects.exists()


def test_it_is_changed_moved_and_called_off(program: Program) -> None:
    path = f"{LATER}/{scheduled(program)['id']}"
    at = ahead(days=3)
    changed = body(program.ask("patch", path, {"text": "Shipped on Monday.", "post_at": at}), 200)
    assert changed["text"] == "Shipped on Monday."
    assert changed["post_at"][:16] == at[:16]
    assert body(program.ask("delete", path), 200)["state"] == "cancelled"
    again = program.ask("delete", path)
    assert (again.status_code, json.loads(again.content)["code"]) == (422, "refused")


@pytest.mark.parametrize("at", ["2999-12-01T09:00:00Z", "0001-01-01T00:00:00+14:00"])
def test_a_change_that_is_refused_changes_nothing(program: Program, at: str) -> None:
    """Neither the words nor the time."""
    path = f"{LATER}/{scheduled(program)['id']}"
    Contact.objects.update(is_active=False)  # one time has passed, and cannot be said at once
    before = body(program.get(path), 200)
    assert program.ask("patch", path, {"text": "Changed.", "post_at": at}).status_code == 422
    assert body(program.get(path), 200) == before


def test_emails_never_leave_before_what_they_say_is_said(program: Program) -> None:
    """A later `post_at` takes them along; an earlier `send_at` is refused, and times that suit are not."""
    path = f"{LATER}/{scheduled(program, post_at=ahead(days=1), send_at=ahead(days=2))['id']}"
    early = program.ask("patch", path, {"send_at": ahead(hours=1)})
    assert "cannot leave before" in body(early, 422)["detail"]
    assert body(program.ask("patch", path, {"post_at": ahead(days=3)}), 200)["send_at"] is None
    both = body(program.ask("patch", path, {"post_at": ahead(days=5), "send_at": ahead(days=6)}), 200)
    assert both["post_at"] < both["send_at"]
    crossed = {"text": "Shipped.", "post_at": ahead(days=2), "send_at": ahead(days=1)}
    assert program.post(MESSAGES, crossed).status_code == 422


def test_what_waits_to_be_undone_and_what_was_is_its_writers_alone(program: Program) -> None:
    """Ben, a member like them, reads nothing of it."""
    people = program.people
    draft = Draft(
        workspace=people.workspace,
        record=people.record,
        member=people.olga,
        author=Contact.objects.get(member=people.olga),
        text="He is wrong.",
    )
    row = scheduling.schedule(draft, timezone.now() + timedelta(seconds=20), is_undo_window=True)
    for _ in range(2):
        assert body(program.get(LATER), 200)["data"] == []
        assert program.get(f"{LATER}/sch_{row.pk}").status_code == 404
        if row.state == "waiting":
            row = scheduling.cancel(row, people.olga)


def test_it_is_said_at_once_by_a_time_that_has_passed(program: Program) -> None:
    path = f"{LATER}/{scheduled(program)['id']}"
    said = body(program.ask("patch", path, {"post_at": ahead(hours=-1)}), 200)
    assert said["state"] == "posted"
    assert body(program.get(f"/messages/{said['message']}"), 200)["text"].strip() == "Shipped."


def test_why_it_could_not_be_said_is_told(program: Program) -> None:
    answer = scheduled(program, to=["carla@example.com"])
    type(program.people.carla).objects.filter(pk=program.people.carla.pk).update(is_active=False)
    ScheduledMessage.objects.update(post_at=timezone.now())
    scheduling.post_due()
    [failed] = body(program.get(f"{LATER}?state=failed"), 200)["data"]
    assert failed["id"] == answer["id"]
    assert "Carla Stan" in failed["failure_text"]


def test_emails_leave_later_are_moved_and_leave_at_once(program: Program) -> None:
    posted = body(program.post(MESSAGES, {"text": "Shipped.", "send_at": ahead(hours=2)}), 201)
    assert posted["recipients"][0]["due_at"] == posted["send_at"]
    path = f"/messages/{posted['id']}"
    moved = body(program.ask("patch", path, {"send_at": ahead(hours=9)}), 200)
    assert moved["recipients"][0]["due_at"] == moved["send_at"] > posted["send_at"]
    assert body(program.ask("patch", path, {"send_at": None}), 200)["send_at"] is None
    Email.objects.update(state="sent")
    assert program.ask("patch", path, {"send_at": None}).status_code == 422


def test_nothing_of_it_is_seen_or_touched_from_another_workspace(program: Program) -> None:
    path = f"{LATER}/{scheduled(program)['id']}"
    message = body(program.post(MESSAGES, {"text": "Shipped.", "send_at": ahead(hours=2)}), 201)
    stranger = program_in(cast("neighbour"))
    assert body(stranger.get(LATER), 200)["data"] == []
    for answer in (
        stranger.get(path),
        stranger.ask("patch", path, {"text": "Mine."}),
        stranger.ask("delete", path),
        stranger.ask("patch", f"/messages/{message['id']}", {"send_at": None}),
    ):
        assert answer.status_code == 404


def test_captured_and_redirected_mail_is_found(program: Program) -> None:
    program.post(MESSAGES, {"text": "Shipped.", "to": ["carla@example.com"]})
    first, second = Email.objects.order_by("pk")
    Email.objects.filter(pk=first.pk).update(redirected_to="me@test.example")
    Email.objects.filter(pk=second.pk).update(state="cancelled", cancelled_because="captured")
    [redirected] = body(program.get("/emails?capture=redirected"), 200)["data"]
    [captured] = body(program.get("/emails?capture=captured"), 200)["data"]
    assert (redirected["id"], redirected["redirected_to"]) == (f"em_{first.pk}", "me@test.example")
    assert (captured["id"], captured["redirected_to"]) == (f"em_{second.pk}", None)
