"""Who is told, how, and why not."""

from __future__ import annotations

from typing import Any

import pytest

from postroom.conversations.models import Address, Contact, Subtype
from postroom.conversations.recipients import Audience
from postroom.flows.founding import deactivate
from postroom.flows.recording import contact_for, follow
from postroom.workspaces.models import Channel, Member
from tests.people import Cast, cast, join

pytestmark = pytest.mark.django_db


def audience(
    people: Cast, key: str = "discussions", named: tuple[Contact, ...] = (), **more: Any
) -> Audience:
    subtype = Subtype.objects.get(workspace=people.workspace, key=key)
    given = {"author": None, "record_id": people.record.pk, **more}
    return Audience(
        workspace_id=people.workspace.pk,
        subtype=subtype,
        named_ids=tuple(contact.pk for contact in named),
        **given,
    )


def told(asked: Audience) -> dict[str, str]:
    """Name → email or postroom."""
    found = {contact.name: "email" for contact in asked.by_email()}
    return found | {contact.name: "postroom" for contact in asked.in_postroom()}


def reasons(asked: Audience) -> dict[str, str]:
    """Name → why not."""
    found = {contact.name: contact.hurdle for contact in asked.passed_over()}
    return found | {contact.name: "same_address" for contact in asked.sharing()}


def test_followers_of_the_subtype_and_the_named_are_told(people: Cast) -> None:
    assert told(audience(people, named=(people.carla,))) == {
        "Ana Pop": "email",
        "Ben Ortiz": "email",
        "Carla Stan": "email",
    }


def test_the_author_is_not_told(people: Cast) -> None:
    asked = audience(people, author=people.ana_contact)
    assert (told(asked), reasons(asked)) == ({"Ben Ortiz": "email"}, {"Ana Pop": "author"})


def test_a_contact_at_the_authors_address_gets_no_copy_back(people: Cast) -> None:
    twin = Contact.objects.create(workspace=people.workspace, name="Ben's shop", address=people.ben.address)
    follow(people.record, twin)
    assert reasons(audience(people, author=people.ben)) == {"Ben Ortiz": "author", "Ben's shop": "author"}


def test_a_member_who_prefers_it_is_told_in_postroom(people: Cast) -> None:
    assert told(audience(people, named=(people.olga_contact,)))["Olga Ionescu"] == "postroom"


def test_a_note_reaches_members_only(people: Cast) -> None:
    asked = audience(people, "note", named=(people.olga_contact, people.carla))
    assert told(asked) == {"Olga Ionescu": "postroom"}
    assert reasons(asked) == {"Ana Pop": "not_subscribed", "Ben Ortiz": "internal", "Carla Stan": "internal"}
    assert list(asked.outsiders()) == [people.carla]


def test_a_note_reaches_an_outsider_who_was_named_and_confirmed_but_no_following_one(people: Cast) -> None:
    asked = audience(people, "note", named=(people.carla,), are_outsiders_confirmed=True)
    assert told(asked) == {"Carla Stan": "email"}
    assert reasons(asked)["Ben Ortiz"] == "internal"


def test_an_outsider_subscribed_to_notes_by_mistake_is_still_not_told(people: Cast) -> None:
    follower = people.record.followers.get(contact=people.ben)
    follower.subtypes.add(Subtype.objects.get(workspace=people.workspace, key="note"))
    assert reasons(audience(people, "note", are_outsiders_confirmed=True))["Ben Ortiz"] == "internal"


def test_the_inactive_are_not_told(people: Cast) -> None:
    Contact.objects.filter(pk=people.ben.pk).update(is_active=False)
    deactivate(people.ana, by=people.olga)
    assert reasons(audience(people)) == {"Ana Pop": "inactive", "Ben Ortiz": "inactive"}


def test_people_already_in_to_and_cc_are_not_mailed_again(people: Cast) -> None:
    assert reasons(audience(people, already_told=frozenset({"ben@example.org"}))) == {
        "Ben Ortiz": "already_told"
    }


def test_a_member_told_in_postroom_is_told_although_the_mail_went_to_them(people: Cast) -> None:
    asked = audience(people, named=(people.olga_contact,), already_told=frozenset({"olga@demo.example"}))
    assert told(asked)["Olga Ionescu"] == "postroom"


def test_two_who_share_an_address_get_one_mail_and_the_named_one_is_it(people: Cast) -> None:
    shared = [
        Contact.objects.create(workspace=people.workspace, name=name, address=people.carla.address)
        for name in ("Front desk", "Back office")
    ]
    for contact in shared:
        follow(people.record, contact)
    asked = audience(people, named=(people.carla,))
    assert [c.name for c in asked.by_email() if c.address_id == people.carla.address_id] == ["Carla Stan"]
    assert reasons(asked) == {"Front desk": "same_address", "Back office": "same_address"}


def test_somebody_without_an_address_cannot_be_mailed(people: Cast) -> None:
    follow(people.record, Contact.objects.create(workspace=people.workspace, name="Nobody's box"))
    assert reasons(audience(people)) == {"Nobody's box": "no_address"}


def test_an_address_that_leads_back_to_us_is_not_mailed(people: Cast) -> None:
    own = contact_for(people.workspace, f"admin@{people.domain}", "Ourselves")
    assert reasons(audience(people, named=(own,))) == {"Ourselves": "own_alias"}


def test_a_member_whose_address_leads_back_to_us_is_told_in_postroom(people: Cast) -> None:
    member = join(people.workspace, "zed@demo.example", "Zed")
    Contact.objects.filter(member=member).update(
        address=Address.of(people.workspace, f"catchall@{people.domain}")
    )
    assert told(audience(people, named=(member.contact,)))["Zed"] == "postroom"


def test_what_is_on_no_record_is_told_to_the_named_alone(people: Cast) -> None:
    assert told(audience(people, named=(people.carla,), record_id=None)) == {"Carla Stan": "email"}


def test_a_neighbour_is_never_a_candidate(people: Cast) -> None:
    neighbour = cast("neighbour")
    assert "Carla Stan" not in told(audience(people, named=(neighbour.carla,)))


def test_language_and_layout_are_those_of_the_recipient(people: Cast) -> None:
    Member.objects.filter(pk=people.ana.pk).update(language="ro", channel=Channel.EMAIL)
    Contact.objects.filter(pk=people.ben.pk).update(language="es")
    rows = audience(people).by_email().values_list("name", "spoken", "layout", "why")
    assert set(rows) == {
        ("Ana Pop", "ro", "follower", "follower"),
        ("Ben Ortiz", "es", "outside", "follower"),
    }


def test_a_member_who_is_only_named_cannot_unfollow(people: Cast) -> None:
    Member.objects.filter(pk=people.olga.pk).update(channel=Channel.EMAIL)
    asked = audience(people, named=(people.olga_contact, people.ana_contact))
    rows = asked.by_email().filter(member__isnull=False).values_list("name", "layout", "why")
    assert set(rows) == {("Ana Pop", "follower", "named"), ("Olga Ionescu", "member", "named")}
