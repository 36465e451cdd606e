"""The page of capture mode, its banner and its filters."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from postroom.outgoing.models import Email
from postroom.workspaces import installation
from postroom.workspaces.models import Installation, Member, Workspace
from tests.people import Cast
from tests.web.mail import waiting

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
