"""`postroom dkim …`."""

from __future__ import annotations

import pytest

from postroom.flows import domain_check
from postroom.workspaces.models import DkimKey, MailDomain
from tests.commands.conftest import Postroom
from tests.commands.test_shapes import fits
from tests.flows.dns import Zone
from tests.people import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Zone:
    zone = Zone()
    monkeypatch.setattr(domain_check, "PublicDns", lambda: zone)
    return zone


def test_a_key_is_made_published_activated_rotated_and_revoked(
    postroom: Postroom, people: Cast, zone: Zone
) -> None:
    made = postroom("dkim", "make", "--json")
    assert fits(made, "dkim make")
    key = DkimKey.objects.get()
    early = postroom("dkim", "activate", key.selector)
    assert early.exit_code == 1
    assert "no TXT record" in early.err
    zone.publish(key)
    activated = postroom("dkim", "activate", key.selector, "--json")
    assert fits(activated, "dkim activate")
    assert activated.json["state"] == "active"
    assert fits(postroom("dkim", "rotate", "--json"), "dkim rotate")
    assert fits(postroom("dkim", "revoke", f"dkim_{key.pk}", "--json"), "dkim revoke")
    listed = postroom("dkim", "list", "--json")
    assert fits(listed, "dkim list")
    assert [one["state"] for one in listed.json["data"]] == ["waiting", "retired"]
    assert "then press Activate" in postroom("dkim", "list").out


def test_making_a_key_prints_the_record_for_a_zone_file(postroom: Postroom, people: Cast) -> None:
    out = postroom("dkim", "make", "--algorithm", "rsa").out
    key = DkimKey.objects.get()
    assert f'{domain_check.name_of(key)}. IN TXT ( "v=DKIM1; k=rsa; p=' in out
    assert f"postroom dkim activate {key.selector} --domain {people.domain.domain}" in out
    assert "PRIVATE" not in out


def test_a_check_exits_with_1_while_something_is_missing(
    postroom: Postroom, people: Cast, zone: Zone
) -> None:
    missing = postroom("dkim", "check")
    assert missing.exit_code == 1
    assert f"{people.domain.domain}: v=spf1" in missing.out
    key = DkimKey.objects.get(pk=postroom("dkim", "make", "--json").json["id"].removeprefix("dkim_"))
    zone.publish(key)
    postroom("dkim", "activate", key.selector)
    zone.txt[people.domain.domain] = ["v=spf1 mx -all"]
    zone.txt[f"_dmarc.{people.domain.domain}"] = ["v=DMARC1; p=reject"]
    zone.mx[people.domain.domain] = ["mx.example"]
    good = postroom("dkim", "check", "--json")
    assert fits(good, "dkim check")
    assert {finding["state"] for finding in good.json["findings"]} == {"ok"}


def test_what_is_not_there_is_said_with_the_choice(postroom: Postroom, people: Cast) -> None:
    MailDomain.objects.create(workspace=people.workspace, domain="shop.example")
    unknown = postroom("dkim", "list", "--domain", "casa.example")
    assert unknown.exit_code == 1
    assert f"{people.domain.domain}, shop.example" in unknown.err
    assert "postroom dkim list" in postroom("dkim", "revoke", "nothing").err
    assert postroom("dkim", "make", "--algorithm", "dsa").exit_code == 1
