"""Mail leaves signed, on the way from the queue to the relay."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from postroom.conversations.models.records import Stream
from postroom.flows import sending, submitting
from postroom.outgoing import signing
from postroom.outgoing.copies import Copies
from postroom.outgoing.models import Email, Rendition
from postroom.workspaces.models import DkimKey, MailDomain
from tests.flows.test_sending import lane_of, send
from tests.outgoing.queued import RelayDoor, queue, relay, tally_adds_up
from tests.outgoing.signed import active_key, signatures_in, verifies
from tests.people import Cast, cast

pytestmark = pytest.mark.django_db(transaction=True)
OCTETS = (
    b"From: Ana <ana@%b>\r\nTo: %%(to)b\r\nX-Postroom-Copy: %%(copy)b\r\nSubject: 5%%%% of  lamps\r\n"
    b"Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nMessage-ID: <1@demo.example>\r\n\r\n.Hello \r\n\r\n"
)


@pytest.fixture
def people(transactional_db: None, data_folder: Path) -> Cast:
    """The cast, in tables that threads can see."""
    return cast()


def from_(domain: str) -> bytes:
    return OCTETS % domain.encode()


def revoke_all() -> None:
    """For a thread, which leaves no connection behind."""
    DkimKey.objects.update(state=DkimKey.State.RETIRED)
    connections.close_all()


def domain_of(people: Cast, name: str) -> MailDomain:
    return MailDomain.objects.create(workspace=people.workspace, domain=name)


@pytest.mark.parametrize("algorithms", [("rsa",), ("ed25519",), ("rsa", "ed25519")])
def test_each_copy_leaves_with_a_signature_of_every_active_key(
    people: Cast, settings: Any, algorithms: tuple[str, ...]
) -> None:
    keys = [active_key(people.domain, algorithm) for algorithm in algorithms]
    recipients = ["ben@example.org", "carla@example.com", *(f"p{n}@example.org" for n in range(40))]
    emails = queue(people.workspace, recipients, octets=from_(people.domain.domain))
    door, next_at = send(settings, lane_of(emails[0]))
    assert next_at is None
    assert sorted(mail.forward_paths[0] for mail in door.taken) == sorted(recipients)
    assert all(verifies(mail.content, *keys) for mail in door.taken)
    assert Email.objects.filter(state="sent", lease="").count() == len(recipients)
    assert tally_adds_up(emails[0].message)


def test_without_an_active_key_mail_leaves_unsigned_and_no_thread_is_asked(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state in (DkimKey.State.WAITING, DkimKey.State.RETIRING, DkimKey.State.RETIRED):
        active_key(people.domain, state=state, selector=f"pr-{state}")
    active_key(cast("neighbour").domain)
    monkeypatch.setattr(signing.Signing, "add", lambda *_: pytest.fail("nothing is to be signed"))
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_(people.domain.domain))
    door, _ = send(settings, lane_of(email))
    assert [signatures_in(mail.content) for mail in door.taken] == [0]


@pytest.mark.parametrize(
    ("from_domain", "signing_domain"),
    [
        ("shop.example", "shop.example"),
        ("eu.west.shop.example", "shop.example"),
        ("elsewhere.example", "demo.postroom.localhost"),
        ("myshop.example", "demo.postroom.localhost"),
    ],
)
def test_the_domain_of_from_signs_or_one_above_it_else_that_of_the_return_path(
    people: Cast, settings: Any, from_domain: str, signing_domain: str
) -> None:
    keys = {key.mail_domain.domain: key for key in map(active_key, [domain_of(people, "shop.example")])}
    keys[people.domain.domain] = active_key(people.domain)
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_(from_domain))
    door, _ = send(settings, lane_of(email))
    assert verifies(door.taken[0].content, keys[signing_domain])


def test_the_column_for_from_is_believed_before_the_octets(people: Cast, settings: Any) -> None:
    key = active_key(domain_of(people, "shop.example"))
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_("elsewhere.example"))
    Rendition.objects.update(from_addr_spec="ana@shop.example")
    door, _ = send(settings, lane_of(email))
    assert verifies(door.taken[0].content, key)


def test_the_domain_of_a_return_path_of_its_own_signs(people: Cast, settings: Any) -> None:
    key = active_key(domain_of(people, "shop.example"))
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_("elsewhere.example"))
    Rendition.objects.update(return_domain="shop.example")
    door, _ = send(settings, lane_of(email))
    assert verifies(door.taken[0].content, key)


def test_a_mail_that_a_program_hands_over_is_signed_as_it_is(people: Cast, settings: Any) -> None:
    key = active_key(people.domain, "rsa")
    raw = (
        b"From: Ana <ana@%b>\nTo: ben@example.org\nX-A: 1\nSubject: =?utf-8?q?L=C3=A1mpara?=\n folded \t on"
        b"\nCc: a@example.org\nCc: b@example.org\n\nL\xc3\xa1mparas 100%%  \n\n.\n..\n\n\n"
        % people.domain.domain.encode()
    )
    message = submitting.submit(
        people.workspace, raw, reverse_path="", forward_paths=["ben@example.org"], member=people.olga
    )
    door, _ = send(settings, lane_of(message.emails.get()))
    assert verifies(door.taken[0].content, key)


def test_urgent_mail_is_signed_before_bulk(people: Cast, settings: Any) -> None:
    active_key(people.domain)
    octets = from_(people.domain.domain)
    bulk = queue(
        people.workspace, [f"b{n}@example.org" for n in range(90)], octets=octets, stream=Stream.BULK
    )
    queue(people.workspace, [f"u{n}@example.org" for n in range(5)], octets=octets)
    door, _ = send(settings, lane_of(bulk[0]))
    order = [mail.forward_paths[0][0] for mail in door.taken]
    assert order.count("u") == 5
    assert order[:20].count("u") == 5


def test_a_key_that_cannot_be_opened_lets_mail_leave_unsigned_and_says_so(
    people: Cast, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    key = active_key(people.domain)
    settings.POSTROOM_SEALING_KEYS = [b"another key of thirty-two octets"]
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_(people.domain.domain))
    with caplog.at_level(logging.ERROR, "postroom.sending"):
        door, _ = send(settings, lane_of(email))
    assert signatures_in(door.taken[0].content) == 0
    assert f"DKIM key {key.selector} of {people.domain.domain} cannot be used" in caplog.text


def test_a_copy_that_cannot_be_signed_fails_alone(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active_key(people.domain)
    signature = Copies.signature

    def breaking(self: Copies, email: Any) -> Any:
        if email.addr_spec == "ben@example.org":
            raise ArithmeticError("no signature today")
        return signature(self, email)

    monkeypatch.setattr(Copies, "signature", breaking)
    octets = from_(people.domain.domain)
    emails = queue(people.workspace, ["ben@example.org", "carla@example.com"], octets=octets)
    door, _ = send(settings, lane_of(emails[0]))
    assert [mail.forward_paths[0] for mail in door.taken] == ["carla@example.com"]
    failed = Email.objects.get(pk=emails[0].pk)
    assert failed.state == "failed"
    assert "no signature today" in failed.failure_text
    assert tally_adds_up(emails[0].message)


def test_a_key_that_is_revoked_while_mail_leaves_signs_nothing_more(people: Cast, settings: Any) -> None:
    """The relay revokes it as soon as it has seen ten mails; the next claim knows."""
    active_key(people.domain)

    class RevokingDoor(RelayDoor):
        async def content(self, session: Any, transaction: Any) -> Any:
            if len(self.taken) == 10:
                await asyncio.to_thread(revoke_all)
            return await super().content(session, transaction)

    recipients = [f"p{n}@example.org" for n in range(700)]
    emails = queue(people.workspace, recipients, octets=from_(people.domain.domain), stream=Stream.BULK)
    door, _ = send(settings, lane_of(emails[0]), RevokingDoor())
    counts = [signatures_in(mail.content) for mail in door.taken]
    assert len(counts) == 700
    assert counts[0] == 1
    assert counts[-1] == 0


def test_what_was_signed_and_not_sent_is_given_back(people: Cast, settings: Any) -> None:
    active_key(people.domain)
    octets = from_(people.domain.domain)
    emails = queue(people.workspace, [f"slow{n}@example.org" for n in range(60)], octets=octets)
    lane, thread_count = lane_of(emails[0]), threading.active_count()

    async def story() -> None:
        async with relay(settings) as door:
            draining = asyncio.create_task(sending.drain(lane))
            async with asyncio.timeout(20):
                while not door.asked and not draining.done():
                    await asyncio.sleep(0.01)
            draining.cancel()
            asyncio.get_running_loop().call_later(0.3, door.gate.set)  # once nothing more is handed out
            with pytest.raises(asyncio.CancelledError):
                await draining

    asyncio.run(story())
    assert not Email.objects.exclude(lease="").exists()
    assert Email.objects.filter(state="outgoing", attempt_count=0).exists()
    assert not Email.objects.exclude(state__in=["outgoing", "sent"]).exists()
    assert threading.active_count() <= thread_count + signing.thread_count() + 2


def test_a_server_that_is_down_gives_back_what_was_signed(people: Cast, settings: Any) -> None:
    active_key(people.domain)
    octets = from_(people.domain.domain)
    emails = queue(people.workspace, [f"p{n}@example.org" for n in range(60)], octets=octets)
    settings.POSTROOM_RELAY_URL = "smtp://127.0.0.1:1"
    asyncio.run(sending.drain(lane_of(emails[0])))
    assert Email.objects.filter(state="outgoing", lease="", attempt_count=0).count() == 60


def test_never_more_lies_ready_than_there_is_room_for(
    people: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    active_key(people.domain)
    monkeypatch.setattr(signing, "READY_LIMIT", 32)
    seen: list[int] = []
    has_room = signing.Signing._has_room

    def noting(self: signing.Signing) -> bool:
        seen.append(self.ready_count() + len(self.in_hand))
        return has_room(self)

    monkeypatch.setattr(signing.Signing, "_has_room", noting)
    octets = from_(people.domain.domain)
    emails = queue(people.workspace, [f"p{n}@example.org" for n in range(300)], octets=octets)
    door, _ = send(settings, lane_of(emails[0]))
    assert len(door.taken) == 300
    assert max(seen) < 32 + signing.CHUNK


def test_few_are_shared_out_to_all_threads_and_many_go_in_whole_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signing, "thread_count", functools.partial(int, 4))
    stage = signing.Signing(Copies(), in_loop=lambda *_: None)
    stage.bulk.extend(range(100))  # type: ignore[arg-type]
    sizes = []
    while stage.bulk:
        sizes.append(len(stage._next_chunk()))
    assert sizes[:3] == [16] * 3
    assert sizes[-4:] == [1] * 4
    assert sum(sizes) == 100


def test_the_signature_names_the_selector_and_the_domain(people: Cast, settings: Any) -> None:
    """That is how a reader of the mail itself finds the key."""
    key = active_key(people.domain)
    [email] = queue(people.workspace, ["ben@example.org"], octets=from_(people.domain.domain))
    door, _ = send(settings, lane_of(email))
    field = re.sub(rb"\s+", b"", door.taken[0].content.partition(b"\r\nFrom:")[0])
    assert f";d={people.domain.domain};s={key.selector};".encode() in field
