"""Founding a workspace, letting people in, and what they choose for themselves."""

from __future__ import annotations

import pytest
from django.conf import settings

from postroom.conversations.models import Alias, Contact, Follower, Record, Subtype
from postroom.flows import founding
from postroom.flows.recording import contact_for
from postroom.wire.address import AddressError
from postroom.workspaces import logins
from postroom.workspaces.models import Channel, MailDomain, Member, Role
from postroom.workspaces.refusals import AcrossTheWall, RequestRefused
from tests.people import Cast, cast, join

pytestmark = [pytest.mark.django_db, pytest.mark.urls("allauth.account.urls")]


def found(slug: str = "shop", address: str | None = "mia@shop.example") -> founding.Founded:
    return founding.found_workspace(name="Shop", slug=slug, admin_address=address, admin_name="Mia")


def test_a_new_workspace_has_its_domain_and_its_subtypes() -> None:
    workspace = found().workspace
    assert [str(domain) for domain in workspace.mail_domains.all()] == [
        f"shop.{settings.POSTROOM_MAIL_DOMAIN}"
    ]
    subtypes = [(s.key, s.is_default, s.is_internal) for s in Subtype.objects.filter(workspace=workspace)]
    assert subtypes == [("discussions", True, False), ("activities", False, True), ("note", False, True)]


def test_the_first_administrator_operates_the_installation_and_the_second_does_not() -> None:
    assert found("one").member.role == Role.OPERATOR
    assert found("two", "zoe@two.example").member.role == Role.ADMIN


def test_admin_leads_to_the_conversation_of_the_workspace_itself() -> None:
    founded = found()
    alias = Alias.objects.get(workspace=founded.workspace)
    assert alias.addr_spec == f"admin@shop.{settings.POSTROOM_MAIL_DOMAIN}"
    assert alias.forced_record == founding.own_conversation(founded.workspace)
    assert Follower.objects.filter(record=alias.forced_record, contact__member=founded.member).exists()


def test_the_password_that_was_made_opens_the_door() -> None:
    founded = found()
    assert founded.password is not None
    assert founded.member.user.check_password(founded.password)


def test_a_password_that_was_given_is_not_told_again() -> None:
    founded = founding.found_workspace(
        name="", slug="x", admin_address="a@x.example", password="correct horse"
    )
    assert founded.password is None
    assert founded.member.user.check_password("correct horse")


@pytest.mark.parametrize(
    "address", [None, "admin@example.com", "admin@yourcompany.example.com", "admin@my.test"]
)
def test_a_placeholder_address_is_recognised(address: str | None) -> None:
    assert found(address=address).member.has_placeholder_address


def test_a_real_address_is_no_placeholder() -> None:
    assert not found(address="olga@demo.example").member.has_placeholder_address


@pytest.mark.parametrize("slug", ["", "Shop", "-shop", "shop-", "sh op", "shöp", "s" * 41, "shop.eu"])
def test_a_malformed_short_name_is_refused(slug: str) -> None:
    with pytest.raises(RequestRefused, match="letters a-z"):
        found(slug)


def test_a_short_name_that_is_taken_is_refused() -> None:
    found()
    with pytest.raises(RequestRefused, match="already a workspace"):
        found(address="someone@else.example")


def test_an_address_that_is_none_leaves_nothing_behind() -> None:
    with pytest.raises(AddressError):
        found(address="not an address")
    assert not Member.objects.exists()


def test_an_invited_person_can_be_told_at_once_and_sets_a_password_by_the_link(people: Cast) -> None:
    member, link = founding.invite(
        people.olga, address="Dan@Demo.example", name="Dan", role=Role.ADMIN, language="ro"
    )
    assert (member.contact.addr_spec, member.contact.language, member.role) == (
        "dan@demo.example",
        "ro",
        "admin",
    )
    assert not member.user.has_usable_password()
    assert link.startswith(settings.POSTROOM_BASE_URL)
    assert logins.LinkTokens().check_token(member.user, link.rstrip("/").partition("-")[2])


def test_somebody_who_was_written_to_before_keeps_their_history(people: Cast) -> None:
    member, _ = founding.invite(people.olga, address="ben@example.org", name="")
    assert member.contact == people.ben
    assert Contact.objects.get(pk=people.ben.pk).name == "Ben Ortiz"


