"""The page of capture mode, its banner and its filters."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from postroom.outgoing.models import Email, State, Tally
from postroom.workspaces import installation
from postroom.workspaces.models import Installation, Member, Workspace
from tests.people import Cast
from tests.web.mail import said, waiting

ON = {"wanted": "on", "scope": "workspace"}


@pytest.fixture
def started(people: Cast, data_folder: object) -> Cast:
    """The cast in an installation that has started."""
    installation.recognise()
    return people


def test_the_banner_names_the_mode_and_who_can_change_it(
    started: Cast, as_olga: Client, as_ana: Client
) -> None:
    """On every page, for everybody."""
    as_olga.post("/settings/capture", {**ON, "mode": "redirect", "to": "Me@Test.example"})
    shown = as_ana.get("/records").content.decode()
    assert "Capture mode: everything goes to me@test.example" in shown
    assert "It holds for this workspace; an administrator can change it." in shown
    as_olga.post("/settings/capture", {**ON, "mode": "allow", "allowed": "example.org, ana@b.example"})
    assert "mail leaves only to example.org, ana@b.example" in as_ana.get("/records").content.decode()


def test_the_strictest_level_is_the_one_that_is_named(started: Cast, as_olga: Client) -> None:
    """And the page shows each level as it is set."""
    as_olga.post("/settings/capture", {**ON, "mode": "redirect", "to": "me@test.example"})
    as_olga.post("/settings/capture", {"scope": "installation", "wanted": "on", "mode": "all"})
    shown = as_olga.get("/settings/capture").content.decode()
    assert "Capture mode: nothing leaves" in shown
    assert "It holds for the whole installation; an operator can change it." in shown
    assert "On: everything goes to me@test.example, and to nobody else." in shown


def test_what_the_environment_sets_cannot_be_ended_here_and_that_is_said(
    started: Cast, as_olga: Client, settings: Any
) -> None:
    """No button pretends otherwise."""
    settings.POSTROOM_CAPTURE = "redirect:dev@test.example"
    as_olga.post("/settings/capture", {"scope": "installation", "wanted": "off"})
    shown = as_olga.get("/settings/capture").content.decode()
    assert "Capture mode: everything goes to dev@test.example" in shown
    assert "no page can end it" in shown
    assert "only a start without it ends it" in shown


def test_half_a_choice_is_refused_with_the_remedy(started: Cast, as_olga: Client) -> None:
    """And nothing is captured by it."""
    answer = as_olga.post("/settings/capture", {**ON, "mode": "redirect", "to": ""}, follow=True)
    assert "Name the one address that gets all mail" in answer.content.decode()
    answer = as_olga.post("/settings/capture", {**ON, "mode": "allow", "allowed": " "}, follow=True)
    assert "Name the domains and addresses" in answer.content.decode()
    assert not Workspace.objects.get().is_capturing


def test_an_administrator_changes_the_workspace_and_not_the_installation(
    started: Cast, as_ana: Client
) -> None:
    """An operator does."""
    Member.objects.filter(pk=started.ana.pk).update(role="admin")
    wanted = {"mode": "redirect", "to": "me@test.example"}
    assert as_ana.post("/settings/capture", {**ON, **wanted}).status_code == 302
    assert as_ana.post("/settings/capture", {**ON, **wanted, "scope": "installation"}).status_code == 404
    assert Workspace.objects.get().capture_mode == "redirect"
    assert Installation.objects.get().capturing_since is None


def test_captured_and_redirected_mail_have_tabs_of_their_own(started: Cast, as_olga: Client) -> None:
    """As long as there is some."""
    assert "Redirected" not in as_olga.get("/emails").content.decode()
    email = waiting(started)
    Email.objects.filter(pk=email.pk).update(state="sent", redirected_to="me@test.example")
    shown = as_olga.get("/emails?state=redirected").content.decode()
    assert "redirected to me@test.example" in shown
    assert "Captured" not in shown
    Email.objects.filter(pk=email.pk).update(
        state="cancelled", cancelled_because="captured", is_listed=True, redirected_to=""
    )
    assert "captured, not sent" in as_olga.get("/emails?state=captured").content.decode()
    assert "1 email was captured" in as_olga.get("/settings/capture").content.decode()


def test_how_a_password_link_is_had_is_said(started: Cast, as_olga: Client) -> None:
    """Its mail is captured like any other."""
    assert "postroom user reset-link" in as_olga.get("/settings/capture").content.decode()


def capture_all(people: Cast, **fields: str) -> None:
    wanted = {"capture_mode": fields.get("mode", "all"), "capture_to": fields.get("to", "")}
    Workspace.objects.filter(pk=people.workspace.pk).update(is_capturing=True, **wanted)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ({"mode": "all"}, "Capture mode: 1 email is kept in and does not reach:"),
        ({"mode": "redirect", "to": "boss@test.example"}, "1 email goes to boss@test.example instead of:"),
    ],
)
def test_the_preview_says_whom_capture_mode_keeps_it_from(
    started: Cast, as_ana: Client, mode: dict[str, str], words: str
) -> None:
    where = reverse("preview_message", args=[started.record.pk])
    draft = {"body": "Monday?", "kind": "discussions"}
    assert "Capture mode:" not in as_ana.post(where, draft, headers={"hx-request": "true"}).content.decode()
    capture_all(started, **mode)
    shown = as_ana.post(where, draft, headers={"hx-request": "true"}).content.decode()
    assert words in shown
    assert "ben@example.org" in shown.split(words)[1].split("</p>")[0]


def test_a_message_says_how_many_of_its_emails_capture_mode_kept_or_sent_elsewhere(
    started: Cast, as_ana: Client
) -> None:
    """Under the message, and of each recipient in its panel."""
    first, second = said(started, "One").emails.get(), said(started, "Two").emails.get()
    where = reverse("record", args=[started.record.pk])
    ended(first, State.SENT, redirected_to="boss@test.example")
    ended(second, State.CANCELLED, cancelled_because="captured")
    shown = as_ana.get(where).content.decode()
    assert "1 went to boss@test.example instead" in shown
    assert "1 kept in by capture mode" in shown
    assert "1 sent" not in shown
    panel = as_ana.get(reverse("delivery", args=[first.message_id])).content.decode()
    assert "redirected to boss@test.example" in panel
    assert "captured, not sent" in as_ana.get(reverse("delivery", args=[second.message_id])).content.decode()
    Email.objects.filter(pk=second.pk).update(cancelled_because="member")
    panel = as_ana.get(reverse("delivery", args=[second.message_id])).content.decode()
    assert "cancelled by a person, not sent" in panel


def test_retry_under_capture_says_that_it_is_captured_again(started: Cast, as_ana: Client) -> None:
    email = said(started).emails.get()
    ended(email, State.CANCELLED, cancelled_because="captured")
    capture_all(started)
    answer = as_ana.post("/emails/retry", {"only": email.pk}, follow=True).content.decode()
    assert "it is captured again, and nothing leaves" in answer


def ended(email: Email, state: State, **fields: str) -> None:
    Tally.objects.filter(pk=email.message_id).update(outgoing_count=0, **{f"{state}_count": 1})
    Email.objects.filter(pk=email.pk).update(state=state, **fields)
