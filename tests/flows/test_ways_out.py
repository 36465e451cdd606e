"""Two servers and the shared relay, over real sockets: who gets which mail, with which From and envelope."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from postroom.conversations.models import Message
from postroom.flows import sending
from postroom.flows.posting import Draft, post
from postroom.outgoing.models import Email, MailServer
from postroom.smtp.listener import Listener, ListenerLimits, Transaction
from postroom.wire.tokens import ReturnPathToken
from postroom.workspaces import tokens
from postroom.workspaces.models import MailDomain
from tests.outgoing.queued import RelayDoor, relay
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)
OWN = "demo.postroom.localhost"


@pytest.fixture
def people(transactional_db: None, data_folder: Path, settings: Any) -> Cast:
    """The cast, in tables that threads can see; Ana's address is on a mail domain of theirs."""
    settings.POSTROOM_RELAY_URL = "smtp://127.0.0.1:1"
    there = cast()
    MailDomain.objects.create(workspace=there.workspace, domain="demo.example", bounce_local_part="returns")
    return there


@contextlib.asynccontextmanager
async def server(row: MailServer) -> AsyncIterator[RelayDoor]:
    """Somebody who listens where the row says."""
    door = RelayDoor()
    listener = Listener(door, "acme.localhost", ListenerLimits())
    await listener.start("127.0.0.1", row.port)
    try:
        yield door
    finally:
        await listener.stop(0.2)


def add(people: Cast, filter: str, free_port: int, **fields: Any) -> MailServer:
    known = {"name": "Acme", "host": "127.0.0.1", "port": free_port, "encryption": "none", **fields}
    return MailServer.objects.create(workspace=people.workspace, from_filter=filter, **known)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sent(message: Message, own: MailServer, settings: Any) -> tuple[list[Transaction], list[Transaction]]:
    """What the own server and the relay took when both were drained."""

    async def story() -> tuple[RelayDoor, RelayDoor]:
        async with server(own) as mine, relay(settings) as shared:
            for lane in await asyncio.to_thread(sending.due):
                await asyncio.wait_for(sending.drain(lane), 20)
            return mine, shared

    doors = asyncio.run(story())
    assert set(Email.objects.filter(message=message).values_list("state", flat=True)) == {"sent"}
    return doors[0].taken, doors[1].taken


def from_in(mail: Transaction) -> bytes:
    found = re.search(rb"^From: (.*)\r$", mail.content, re.MULTILINE)
    assert found
    return found[1]


def say(people: Cast, **more: Any) -> Message:
    known = {"record": people.record, "member": people.ana, "text": "The lamps have left.", **more}
    return post(Draft(workspace=people.workspace, **known))


def test_the_server_of_the_domain_gets_it_with_a_signed_return_path_there(
    people: Cast, settings: Any, free_port: int
) -> None:
    own = add(people, "demo.example", free_port)
    message = say(people)
    [mail], others = sent(message, own, settings)
    assert others == []
    assert from_in(mail) == b"Ana Pop <ana@demo.example>"
    local_part, _, domain = mail.reverse_path.partition("@")
    assert domain == "demo.example"
    token = tokens.signer(people.workspace.pk).recognise(local_part.removeprefix("returns+"))
    assert token == ReturnPathToken(Email.objects.get(message=message).pk, 1)


def test_a_server_of_one_address_gets_it_with_that_address_as_return_path(
    people: Cast, settings: Any, free_port: int
) -> None:
    own = add(people, "ana@demo.example", free_port)
    [mail], others = sent(say(people), own, settings)
    assert others == []
    assert (from_in(mail), mail.reverse_path) == (b"Ana Pop <ana@demo.example>", "ana@demo.example")


def test_what_no_server_names_leaves_over_the_relay_from_the_default_address(
    people: Cast, settings: Any, free_port: int
) -> None:
    own = add(people, "ana@demo.example", free_port)
    message = say(people, member=None, author=people.carla)
    ours, mails = sent(message, own, settings)
    assert (len(ours), len(mails)) == (0, 2)
    for mail in mails:
        assert from_in(mail) == f"Carla Stan <notifications@{OWN}>".encode()
        assert re.fullmatch(rf"bounce\+\S+@{re.escape(OWN)}", mail.reverse_path)
