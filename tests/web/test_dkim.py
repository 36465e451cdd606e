"""The page of a mail domain: what DNS says, and the keys that sign its mail."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from postroom.flows import domain_check, signing_keys
from postroom.flows.domain_check import name_of, text_of
from postroom.workspaces.models import DkimKey, Member
from tests.flows.dns import Zone
from tests.people import Cast

State = DkimKey.State


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    """What the pages find in DNS."""
    zone = Zone()
    monkeypatch.setattr(domain_check, "PublicDns", lambda: zone)
    return zone


def page(people: Cast, browser: Client) -> str:
    return browser.get(reverse("domain", args=[people.domain.pk])).content.decode()


def press(people: Cast, browser: Client, name: str, *more: int, **fields: str) -> str:
    """Press a button and read the page it leads to."""
    response: Any = browser.post(reverse(name, args=[people.domain.pk, *more]), fields, follow=True)
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_key_is_made_published_and_activated_by_buttons(people: Cast, as_olga: Client, zone: Zone) -> None:
    assert "leaves unsigned" in page(people, as_olga)
    made = press(people, as_olga, "make_dkim", algorithm="rsa")
    key = DkimKey.objects.get()
    assert name_of(key) in made
    assert text_of(key) in made
    assert "then press Activate" in made
    refused = press(people, as_olga, "activate_dkim", key.pk)
    assert f"no TXT record at {name_of(key)}" in refused
    zone.publish(key)
    activated = press(people, as_olga, "activate_dkim", key.pk)
    assert "every key that signs is published" in activated
    assert DkimKey.objects.get().state == State.ACTIVE


def test_a_rotation_and_its_overlap_are_explained(people: Cast, as_olga: Client, zone: Zone) -> None:
    old = signing_keys.make(people.domain, "ed25519", by=people.olga)
    zone.publish(old)
    press(people, as_olga, "activate_dkim", old.pk)
    press(people, as_olga, "make_dkim", algorithm="ed25519", rotate="yes")
    new = DkimKey.objects.latest("pk")
    zone.publish(new)
    shown = press(people, as_olga, "activate_dkim", new.pk)
    assert "Leave its record until" in shown
    assert "never signs again" in press(people, as_olga, "revoke_dkim", old.pk)


def test_the_findings_say_what_is_missing_and_what_to_publish(
    people: Cast, as_olga: Client, zone: Zone
) -> None:
    zone.txt[people.domain.domain] = ["v=spf1 +all"]
    zone.dead.add(f"_dmarc.{people.domain.domain}")
    shown = press(people, as_olga, "check_domain")
    assert "lets everybody send" in shown
    assert "Nothing is wrong by that" in shown
    assert "has nowhere to go" in shown
    assert "v=spf1 mx ~all" in shown


def test_what_dns_says_is_escaped(people: Cast, as_olga: Client, zone: Zone) -> None:
    zone.txt[people.domain.domain] = ["v=spf1 <script>alert(1)</script> +all"]
    assert "<script>alert" not in press(people, as_olga, "check_domain")


def test_a_private_key_is_on_no_page(people: Cast, as_olga: Client, zone: Zone) -> None:
    press(people, as_olga, "make_dkim", algorithm="rsa")
    private = DkimKey.objects.get().private
    assert private.splitlines()[1] not in page(people, as_olga)


@pytest.mark.parametrize("name", ["check_domain", "make_dkim", "activate_dkim", "revoke_dkim"])
def test_the_buttons_are_for_administrators_of_the_workspace(
    people: Cast, neighbours: Cast, as_ana: Client, browse: Any, name: str
) -> None:
    key = signing_keys.make(people.domain, "ed25519", by=people.olga)
    more = [key.pk] if name in ("activate_dkim", "revoke_dkim") else []
    address = reverse(name, args=[people.domain.pk, *more])
    for browser in (as_ana, browse(neighbours.olga)):
        assert browser.post(address, {"algorithm": "rsa"}).status_code == 404
    assert browse(people.olga).get(address).status_code == 405
    assert DkimKey.objects.get().state == State.WAITING


def test_an_administrator_who_is_no_operator_may(people: Cast, as_olga: Client, zone: Zone) -> None:
    Member.objects.filter(pk=people.olga.pk).update(role="admin")
    press(people, as_olga, "make_dkim", algorithm="ed25519")
    assert DkimKey.objects.count() == 1


def test_a_kind_that_is_none_is_refused_in_words(people: Cast, as_olga: Client, zone: Zone) -> None:
    assert "rsa or ed25519" in press(people, as_olga, "make_dkim", algorithm="dsa")
