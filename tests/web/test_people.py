"""Members and keys."""

import re

from django.test import Client
from django.urls import reverse

from postroom.workspaces.models import ApiKey, Member
from tests.people import Cast

INVITATION = {"address": "dana@example.net", "name": "Dana Rus", "role": "member", "language": "ro"}


def _link(page: str) -> str:
    found = re.search(r"<code>(http[^<]+)</code>", page)
    assert found
    return "/" + found[1].split("/", 3)[3]


def test_an_invitation_shows_a_link_that_lets_the_person_in(people: Cast, as_olga: Client) -> None:
    """Without any mail."""
    link = _link(as_olga.post("/settings/members", INVITATION).content.decode())
    dana = Client()
    form = dana.get(link, follow=True)
    password = "a lamp in every window"
    dana.post(form.redirect_chain[-1][0], {"password1": password, "password2": password})
    dana.post(reverse("account_login"), {"login": "dana@example.net", "password": password})
    assert '<html lang="ro">' in dana.get("/").content.decode()


def test_a_link_works_once(people: Cast, as_olga: Client) -> None:
    """The second time it says so."""
    link = _link(as_olga.post(reverse("reset_link", args=[people.ana.pk])).content.decode())
    ana = Client()
    form = ana.get(link, follow=True)
    password = "another lamp in the window"
    ana.post(form.redirect_chain[-1][0], {"password1": password, "password2": password})
    assert "This link no longer works" in Client().get(link, follow=True).content.decode()


def test_an_administrator_gets_no_link_into_the_login_of_an_operator(people: Cast, as_ana: Client) -> None:
    """Whoever holds it would become the operator; nor does one of another workspace."""
    Member.objects.filter(pk=people.ana.pk).update(role="admin")
    page = as_ana.post(reverse("reset_link", args=[people.olga.pk])).content.decode()
    assert "operates the installation" in page
    assert "/accounts/password/reset/key/" not in page


def test_an_administrator_makes_no_operators(people: Cast, as_ana: Client) -> None:
    """The choice is not there, and a forged one is refused."""
    Member.objects.filter(pk=people.ana.pk).update(role="admin")
    page = as_ana.post("/settings/members", {**INVITATION, "role": "operator"}).content.decode()
    assert "errorlist" in page
    assert Member.objects.filter(workspace=people.workspace).count() == 2


def test_a_member_is_deactivated(people: Cast, as_olga: Client) -> None:
    """And cannot come in any more."""
    as_olga.post(reverse("deactivate", args=[people.ana.pk]))
    assert not Member.objects.get(pk=people.ana.pk).is_active


def test_the_last_administrator_stays(people: Cast, as_olga: Client) -> None:
    """With the reason."""
    page = as_olga.post(reverse("deactivate", args=[people.olga.pk]), follow=True).content.decode()
    assert "Somebody has to administer the workspace." in page


def test_a_key_is_shown_once(people: Cast, as_olga: Client) -> None:
    """Only its digest is kept."""
    page = as_olga.post("/settings/keys", {"name": "shop"}).content.decode()
    text = re.search(r"<code>(pr_\S+)</code>", page)
    assert text
    assert ApiKey.objects.get().is_opened_by(text[1])
    assert text[1] not in as_olga.get("/settings/keys").content.decode()


def test_a_revoked_key_opens_nothing(people: Cast, as_olga: Client) -> None:
    """From that moment."""
    key, text = ApiKey.make(people.olga, "shop")
    as_olga.post(reverse("revoke_key", args=[key.pk]))
    key.refresh_from_db()
    assert not key.is_opened_by(text)
