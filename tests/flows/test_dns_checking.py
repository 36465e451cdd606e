"""The scheduled DNS check."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from postroom.conversations.models import Notification
from postroom.flows import dns_checking, domain_check
from postroom.flows.domain_shapes import shape_of_domain
from postroom.schedule.models import ScheduledAction
from postroom.schedule.work import Run
from postroom.web.notice_words import page_of, words_of
from postroom.workspaces.models import DkimKey, MailDomain, Workspace
from tests.flows.dns import Zone
from tests.outgoing.signed import active_key
from tests.people import Cast

pytestmark = pytest.mark.django_db
SPF, DMARC = "v=spf1 include:relay.example ~all", "v=DMARC1; p=none"


@pytest.fixture
def shop(people: Cast) -> MailDomain:
    """A domain beside the workspace's own, which was looked at a moment ago."""
    MailDomain.objects.all().delete()
    return MailDomain.objects.create(workspace=people.workspace, domain="shop.example")


@pytest.fixture
def zone(shop: MailDomain) -> Zone:
    """Everything as it should be."""
    right = Zone({shop.domain: [SPF], "_dmarc.shop.example": [DMARC]}, {shop.domain: ["mx.example"]})
    right.publish(active_key(shop))
    return right


def check(workspace: Workspace, zone: Zone, *, hours_later: float = 0) -> Counter[str]:
    """Run it as the lane does."""
    now = timezone.now() + timedelta(hours=hours_later)
    kept: dict[str, Any] = {"interval": 60, "unit": "minutes", "next_call_at": now}
    action, _ = ScheduledAction.objects.get_or_create(workspace=workspace, key="dns_check", defaults=kept)
    counts: Counter[str] = Counter()
    for step in dns_checking.check_domains(Run(action, workspace, now), zone):
        counts.update(step)
    return counts


def told() -> list[tuple[str, int]]:
    """Unread notices of this kind, and how often each counts."""
    rows = Notification.objects.filter(reason=dns_checking.WORSE_NOTICE, read_at=None)
    return [(str(row.member.user.email), row.count) for row in rows.order_by("pk")]


def test_only_what_nobody_looked_at_within_the_hour_is_checked(
    people: Cast, shop: MailDomain, zone: Zone
) -> None:
    assert check(people.workspace, zone)[dns_checking.CHECKED] == 1
    assert check(people.workspace, zone, hours_later=0.9)[dns_checking.CHECKED] == 0
    assert check(people.workspace, zone, hours_later=0.95)[dns_checking.CHECKED] == 1
    findings = shape_of_domain(MailDomain.objects.get(pk=shop.pk)).findings
    assert [finding.state for finding in findings] == ["ok"] * 4


def test_what_was_looked_at_by_a_clock_that_was_ahead_is_looked_at_now(
    people: Cast, shop: MailDomain, zone: Zone
) -> None:
    MailDomain.objects.filter(pk=shop.pk).update(dns_checked_at=timezone.now() + timedelta(days=300))
    assert check(people.workspace, zone)[dns_checking.CHECKED] == 1


def test_each_domain_is_a_safe_point_of_its_own(people: Cast, zone: Zone) -> None:
    MailDomain.objects.update(dns_checked_at=None)
    action, _ = ScheduledAction.objects.get_or_create(
        workspace=people.workspace,
        key="dns_check",
        defaults={"interval": 60, "unit": "minutes", "next_call_at": timezone.now()},
    )
    steps = dns_checking.check_domains(Run(action, people.workspace, timezone.now()), zone)
    next(steps)
    assert MailDomain.objects.exclude(dns_checked_at=None).count() == 1
    assert len(list(steps)) == MailDomain.objects.count() - 1


def test_another_workspaces_domains_are_not_asked_for(shop: MailDomain, zone: Zone) -> None:
    other = Workspace.objects.create(slug="other", name="Other")
    assert not check(other, zone)


def test_what_was_right_and_is_no_more_is_told_to_the_administrators_once(
    people: Cast, shop: MailDomain, zone: Zone, caplog: pytest.LogCaptureFixture
) -> None:
    check(people.workspace, zone)
    assert told() == []
    zone.txt[shop.domain] = []
    assert check(people.workspace, zone, hours_later=1)[dns_checking.WORSE] == 1
    assert check(people.workspace, zone, hours_later=2)[dns_checking.WORSE] == 0
    assert told() == [(people.olga.user.email, 1)]
    assert "DNS of shop.example: shop.example says ''" in caplog.text


def test_it_is_told_again_when_it_was_right_in_between(people: Cast, shop: MailDomain, zone: Zone) -> None:
    for hours, texts in enumerate([[SPF], [], [SPF], []]):
        zone.txt[shop.domain] = texts
        check(people.workspace, zone, hours_later=hours)
    assert told() == [(people.olga.user.email, 2)]  # one notice that counts up


def test_what_never_was_right_is_no_news(people: Cast, shop: MailDomain) -> None:
    for hours in range(3):
        check(people.workspace, Zone(), hours_later=hours)
    assert told() == []


@pytest.mark.parametrize("is_back", [True, False])
def test_dns_that_does_not_answer_is_no_finding_and_forgets_none(
    people: Cast, shop: MailDomain, zone: Zone, is_back: bool
) -> None:
    check(people.workspace, zone)
    dead = Zone(zone.txt, zone.mx, {*zone.txt, *zone.mx})
    assert check(people.workspace, dead, hours_later=1)[dns_checking.WORSE] == 0
    assert told() == []
    after = zone if is_back else Zone()
    assert check(people.workspace, after, hours_later=2)[dns_checking.WORSE] == (not is_back)


def test_a_look_by_hand_in_between_does_not_keep_it_from_being_told(
    people: Cast, shop: MailDomain, zone: Zone
) -> None:
    """Whoever looked need not be whom it concerns."""
    check(people.workspace, zone)
    domain_check.check(MailDomain.objects.get(pk=shop.pk), Zone())
    check(people.workspace, Zone(), hours_later=1)
    assert told() == [(people.olga.user.email, 1)]


def test_what_was_found_by_hand_before_the_first_run_is_what_it_is_compared_with(
    people: Cast, shop: MailDomain, zone: Zone
) -> None:
    domain_check.check(shop, zone)
    check(people.workspace, Zone(), hours_later=1)
    assert told() == [(people.olga.user.email, 1)]


def test_a_key_whose_overlap_is_over_retires_and_is_not_looked_for(
    people: Cast, shop: MailDomain, zone: Zone
) -> None:
    old = DkimKey.objects.get(mail_domain=shop)
    DkimKey.objects.update(state=DkimKey.State.RETIRING, retires_at=timezone.now() - timedelta(hours=1))
    check(people.workspace, zone)
    old.refresh_from_db()
    assert old.state == DkimKey.State.RETIRED
    assert MailDomain.objects.get(pk=shop.pk).dns_findings["keys"] == {}


def test_the_notice_says_what_it_is_about_and_leads_to_the_domains() -> None:
    assert "DNS" in words_of(dns_checking.WORSE_NOTICE)
    assert page_of(dns_checking.WORSE_NOTICE).endswith("/domains")
