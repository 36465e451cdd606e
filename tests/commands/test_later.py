"""What is said later, and capture mode, on the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models import Contact, ScheduledMessage
from postroom.flows import scheduling
from postroom.outgoing.models import Email
from postroom.workspaces.models import Installation, Workspace
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits
from tests.people import Cast

pytestmark = pytest.mark.django_db
POST = ("message", "post", "--record", "sale.order/SO042", "--as", "ana@demo.example", "--body", "Hello")
TOMORROW = (timezone.now() + timedelta(days=1)).strftime("%Y-%m-%d %H:%M")
MONDAY = (timezone.now() + timedelta(days=9)).strftime("%Y-%m-%d %H:%M")


def test_a_message_is_scheduled_moved_and_called_off(postroom: Postroom, people: Cast) -> None:
    made = postroom(*POST, "--post-at", TOMORROW, "--json")
    assert fits(made, "message post")
    assert (made.json["state"], made.json["post_at"]) == ("waiting", f"{TOMORROW.replace(' ', 'T')}:00Z")
    listed = postroom("message", "scheduled", "--json")
    assert fits(listed, "message scheduled")
    assert [row["id"] for row in listed.json["data"]] == [made.json["id"]]
    moved = postroom("message", "reschedule", made.json["id"], MONDAY, "--json")
    assert fits(moved, "message reschedule")
    assert moved.json["post_at"].startswith(MONDAY.replace(" ", "T"))
    off = postroom("message", "call-off", made.json["id"], "--json")
    assert fits(off, "message call-off")
    assert off.json["state"] == "cancelled"
    assert "Nothing there" in postroom("message", "scheduled").out


def test_what_was_taken_back_is_listed_without_its_words(postroom: Postroom, people: Cast) -> None:
    """They are for its writer."""
    postroom(*POST, "--post-at", TOMORROW)
    ScheduledMessage.objects.update(state="cancelled", is_undo_window=True)
    for listed in (
        postroom("message", "scheduled").out,
        str(postroom("message", "scheduled", "--json").json),
    ):
        assert "taken back" in listed
        assert "Hello" not in listed


def test_a_time_without_an_offset_is_utc_and_one_with_it_is_heeded(postroom: Postroom, people: Cast) -> None:
    plain = postroom(*POST, "--post-at", f"{TOMORROW}", "--json").json["post_at"]
    there = postroom(*POST, "--post-at", f"{TOMORROW}+02:00", "--json").json["post_at"]
    assert plain > there


def test_now_says_it_at_once(postroom: Postroom, people: Cast) -> None:
    made = postroom(*POST, "--post-at", TOMORROW, "--json").json["id"]
    assert "was posted as msg_" in postroom("message", "reschedule", made, "now").out


def test_emails_are_moved_and_called_off(postroom: Postroom, people: Cast) -> None:
    made = postroom(*POST, "--send-at", TOMORROW, "--json").json
    assert made["recipients"][0]["due_at"] == made["send_at"] == f"{TOMORROW.replace(' ', 'T')}:00Z"
    moved = postroom("message", "reschedule", made["id"], MONDAY, "--json")
    assert fits(moved, "message reschedule")
    assert "1 email was cancelled" in postroom("message", "call-off", made["id"]).out
    assert Email.objects.get().state == "cancelled"
    assert postroom("message", "call-off", made["id"]).exit_code == 1


def test_what_could_not_be_said_is_listed_with_the_reason(postroom: Postroom, people: Cast) -> None:
    postroom(*POST, "--post-at", TOMORROW, "--to", "carla@example.com")
    Contact.objects.filter(pk=people.carla.pk).update(is_active=False)
    ScheduledMessage.objects.update(post_at=timezone.now())
    scheduling.post_due()
    assert "could not be said: It names somebody who is no longer active: Carla Stan." in (
        postroom("message", "scheduled").out
    )


@pytest.mark.parametrize("arguments", [("--post-at", "soon"), ("--send-at", "25:00")])
def test_a_time_that_is_none_is_wrong_use(postroom: Postroom, people: Cast, arguments: Any) -> None:
    ran = postroom(*POST, *arguments)
    assert (ran.exit_code, "2027-03-01 09:00" in ran.err) == (2, True)
    assert postroom("message", "call-off", "xy_3").exit_code == 1


def test_mail_is_redirected_for_all_and_let_through_to_a_few_in_one_workspace(
    postroom: Postroom, people: Cast
) -> None:
    on = postroom("capture", "on", "--mode", "redirect", "--to", "Me@Test.example", "--json")
    assert fits(on, "capture on")
    [level] = on.json["levels"]
    assert (level["level"], level["mode"], level["to"]) == ("installation", "redirect", "me@test.example")
    allow = ("--mode", "allow", "--allow", "example.org", "--allow", "carla@example.com")
    ran = postroom("capture", "on", "--workspace", "demo", *allow)
    assert "everything goes to me@test.example alone" in ran.out
    assert "on in demo: nothing leaves but to example.org, carla@example.com." in ran.out
    workspace = Workspace.objects.get()
    assert (workspace.is_capturing, workspace.capture_mode) == (True, "allow")


def test_half_a_mode_is_refused_with_the_remedy(postroom: Postroom, people: Cast) -> None:
    for arguments, words in (
        (("--mode", "redirect"), "the one address"),
        (("--mode", "allow"), "domains and addresses"),
        (("--mode", "most"), "all, redirect, allow"),
    ):
        ran = postroom("capture", "on", *arguments)
        assert ran.exit_code != 0
        assert words in ran.err
    assert Installation.objects.get().capturing_since is None


def test_what_the_environment_captures_no_command_ends(
    postroom: Postroom, people: Cast, settings: Any
) -> None:
    settings.POSTROOM_CAPTURE = "redirect:dev@test.example"
    out = postroom("capture", "off").out
    assert "set by POSTROOM_CAPTURE: everything goes to dev@test.example alone" in out
    assert "Only a start without it ends it." in out


def test_the_queue_shows_what_capture_mode_did(postroom: Postroom, people: Cast) -> None:
    postroom(*POST)
    Email.objects.update(state="sent", redirected_to="me@test.example")
    listed = postroom("queue", "list", "--redirected").out
    assert "to me@test.example instead of ben@example.org" in listed
    assert "Nothing there" in postroom("queue", "list", "--captured").out
