"""The life of a DKIM key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from postroom.diagnostics.models import Event
from postroom.flows import signing_keys
from postroom.flows.domain_check import name_of, text_of
from postroom.wire.dkim_keys import read_record
from postroom.workspaces.models import DkimKey, MailDomain
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.flows.dns import Zone
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db
State = DkimKey.State


def active(people: Cast, zone: Zone, algorithm: str = "ed25519") -> DkimKey:
    """A key that was made, published and activated."""
    key = signing_keys.make(people.domain, algorithm, by=people.olga)
    zone.publish(key)
    return signing_keys.activate(key, by=people.olga, resolver=zone)


def states(people: Cast) -> dict[str, str]:
    return {key.selector: key.state for key in signing_keys.keys_of(people.domain)}


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
def test_a_key_waits_until_it_is_found_in_dns(people: Cast, algorithm: str) -> None:
    zone = Zone()
    key = signing_keys.make(people.domain, algorithm, by=people.olga)
    assert key.state == State.WAITING
    with pytest.raises(RequestRefused, match=r"no TXT record at pr\d{6}a\._domainkey\.demo"):
        signing_keys.activate(key, by=people.olga, resolver=zone)
    zone.publish(key)
    signing_keys.activate(key, by=people.olga, resolver=zone)
    assert (key.state, key.activated_at is not None) == (State.ACTIVE, True)
    kinds = Event.objects.filter(kind__startswith="dkim.").order_by("pk").values_list("kind", "member")
    assert list(kinds) == [("dkim.made", people.olga.pk), ("dkim.activated", people.olga.pk)]


def test_the_private_half_is_sealed_and_in_no_list(people: Cast) -> None:
    key = signing_keys.make(people.domain, "ed25519", by=people.olga)
    with connection.cursor() as cursor:
        cursor.execute("SELECT private FROM postroom_dkimkey")
        [(stored,)] = cursor.fetchall()
    assert "PRIVATE KEY" in DkimKey.objects.get(pk=key.pk).private
    assert "PRIVATE KEY" not in stored
    assert "private" in signing_keys.keys_of(people.domain).get().get_deferred_fields()
    assert "PRIVATE" not in str(list(Event.objects.values_list("detail", flat=True)))


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["v=DKIM1; k=ed25519; p=AAAA"], "is not this key's"),
        (["v=DKIM1; k=ed25519; p="], "is not this key's"),
        (["v=spf1 -all"], "is not this key's"),
        (["twice", "twice"], "exactly one"),
    ],
)
def test_activating_says_what_was_found_instead(people: Cast, texts: list[str], words: str) -> None:
    key = signing_keys.make(people.domain, "ed25519", by=people.olga)
    with pytest.raises(RequestRefused, match=words) as refused:
        signing_keys.activate(key, by=people.olga, resolver=Zone({name_of(key): texts}))
    assert texts[0] in str(refused.value)
    assert states(people) == {key.selector: State.WAITING}


def test_a_record_with_blanks_and_other_tags_is_the_same_key(people: Cast) -> None:
    key = signing_keys.make(people.domain, "rsa", by=people.olga)
    text = text_of(key).replace("; p=", " ; t=s;  p= ").replace("M", " M", 1) + " ;"
    signing_keys.activate(key, by=people.olga, resolver=Zone({name_of(key): [text]}))
    assert key.state == State.ACTIVE


def test_dns_trouble_is_never_called_wrong(people: Cast) -> None:
    key = signing_keys.make(people.domain, "ed25519", by=people.olga)
    with pytest.raises(RequestRefused, match="DNS did not answer"):
        signing_keys.activate(key, by=people.olga, resolver=Zone(dead={name_of(key)}))
    assert states(people) == {key.selector: State.WAITING}


def test_a_rotation_overlaps_for_a_week_and_then_ends_by_itself(people: Cast) -> None:
    zone = Zone()
    old = active(people, zone)
    other = active(people, zone, "rsa")
    new = signing_keys.rotate(people.domain, "ed25519", by=people.olga)
    assert states(people)[old.selector] == State.ACTIVE
    zone.publish(new)
    signing_keys.activate(new, by=people.olga, resolver=zone)
    assert states(people) == {
        old.selector: State.RETIRING,
        other.selector: State.ACTIVE,
        new.selector: State.ACTIVE,
    }
    old.refresh_from_db()
    assert old.private == ""
    assert old.retires_at is not None
    assert timedelta(days=6, hours=23) < old.retires_at - timezone.now() <= timedelta(days=7)
    assert signing_keys.retire_due(timezone.now() + timedelta(days=6, hours=23)) == 0
    assert signing_keys.retire_due(timezone.now() + timedelta(days=7, minutes=1)) == 1
    assert states(people)[old.selector] == State.RETIRED
    assert Event.objects.filter(kind="dkim.retired", member=None).count() == 1


def test_a_key_whose_week_is_over_is_shown_as_retired(people: Cast) -> None:
    old = active(people, Zone())
    DkimKey.objects.update(state=State.RETIRING, retires_at=timezone.now() - timedelta(seconds=1))
    assert states(people) == {old.selector: State.RETIRED}


def test_a_revoked_key_forgets_its_private_half_and_never_comes_back(people: Cast) -> None:
    zone = Zone()
    key = active(people, zone)
    signing_keys.revoke(key, by=people.olga)
    signing_keys.revoke(key, by=people.olga)
    key.refresh_from_db()
    assert (key.state, key.private) == (State.RETIRED, "")
    assert Event.objects.filter(kind="dkim.retired", member=people.olga).count() == 1
    with pytest.raises(RequestRefused, match="Make a new one"):
        signing_keys.activate(key, by=people.olga, resolver=zone)


def test_activating_twice_changes_nothing(people: Cast) -> None:
    zone = Zone()
    key = active(people, zone)
    signing_keys.activate(key, by=people.olga, resolver=Zone())
    assert Event.objects.filter(kind="dkim.activated").count() == 1


def test_a_second_key_waits_only_once_the_first_is_out_of_the_way(people: Cast) -> None:
    first = signing_keys.make(people.domain, "rsa", by=people.olga)
    with pytest.raises(RequestRefused, match=first.selector):
        signing_keys.make(people.domain, "rsa", by=people.olga)
    signing_keys.make(people.domain, "ed25519", by=people.olga)
    with pytest.raises(RequestRefused, match="none to replace"):
        signing_keys.rotate(people.domain, "rsa", by=people.olga)
    with pytest.raises(RequestRefused, match="rsa or ed25519"):
        signing_keys.make(people.domain, "dsa", by=people.olga)


def test_selectors_name_the_month_and_are_never_used_again(
    people: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 11, 21, tzinfo=UTC))
    seen = []
    for _ in range(28):
        key = signing_keys.make(people.domain, "ed25519", by=people.olga)
        seen.append(signing_keys.revoke(key, by=people.olga).selector)
    assert seen[:2] == ["pr202611a", "pr202611b"]
    assert seen[25:] == ["pr202611z", "pr202611za", "pr202611zb"]


def test_only_an_administrator_of_the_workspace_touches_keys(people: Cast) -> None:
    key = signing_keys.make(people.domain, "ed25519", by=people.olga)
    stranger = cast("neighbour").olga
    for by, refusal in ((people.ana, RequestRefused), (stranger, AcrossTheWall)):
        with pytest.raises(refusal):
            signing_keys.make(people.domain, "rsa", by=by)
        with pytest.raises(refusal):
            signing_keys.rotate(people.domain, "rsa", by=by)
        with pytest.raises(refusal):
            signing_keys.activate(key, by=by, resolver=Zone())
        with pytest.raises(refusal):
            signing_keys.revoke(key, by=by)
    assert DkimKey.objects.get().state == State.WAITING


def test_keys_of_other_domains_are_left_alone(people: Cast) -> None:
    zone = Zone()
    first = active(people, zone)
    other = MailDomain.objects.create(workspace=people.workspace, domain="shop.example")
    key = signing_keys.make(other, "ed25519", by=people.olga)
    zone.publish(key)
    signing_keys.activate(key, by=people.olga, resolver=zone)
    assert states(people) == {first.selector: State.ACTIVE}


def test_the_record_says_what_verifiers_read(people: Cast) -> None:
    key = signing_keys.make(people.domain, "rsa", by=people.olga)
    record = read_record(text_of(key))
    assert record is not None
    assert (record.key_type, record.public) == ("rsa", key.public)
