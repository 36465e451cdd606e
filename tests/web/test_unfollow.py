"""Following no more: on the page, and by the link in the mail."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from postroom.conversations.models import Follower
from postroom.diagnostics.models import Event
from postroom.flows.posting import Draft, post
from postroom.outgoing.models import Email
from postroom.workspaces import tokens
from tests.people import Cast


def follows(people: Cast) -> bool:
    return Follower.objects.filter(record=people.record, contact=people.ana_contact).exists()


@pytest.fixture
def link(people: Cast) -> str:
    """What stands in Ana's copy, without the host."""
    message = post(Draft(workspace=people.workspace, record=people.record, member=people.olga, text="Lamps."))
    email = Email.objects.get(message=message, contact=people.ana_contact)
    return f"/u/{tokens.links().unfollow(email.pk)}"


@pytest.fixture
def stranger() -> Client:
    """A mail program: no cookies, and CSRF is checked as in earnest."""
    return Client(enforce_csrf_checks=True)


def test_the_page_asks_first_and_then_unfollows(people: Cast, as_ana: Client) -> None:
    page = reverse("unfollow", args=[people.record.pk])
    assert as_ana.get(page).status_code == 200
    assert follows(people)
    assert b"you will no longer be told" in as_ana.get(page).content
    assert as_ana.post(page).headers["Location"] == page
    assert not follows(people)
    assert b"You do not follow" in as_ana.get(page).content
    assert b"Follow again" in as_ana.get(page).content
    as_ana.post(page, {"follow": "again"})
    assert follows(people)


def test_the_page_needs_a_login(people: Cast) -> None:
    answer = Client().get(reverse("unfollow", args=[people.record.pk]))
    assert answer.headers["Location"].startswith(reverse("account_login"))


def test_the_page_of_a_neighbours_record_does_not_exist(neighbours: Cast, as_ana: Client) -> None:
    assert as_ana.post(reverse("unfollow", args=[neighbours.record.pk])).status_code == 404


def test_one_click_unfollows_without_login_cookie_or_csrf_token(
    people: Cast, link: str, stranger: Client
) -> None:
    answer = stranger.post(link, {"List-Unsubscribe": "One-Click"})
    assert (answer.status_code, dict(answer.cookies)) == (200, {})
    assert not follows(people)
    event = Event.objects.latest("pk")
    assert (event.kind, event.contact) == ("follower.removed", people.ana_contact)
    assert stranger.post(link, {"List-Unsubscribe": "One-Click"}).status_code == 200


def test_reading_the_link_changes_nothing(people: Cast, link: str, stranger: Client) -> None:
    answer = stranger.get(link)
    assert (answer.status_code, dict(answer.cookies)) == (200, {})
    assert b'name="List-Unsubscribe" value="One-Click"' in answer.content
    assert follows(people)
    assert stranger.put(link).status_code == 405


def test_a_link_of_somebody_who_follows_no_more_shows_no_title(
    people: Cast, link: str, stranger: Client
) -> None:
    """The record may have been renamed since, and the mail passed on."""
    assert people.record.title in stranger.get(link).content.decode()
    assert people.record.title in stranger.post(link).content.decode()
    for answer in (stranger.get(link), stranger.post(link)):
        shown = answer.content.decode()
        assert answer.status_code == 200
        assert people.record.title not in shown
        assert str(people.ana_contact) not in shown
        assert "not followed by this link any more" in shown


@pytest.mark.parametrize("token", ["x", "a" * 200, "%00", "AQEH" + "A" * 22])
def test_a_link_that_is_none_of_ours_is_not_found(people: Cast, stranger: Client, token: str) -> None:
    answer = stranger.post(f"/u/{token}")
    assert (answer.status_code, dict(answer.cookies)) == (404, {})


def test_a_link_to_a_file_unfollows_nobody(people: Cast, stranger: Client, link: str) -> None:
    email_id = Email.objects.latest("pk").pk
    assert stranger.post(f"/u/{tokens.links().download(email_id, 1)}").status_code == 404
    assert follows(people)


def test_a_mail_whose_contact_is_gone_leads_nowhere(people: Cast, link: str, stranger: Client) -> None:
    Email.objects.update(contact=None)
    assert stranger.post(link).status_code == 404


def test_the_answer_stays_in_no_cache_and_in_no_search(people: Cast, link: str, stranger: Client) -> None:
    headers: Any = stranger.get(link).headers
    assert "no-store" in headers["Cache-Control"]
    assert headers["X-Robots-Tag"] == "noindex"
