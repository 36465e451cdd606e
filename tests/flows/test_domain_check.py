"""What DNS says of a mail domain."""

from __future__ import annotations

import time
from typing import Any

import dns.resolver
import pytest
from django.db import connection

from postroom.conversations.models import Notification
from postroom.flows import domain_check, signing_keys
from postroom.flows.domain_check import DnsTrouble, PublicDns
from postroom.flows.domain_shapes import shape_of_domain
from postroom.outgoing import claiming
from postroom.outgoing.copies import Copies
from postroom.outgoing.models import MailServer
from postroom.web.notice_words import words_of
from postroom.workspaces.models import DkimKey, MailDomain
from tests.flows.dns import Zone
from tests.outgoing.queued import queue
from tests.outgoing.signed import active_key
from tests.people import Cast

pytestmark = pytest.mark.django_db
ERRORS: Any = dns.resolver  # their constructors have no types
SPF, DMARC = "v=spf1 include:relay.example ~all", "v=DMARC1; p=none"


@pytest.fixture
def shop(people: Cast) -> MailDomain:
    """A domain below another one."""
    return MailDomain.objects.create(workspace=people.workspace, domain="mail.shop.example")


def test_a_domain_that_is_set_up_is_found_so_and_that_is_kept(shop: MailDomain) -> None:
    key = active_key(shop)
    zone = Zone(
        {shop.domain: ["other text", SPF], "_dmarc.shop.example": [DMARC]}, {shop.domain: ["mx.example"]}
    )
    zone.publish(key)
    findings = domain_check.check(shop, zone)
    assert [one.is_ok for one in (findings.dkim, findings.spf, findings.dmarc, findings.mx)] == [True] * 4
    stored = MailDomain.objects.get(pk=shop.pk)
    assert stored.dns_checked_at is not None
    assert stored.dns_findings["spf"] == {
        "is_ok": True,
        "name": shop.domain,
        "found": SPF,
        "wanted": findings.spf.wanted,
    }
    assert stored.dns_findings["dmarc"]["name"] == "_dmarc.shop.example"
    assert stored.dns_findings["keys"][key.selector]["is_ok"] is True


def test_what_no_table_takes_is_stored_without_it(shop: MailDomain) -> None:
    """DNS may hold any octet."""
    domain_check.check(shop, Zone({shop.domain: ["v=spf1 \0 \x1b[31m ~all"]}))
    found = MailDomain.objects.get(pk=shop.pk).dns_findings["spf"]["found"]
    assert found == "v=spf1 \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}[31m ~all"


def test_what_is_not_there_is_said_with_what_should_be(shop: MailDomain) -> None:
    findings = domain_check.check(shop, Zone())
    assert [one.is_ok for one in (findings.dkim, findings.spf, findings.dmarc, findings.mx)] == [False] * 4
    assert {one.found for one in (findings.dkim, findings.spf, findings.dmarc, findings.mx)} == {""}
    assert findings.dmarc.wanted == "v=DMARC1; p=none"
    assert findings.dmarc.name == "_dmarc.mail.shop.example"


def test_dns_trouble_is_not_known_rather_than_wrong(shop: MailDomain) -> None:
    key = active_key(shop)
    dead = {shop.domain, "_dmarc.mail.shop.example", domain_check.name_of(key)}
    findings = domain_check.check(shop, Zone(dead=dead))
    assert [one.is_ok for one in (findings.dkim, findings.spf, findings.dmarc, findings.mx)] == [None] * 4
    assert "timed out" in findings.spf.found


@pytest.mark.parametrize(
    ("texts", "is_ok"),
    [
        ([SPF], True),
        (["V=SPF1 -all"], True),
        (["v=spf1 a +all"], False),
        (["v=spf1 all"], False),
        (["v=spf1 ?all"], False),
        ([SPF, SPF], False),
        (["v=spf10 -all"], False),
    ],
)
def test_one_spf_record_that_does_not_let_everybody_in(
    shop: MailDomain, texts: list[str], is_ok: bool
) -> None:
    assert domain_check.check(shop, Zone({shop.domain: texts})).spf.is_ok is is_ok


@pytest.mark.parametrize(
    ("texts", "is_ok"),
    [
        (["v=DMARC1; p=none"], True),
        (["v=DMARC1;p=REJECT;"], True),
        (["v=DMARC1"], False),
        (["v=DMARC1; p=maybe"], False),
        ([DMARC, DMARC], False),
        (["v=spf1"], False),
    ],
)
def test_one_dmarc_record_with_a_policy(shop: MailDomain, texts: list[str], is_ok: bool) -> None:
    assert domain_check.check(shop, Zone({"_dmarc.shop.example": texts})).dmarc.is_ok is is_ok


@pytest.mark.parametrize(("hosts", "is_ok"), [(["mx.example"], True), (["."], False), ([], False)])
def test_mx_points_anywhere_but_to_nowhere(shop: MailDomain, hosts: list[str], is_ok: bool) -> None:
    assert domain_check.check(shop, Zone(mx={shop.domain: hosts})).mx.is_ok is is_ok


