"""What members choose for themselves."""

from django.test import Client
from django.urls import reverse

from postroom.workspaces.models import Member
from tests.people import PASSWORD, Cast


def _chosen(**changes: str) -> dict[str, str]:
    return {"name": "Ana Pop", "address": "ana@demo.example", "language": "en", "channel": "email", **changes}


def test_a_new_address_is_the_new_login(people: Cast, as_ana: Client, client: Client) -> None:
    """And the old one no longer is."""
    as_ana.post("/preferences", _chosen(address="ana.pop@example.net"))
    client.post(reverse("account_login"), {"login": "ana.pop@example.net", "password": PASSWORD})
    assert client.get("/").status_code == 200


def test_an_address_somebody_else_logs_in_with_is_refused(people: Cast, as_ana: Client) -> None:
    """With what to do."""
    page = as_ana.post("/preferences", _chosen(address="olga@demo.example")).content.decode()
    assert "Choose another address." in page


def test_the_language_is_changed_from_every_page(people: Cast, as_ana: Client) -> None:
    """And one stays where one was."""
    answer = as_ana.post(reverse("language"), {"language": "es", "back": "/records"})
    assert answer.headers["Location"] == "/records"
    assert '<html lang="es">' in as_ana.get("/records").content.decode()


def test_developer_mode_shows_the_system_parameters(people: Cast, as_olga: Client) -> None:
    """To administrators."""
    fields = _chosen(address="olga@demo.example", is_developer="on")
    as_olga.post("/preferences", fields)
    assert "System Parameters" in as_olga.get("/settings").content.decode()


def test_developer_mode_is_not_offered_to_who_would_get_nothing_by_it(people: Cast, as_ana: Client) -> None:
    assert "Developer mode" not in as_ana.get("/preferences").content.decode()
    as_ana.post("/preferences", _chosen(address="ana@demo.example", is_developer="on"))
    assert not Member.objects.get(pk=people.ana.pk).is_developer


def test_a_placeholder_address_is_pointed_out_until_it_is_replaced(people: Cast, as_ana: Client) -> None:
    """On every page, with the way to Preferences."""
    Member.objects.filter(pk=people.ana.pk).update(has_placeholder_address=True)
    assert "Your address is a placeholder" in as_ana.get("/records").content.decode()
    as_ana.post("/preferences", _chosen(address="ana@lamps.example.net"))
    assert "Your address is a placeholder" not in as_ana.get("/records").content.decode()
