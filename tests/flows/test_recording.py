"""Records get a conversation, and people follow it."""

from __future__ import annotations

import pytest

from postroom.conversations.models import Contact, Follower, Subtype
from postroom.diagnostics.models import Event
from postroom.flows.recording import contact_for, follow, put_record, unfollow
from postroom.wire.address import AddressError
from postroom.workspaces.refusals import AcrossTheWall
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db


def names(people: Cast) -> set[str]:
    return set(Follower.objects.filter(record=people.record).values_list("contact__name", flat=True))


def subtypes(people: Cast, contact: Contact) -> list[str]:
    return [
        subtype.key for subtype in Follower.objects.get(record=people.record, contact=contact).subtypes.all()
    ]


def chosen(people: Cast, *keys: str) -> list[Subtype]:
    return list(Subtype.objects.filter(workspace=people.workspace, key__in=keys))


def test_the_same_key_is_the_same_record_with_a_new_title(people: Cast) -> None:
    record, is_new = put_record(
        people.workspace, "sale.order", "SO042", title="SO042 Floor lamps", by=people.olga
    )
    assert (record, is_new, record.title) == (people.record, False, "SO042 Floor lamps")
    assert record.responsible == people.ana
    assert "Olga Ionescu" not in names(people)


def test_title_and_link_are_one_line_without_control_characters(people: Cast) -> None:
    record, _ = put_record(
        people.workspace,
        "sale.order",
        "SO042",
        title="Desk\r\nlamps\x1b[2J \x00",
        url="https://shop.example/SO042\r\n",
        by=people.olga,
    )
    record.refresh_from_db()
    assert (record.title, record.url) == ("Desk lamps [2J", "https://shop.example/SO042")


def test_a_new_record_is_followed_by_whoever_made_it_its_responsible_and_those_named(people: Cast) -> None:
    record, is_new = put_record(
        people.workspace,
        "helpdesk",
        "1",
        title="Help",
        responsible=people.ana,
        followers=[people.carla],
        by=people.olga,
    )
    followers = set(Follower.objects.filter(record=record).values_list("contact__name", flat=True))
    assert is_new
    assert followers == {"Ana Pop", "Carla Stan", "Olga Ionescu"}


def test_an_address_is_one_contact_however_it_is_written(people: Cast) -> None:
    assert contact_for(people.workspace, " BEN@Example.ORG", "Benjamin") == people.ben
    assert Contact.objects.get(pk=people.ben.pk).name == "Ben Ortiz"


def test_a_name_is_learnt_for_a_contact_that_had_none(people: Cast) -> None:
    contact_for(people.workspace, "dan@example.org")
    assert contact_for(people.workspace, "dan@example.org", "Dan").name == "Dan"


def test_a_shared_address_is_first_of_all_the_members(people: Cast) -> None:
    Contact.objects.create(workspace=people.workspace, name="Sales desk", address=people.ana_contact.address)
    assert contact_for(people.workspace, "ana@demo.example") == people.ana_contact


def test_two_workspaces_have_a_contact_each(people: Cast) -> None:
    assert contact_for(cast("neighbour").workspace, "ben@example.org") != people.ben


def test_text_that_is_no_address_makes_no_contact(people: Cast) -> None:
    with pytest.raises(AddressError):
        contact_for(people.workspace, "ben")


def test_a_follower_starts_with_the_default_subtypes_and_keeps_what_they_chose(people: Cast) -> None:
    ana = people.ana_contact
    assert subtypes(people, ana) == ["discussions"]
    follow(people.record, ana, chosen(people, "note"))
    follow(people.record, ana)
    assert subtypes(people, ana) == ["note"]


def test_an_outsider_is_never_subscribed_to_what_is_internal(people: Cast) -> None:
    follow(people.record, people.ben, chosen(people, "discussions", "note"))
    assert subtypes(people, people.ben) == ["discussions"]


def test_the_inactive_do_not_become_followers(people: Cast) -> None:
    people.carla.is_active = False
    assert follow(people.record, people.carla) is None
    assert "Carla Stan" not in names(people)


def test_who_stops_following_is_gone_and_it_is_noted_who_did_it(people: Cast) -> None:
    assert unfollow(people.record, people.ben, by=people.ana)
    assert not unfollow(people.record, people.ben, by=people.ana)
    assert names(people) == {"Ana Pop"}
    noted = Event.objects.get(kind="follower.removed")
    assert (noted.contact, noted.member, noted.record) == (people.ben, people.ana, people.record)


def test_nobody_follows_across_the_wall(people: Cast) -> None:
    other = cast("neighbour")
    for act in (follow, unfollow):
        with pytest.raises(AcrossTheWall):
            act(people.record, other.ben)
    with pytest.raises(AcrossTheWall):
        put_record(people.workspace, "sale.order", "1", title="x", responsible=other.ana, by=None)
