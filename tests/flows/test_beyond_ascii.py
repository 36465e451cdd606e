"""Addresses and names beyond ASCII, from the message to what the relay gets."""

from __future__ import annotations

import asyncio
import email
import email.policy
from pathlib import Path
from typing import Any

import pytest

from postroom.conversations.models import Contact, Message
from postroom.diagnostics.explain import explain
from postroom.flows import capture, sending
from postroom.flows.posting import Draft, post
from postroom.flows.recording import contact_for
from postroom.outgoing.models import Attempt, Email
from postroom.outgoing.relays import shared_server
from postroom.wire.parse import parse
from tests.people import Cast, cast
from tests.smtp.scripted import OFFERS, ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)

LOCAL = "ștefan@example.org"
DOMAIN = "zoe@müller.example"


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def told(people: Cast, addr_spec: str) -> Message:
    """A message that goes to one contact alone."""
    named = contact_for(people.workspace, addr_spec, "Ștefan Müller")
    return post(Draft(workspace=people.workspace, member=people.ana, named=[named], text="Bună ziua"))


def sent(settings: Any, *offers: str) -> ScriptedRelay:
    """Send what is due to a relay that offers these extensions beside the usual ones."""
    name = shared_server().engine_lane

    async def story() -> ScriptedRelay:
        async with ScriptedRelay(offers=[*OFFERS, *offers]).serve() as relay:
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{relay.port}"
            await asyncio.wait_for(sending.drain(name), 20)
            return relay

    return asyncio.run(story())


def test_a_server_with_smtputf8_gets_the_address_as_it_is(people: Cast, settings: Any) -> None:
    told(people, LOCAL)
    relay = sent(settings, "SMTPUTF8")
    [mail_from] = [line for line in relay.lines if line.startswith(b"MAIL")]
    [rcpt_to] = [line for line in relay.lines if line.startswith(b"RCPT")]
    assert mail_from.endswith(b" SMTPUTF8")
    assert rcpt_to == f"RCPT TO:<{LOCAL}>".encode()
    [content] = relay.contents
    header = content.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert [line for line in header if not line.isascii()] == [
        f"To: =?utf-8?b?yJh0ZWZhbiBNw7xsbGVy?= <{LOCAL}>".encode()
    ]
    assert [(box.display_name, box.addr_spec) for box in parse(content).to] == [("Ștefan Müller", LOCAL)]
    assert Email.objects.get().state == "sent"


def test_a_server_without_it_gets_nothing_and_people_are_told_what_to_do(people: Cast, settings: Any) -> None:
    told(people, LOCAL)
    relay = sent(settings)
    assert relay.contents == []
    assert not any(line.startswith(b"RCPT") for line in relay.lines)
    failed = Email.objects.get()
    assert (failed.state, failed.failure_kind) == ("failed", "refused")
    attempt = Attempt.objects.get()
    said = explain(code=attempt.code, enhanced=attempt.enhanced, text=attempt.text)
    assert said.reason == "no_smtputf8"
    assert "correct it and try again" in said.next_step


@pytest.mark.parametrize("offers", [[], ["SMTPUTF8"]])
def test_a_domain_travels_in_its_ascii_form_whatever_the_server_offers(
    people: Cast, settings: Any, offers: list[str]
) -> None:
    told(people, DOMAIN)
    relay = sent(settings, *offers)
    assert b"RCPT TO:<zoe@xn--mller-kva.example>" in relay.lines
    assert not any(b"SMTPUTF8" in line for line in relay.lines)
    [content] = relay.contents
    assert content.isascii()
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert [(box.display_name, box.addr_spec) for box in mail["To"].addresses] == [
        ("Ștefan Müller", "zoe@xn--mller-kva.example")
    ]


def test_a_redirected_copy_needs_no_smtputf8(people: Cast, settings: Any) -> None:
    capture.switch_on(people.workspace, mode="redirect", to="test@example.net")
    told(people, LOCAL)
    [content] = sent(settings).contents
    assert content.isascii()
    assert Email.objects.get().state == "sent"


def test_an_author_with_such_an_address_goes_out_from_ours(people: Cast, settings: Any) -> None:
    author = contact_for(people.workspace, f"ștefan@{people.domain.domain}", "Ștefan")
    Contact.objects.filter(pk=author.pk).update(member=None)
    draft = Draft(workspace=people.workspace, author=author, named=[people.ben], text="Bună ziua")
    post(draft)
    [content] = sent(settings, "SMTPUTF8").contents
    assert content.isascii()
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert [str(box) for box in mail["From"].addresses] == [f"Ștefan <notifications@{people.domain}>"]