def test_a_person_with_a_login_elsewhere_gets_no_link_that_sets_a_password(people: Cast) -> None:
    neighbour = cast("neighbour")
    _, link = founding.invite(people.olga, address="ana@neighbour.example")
    assert link == logins.login_url()
    with pytest.raises(RequestRefused, match="another workspace"):
        founding.reset_link(neighbour.ana)
    assert founding.reset_link(neighbour.ana, is_asked_by_operator=True)


def test_an_administrator_gets_no_link_into_the_login_of_an_operator(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="operates the installation"):
        founding.reset_link(people.olga)
    assert founding.reset_link(people.olga, is_asked_by_operator=True)
    assert founding.reset_link(people.ana)


def test_a_link_dies_when_its_user_enters_another_workspace(people: Cast) -> None:
    member, link = founding.invite(people.olga, address="dan@demo.example")
    founding.invite(cast("neighbour").olga, address="dan@demo.example")
    assert not logins.LinkTokens().check_token(member.user, link.rstrip("/").partition("-")[2])


def test_nobody_is_invited_twice(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="already"):
        founding.invite(people.olga, address="ana@demo.example")


@pytest.mark.parametrize(("who", "role"), [("ana", Role.MEMBER), ("admin", Role.OPERATOR)])
def test_nobody_gives_away_a_role_above_their_own(people: Cast, who: str, role: str) -> None:
    by = people.ana if who == "ana" else join(people.workspace, "adi@demo.example", "Adi", Role.ADMIN)
    with pytest.raises(RequestRefused, match="Only an administrator"):
        founding.invite(by, address="eve@demo.example", role=role)


def test_a_new_address_is_the_new_login_and_ends_the_placeholder() -> None:
    member = found(address=None).member
    founding.change_preferences(member, address="Mia@Shop.example", language="es", channel=Channel.POSTROOM)
    member = Member.objects.get(pk=member.pk)
    assert not member.has_placeholder_address
    assert (member.language, member.channel, member.contact.language) == ("es", "postroom", "es")
    assert member.contact.addr_spec == member.user.email == "mia@shop.example"


def test_the_login_of_somebody_else_cannot_be_taken(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="Somebody else"):
        founding.change_preferences(people.ana, address="OLGA@demo.example")
    assert people.ana_contact.addr_spec == "ana@demo.example"


def test_nobody_takes_an_address_on_the_domain_of_another_workspace(people: Cast) -> None:
    """It would be From of what they send."""
    MailDomain.objects.create(workspace=cast("victim").workspace, domain="victim.example")
    with pytest.raises(RequestRefused, match="belongs to another workspace"):
        founding.change_preferences(people.ana, address="ceo@victim.example")
    assert people.ana_contact.addr_spec == "ana@demo.example"


def test_who_has_such_an_address_already_keeps_it(people: Cast) -> None:
    MailDomain.objects.create(workspace=cast("victim").workspace, domain="demo.example")
    changed = founding.change_preferences(people.ana, address="ana@demo.example", language="es")
    assert (changed.language, changed.user.email) == ("es", "ana@demo.example")


def test_a_deactivated_member_is_told_nothing_more(people: Cast) -> None:
    founding.deactivate(people.ana, by=people.olga)
    assert not people.ana_contact.is_active
    assert people.ana not in Member.objects.active()


def test_the_last_administrator_stays(people: Cast) -> None:
    with pytest.raises(RequestRefused, match="another administrator"):
        founding.deactivate(people.olga, by=people.olga)
    assert people.olga in Member.objects.active()


def test_a_neighbour_deactivates_nobody_here(people: Cast) -> None:
    with pytest.raises(AcrossTheWall):
        founding.deactivate(people.ana, by=cast("neighbour").olga)


def test_the_cast_stands_as_described(people: Cast) -> None:
    followers = set(Follower.objects.filter(record=people.record).values_list("contact__name", flat=True))
    assert followers == {"Ana Pop", "Ben Ortiz"}
    assert Record.objects.get(workspace=people.workspace, model="sale.order").external_id == "SO042"
    assert people.olga.is_operator
    assert contact_for(people.workspace, "carla@example.com") == people.carla


def test_a_new_workspace_gets_the_plan_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("first").workspace.plan == "paid"
    monkeypatch.setattr(settings, "POSTROOM_DEFAULT_PLAN", "trial")
    assert found("second").workspace.plan == "trial"