def test_keys_that_are_retired_are_not_looked_for_and_none_but_active_ones_count(shop: MailDomain) -> None:
    retired = active_key(shop, state=DkimKey.State.RETIRED)
    waiting = active_key(shop, "rsa", state=DkimKey.State.WAITING)
    zone = Zone()
    zone.publish(waiting)
    findings = domain_check.check(shop, zone)
    assert set(findings.keys) == {waiting.selector} != {retired.selector}
    assert findings.keys[waiting.selector].is_ok is True
    assert findings.dkim.is_ok is False


def test_the_spf_record_to_publish_names_our_servers_and_their_providers(
    people: Cast, shop: MailDomain, settings: Any
) -> None:
    settings.POSTROOM_RELAY_URL = "smtp+starttls://user:secret@smtp.sendgrid.net:587"
    for host in ("mail.casa.example", "email-smtp.eu-west-1.amazonaws.com", "localhost", "10.0.0.7"):
        MailServer.objects.create(workspace=people.workspace, name=host, host=host)
    wanted = "v=spf1 mx a:mail.casa.example include:amazonses.com include:sendgrid.net ~all"
    assert domain_check.spf_text(people.workspace) == wanted


def test_everything_is_asked_at_once(shop: MailDomain) -> None:
    for number in range(5):
        active_key(shop, selector=f"s{number}")

    class SlowZone(Zone):
        def _answer(self, table: dict[str, list[str]], name: str) -> list[str]:
            time.sleep(0.3)
            return super()._answer(table, name)

    began = time.monotonic()
    domain_check.check(shop, SlowZone(dead={"_dmarc.mail.shop.example"}))
    assert time.monotonic() - began < 1.2


@pytest.mark.parametrize(
    ("error", "is_trouble"),
    [
        (ERRORS.NXDOMAIN(), False),
        (
            ERRORS.NoAnswer(response=dns.message.make_response(dns.message.make_query("a.", "TXT"))),
            False,
        ),
        (ERRORS.NoNameservers(), True),
        (ERRORS.LifetimeTimeout(timeout=5, errors=[]), True),
        (ERRORS.NoResolverConfiguration(), True),
    ],
)
def test_nothing_published_is_told_from_no_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_trouble: bool
) -> None:
    def failing(*_: Any, **named: Any) -> None:
        assert named["lifetime"] == domain_check.TIMEOUT_SECONDS
        raise error

    monkeypatch.setattr(dns.resolver.Resolver, "resolve", failing)
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda *_: None)
    if is_trouble:
        with pytest.raises(DnsTrouble):
            PublicDns().texts("demo.example")
    else:
        assert PublicDns().texts("demo.example") == []


def test_the_strings_of_a_record_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = dns.rrset.from_text("a.example.", 60, "IN", "TXT", '"v=DKIM1; p=AA" "BB"')
    mx = dns.rrset.from_text("a.example.", 60, "IN", "MX", "20 b.example.", "10 a.example.")
    answers = {"TXT": answer, "MX": mx}
    monkeypatch.setattr(dns.resolver.Resolver, "resolve", lambda self, name, kind, **_: answers[kind])
    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", lambda *_: None)
    assert PublicDns().texts("a.example") == ["v=DKIM1; p=AABB"]
    assert PublicDns().exchanges("a.example") == ["a.example", "b.example"]


def test_a_key_made_here_is_found_by_the_check(people: Cast) -> None:
    zone = Zone()
    key = signing_keys.make(people.domain, "rsa", by=people.olga)
    assert domain_check.check(people.domain, zone).keys[key.selector].is_ok is False
    zone.publish(key)
    assert domain_check.check(people.domain, zone).keys[key.selector].is_ok is True


def test_a_key_that_cannot_be_read_is_told_everywhere_and_once(people: Cast) -> None:
    key = active_key(people.domain)
    zone = Zone()
    zone.publish(key)
    assert domain_check.check(people.domain, zone).dkim.is_ok is True
    with connection.cursor() as cursor:
        cursor.execute("UPDATE postroom_dkimkey SET private = 'gAAAAAbroken'")
    finding = domain_check.check(people.domain, zone).dkim
    assert (finding.is_ok, "secret.key" in finding.found) == (False, True)
    shape = shape_of_domain(people.domain)
    assert (shape.findings[0].state, key.selector in shape.findings[0].meaning) == ("wrong", True)
    assert "cannot be read" in shape.keys[0].meaning
    for _ in range(2):
        copies = Copies()
        copies.load(claiming.claim(queue(people.workspace, ["b@example.org"])[0].lane.server_id, "a").emails)
        signing_keys.tell_unreadable(copies.take_unreadable_keys())
    told = Notification.objects.get(reason=signing_keys.UNREADABLE)
    assert (told.member, told.count) == (people.olga, 1)
    assert words_of(told.reason) != told.reason
