"""A follower stops following from the mail itself."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from postroom.conversations.models import Contact, Follower
from postroom.flows import sending
from postroom.flows.posting import Draft, post
from postroom.flows.recording import follow
from postroom.flows.unfollowing import follow_behind, unfollow_by_link
from postroom.outgoing.models import Email
from postroom.outgoing.relays import shared_server
from tests.people import Cast, cast, join
from tests.smtp.scripted import ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def mails(settings: Any) -> dict[bytes, bytes]:
    """What is due, sent: each mail by its recipient."""
    name = shared_server().engine_lane

    async def story() -> ScriptedRelay:
        async with ScriptedRelay().serve() as relay:
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{relay.port}"
            await asyncio.wait_for(sending.drain(name), 20)
            return relay

    found = asyncio.run(story()).contents
    return {content.split(b"\r\nTo: ")[1].split(b"<")[1].split(b">")[0]: content for content in found}


def link_in(content: bytes) -> str:
    found = re.search(rb"^List-Unsubscribe: <https://post\.example/u/([\w-]+)>\r$", content, re.MULTILINE)
    assert found
    return found[1].decode()


def test_each_follower_has_a_link_of_their_own_and_the_same_body(people: Cast, settings: Any) -> None:
    settings.POSTROOM_BASE_URL = "https://post.example"
    mia = Contact.objects.get(member=join(people.workspace, "mia@demo.example", "Mia Popa"))
    follow(people.record, mia)
    post(Draft(workspace=people.workspace, record=people.record, member=people.olga, text="Lamps."))
    sent = mails(settings)
    outside = sent.pop(b"ben@example.org")
    assert b"List-Unsubscribe" not in outside
    ana, mias = sent[b"ana@demo.example"], sent[b"mia@demo.example"]
    assert link_in(ana) != link_in(mias)
    assert ana.partition(b"\r\n\r\n")[2] == mias.partition(b"\r\n\r\n")[2]
    answer = Client(enforce_csrf_checks=True).post(f"/u/{link_in(mias)}", {"List-Unsubscribe": "One-Click"})
    assert answer.status_code == 200
    following = Follower.objects.filter(record=people.record).values_list("contact__name", flat=True)
    assert "Mia Popa" not in set(following)
    post(Draft(workspace=people.workspace, record=people.record, member=people.olga, text="More lamps."))
    assert set(mails(settings)) == {b"ana@demo.example", b"ben@example.org"}


def test_a_link_says_whose_it_is_and_works_once(people: Cast, settings: Any) -> None:
    settings.POSTROOM_BASE_URL = "https://post.example"
    post(Draft(workspace=people.workspace, record=people.record, member=people.olga, text="Lamps."))
    token = link_in(mails(settings)[b"ana@demo.example"])
    found = follow_behind(token)
    assert found is not None
    assert (found.record, found.contact, found.is_following) == (people.record, people.ana_contact, True)
    assert unfollow_by_link(found)
    assert not unfollow_by_link(found)
    later = follow_behind(token)
    assert later is not None
    assert not later.is_following
    Email.objects.all().delete()
    assert follow_behind(token) is None
