"""Whatever a person writes into whatever field: a mail has the headers we gave it and no other.

Each field that can reach a mail is filled with everything that could break a header, on rows as they are
stored and not only as forms let them through. The mails go over a socket, and what the relay got is read
by means of its own.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.apps import apps
from django.db import models
from django.db.utils import DatabaseError

from postroom.conversations.models import Alias, Message, Record
from postroom.conversations.models.messages import Kind
from postroom.flows import arranging, capture, recording, sending
from postroom.flows.posting import Draft, Upload, post, submit
from postroom.outgoing.models import Email
from postroom.outgoing.relays import shared_server
from postroom.wire.address import AddressError
from postroom.workspaces.models import MailDomain, Member, Workspace
from postroom.workspaces.refusals import RequestRefused
from tests.people import Cast, cast
from tests.smtp.scripted import ScriptedRelay

pytestmark = pytest.mark.django_db(transaction=True)

SMUGGLED = "Bcc: evil@example.org"
HOSTILE = {
    "plain": "a name",
    "cr": f"a\r{SMUGGLED}",
    "lf": f"a\n{SMUGGLED}",
    "crlf": f"a\r\n{SMUGGLED}\r\n\r\nbody",
    "folded": f"a\r\n \r\n{SMUGGLED}",
    "nul": f"a\x00\r\n{SMUGGLED}",
    "vt-ff": f"a\x0b{SMUGGLED}\x0c{SMUGGLED}",
    "c1": f"a\x85{SMUGGLED}\x9b",
    "line-separator": f"a\u2028{SMUGGLED}\u2029{SMUGGLED}",
    "8-bit": "Ștefan Öz 日本",
    "latin-1": "caf\u00e9\u00ff",
    "bidi": "a\u202egpj.exe\u2066b\u200f",
    "long": "x" * 3000,
    "long-words": "word " * 600,
    "long-8-bit": "ș" * 3000,
    "look-alike": "=?utf-8?q?a?= =?utf-8?b?Qmvj?=",
    "look-alike-smuggling": "=?utf-8?q?a=0D=0ABcc:_evil@example.org?=",
    "quotes": 'a" <evil@example.org>, "b\\',
    "brackets": "a <evil@example.org>, b@example.org; c:;(",
    "percent": "%(to)b %(copy)b %d %% %(unfollow)b",
    "marks": "\x02to\x03 \x02copy\x03 \x02unfollow\x03",
    "dots": "\r\n.\r\nMAIL FROM:<evil@example.org>\r\n",
    "surrogate": "a\ud800b",
    "comma": "a, b; c: d",
    "look-alike-address": "=?utf-8?q?evil?=",  # a local part like any other, for all its looks
}
REFUSALS = (RequestRefused, AddressError, DatabaseError, UnicodeError, ValueError)
"""What may answer a hostile value instead of a mail; then nothing is stored."""

Act = Callable[[Cast, str], object]


def say(people: Cast, **more: Any) -> Message:
    """Olga says something on the record: Ana is mailed as a follower, Ben outside."""
    said = {"record": people.record, "member": people.olga, "text": "The lamps have left the house."}
    return post(Draft(workspace=people.workspace, **{**said, **more}))


def stored(row: models.Model, **values: str) -> None:
    """Put values into a row past all forms, cut to what the column holds."""
    cut = {name: text[: row._meta.get_field(name).max_length] for name, text in values.items()}  # type: ignore[union-attr]
    type(row).objects.filter(pk=row.pk).update(**cut)  # type: ignore[attr-defined]
    row.refresh_from_db()


def filled(pick: Callable[[Cast], models.Model], name: str, **more: Any) -> Act:
    """Fill one field of one row, and say something."""

    def act(people: Cast, value: str) -> object:
        stored(pick(people), **{name: value})
        fresh = replace(
            people,
            workspace=Workspace.objects.get(pk=people.workspace.pk),
            record=Record.objects.select_related("workspace").get(pk=people.record.pk),
        )
        return say(fresh, **more)

    return act


def domain_filled(name: str) -> Act:
    def act(people: Cast, value: str) -> object:
        domain = MailDomain.objects.get(workspace=people.workspace)
        setattr(domain, name, value)
        arranging.put_domain(domain, by=Member.objects.get(pk=people.olga.pk))
        return say(people)

    return act


def with_file(**named: str) -> Act:
    def act(people: Cast, value: str) -> object:
        given = {"name": "a.png", "content_type": "image/png", "content_id": "pic@here"}
        given |= dict.fromkeys(named, value)
        upload = Upload(given["name"], given["content_type"], b"x", given["content_id"])
        body = f'<p>Look: <img src="cid:{given["content_id"].strip("<> ")}"></p>'
        return say(people, attachments=[upload], body=body)

    return act


def told(people: Cast, value: str) -> object:
    named = recording.contact_for(people.workspace, value if "@" in value else f"{value}@example.org")
    return say(people, named=[named])


def with_alias(people: Cast, value: str) -> object:
    alias = Alias(
        mail_domain=people.domain, local_part=value[:64], model="crm.lead", forced_record=people.record
    )
    arranging.put_alias(alias, by=people.olga)
    try:
        return say(people)
    finally:
        alias.delete()


def at_domain(people: Cast, value: str) -> object:
    domain = MailDomain(domain=f"{value}.example.org")
    return arranging.put_domain(domain, by=Member.objects.get(pk=people.olga.pk))


def answered(people: Cast, value: str) -> object:
    """A mail comes in whose identifier is this; what is said next names it among its ancestors."""
    came = say(people, member=None, author=people.carla, kind=Kind.EMAIL, message_id=value[:998])
    return say(people, parent=came)


def identified(people: Cast, value: str) -> object:
    return answered(people, f"<{value}@example.org>")


def redirected(people: Cast, value: str) -> object:
    capture.switch_on(people.workspace, mode="redirect", to=f"{value}@example.org")
    return say(people)


def submitted(name: str) -> Act:
    """A program hands over a mail with this value in one of its headers."""

    def act(people: Cast, value: str) -> object:
        fields = {"From": "Shop <shop@demo.postroom.localhost>", "To": "ben@example.org", "Subject": "x"}
        fields[name] = value
        head = "".join(f"{field}: {text}\r\n" for field, text in fields.items())
        raw = head.encode("utf-8", "surrogateescape" if "\udc80" <= value[:1] <= "\udcff" else "replace")
        given = {"reverse_path": "shop@demo.example", "forward_paths": ["ben@example.org"]}
        return submit(people.workspace, raw + b"\r\nThank you.\r\n", member=people.ana, **given)  # type: ignore[arg-type]

    return act


REACH_MAIL: dict[str, Act] = {
    "Workspace.name": filled(lambda people: people.workspace, "name"),
    "Workspace.capture_to": redirected,
    "MailDomain.domain": at_domain,
    "MailDomain.bounce_local_part": domain_filled("bounce_local_part"),
    "MailDomain.catchall_local_part": domain_filled("catchall_local_part"),
    "MailDomain.from_local_part": domain_filled("from_local_part"),
    "Address.addr_spec": told,
    "Contact.name": filled(lambda people: people.ben, "name"),
    "Contact.name of the author": filled(lambda people: people.olga_contact, "name"),
    "Record.title": filled(lambda people: people.record, "title"),
    "Record.model": filled(lambda people: people.record, "model"),
    "Record.external_id": filled(lambda people: people.record, "external_id"),
    "Record.url": filled(lambda people: people.record, "url"),
    "Alias.local_part": with_alias,
    "Message.subject": lambda people, value: say(people, subject=value),
    "Message.body": lambda people, value: say(people, body=f"<p>{value}</p>"),
    "Message.text": lambda people, value: say(people, text=value),
    "Message.author_name": lambda people, value: say(people, member=None, author_name=value),
    "Message.message_id": identified,
    "Message.message_id as it came": answered,
    "Attachment.name": with_file(name=""),
    "Attachment.content_type": with_file(content_type=""),
    "Attachment.content_id": with_file(content_id=""),
    "submitted From": submitted("From"),
    "submitted To": submitted("To"),
    "submitted Cc": submitted("Cc"),
    "submitted Reply-To": submitted("Reply-To"),
    "submitted Sender": submitted("Sender"),
    "submitted Subject": submitted("Subject"),
    "submitted Message-ID": submitted("Message-ID"),
    "submitted References": submitted("References"),
    "submitted Date": submitted("Date"),
    "submitted Content-Type": submitted("Content-Type"),
    "submitted List-Unsubscribe": submitted("List-Unsubscribe"),
    "submitted X-Anything": submitted("X-Anything"),
}

NOT_IN_MAIL = {
    "made by us": """
        Installation.instance Installation.key_check Installation.capture_reason Workspace.slug
        DkimKey.selector DkimKey.private DkimKey.public ApiKey.prefix ApiKey.digest
        IdempotentRequest.digest Attachment.digest MailDomain.dns_findings Notification.reason
        SpooledMail.digest Lane.held_because Rendition.language Rendition.layout Rendition.digest
        Email.cancelled_because Email.lease Email.why_told Event.kind ReceivedEmail.identity
        ReceivedEmail.lease ReceivedEmail.source ReceivedEmail.route ReceivedEmail.target
        ReceivedEmail.reason ReceivedEmail.reply_text MailServer.down_because Attempt.enhanced
        LimitRequest.factors Workspace.features MailServer.esp Subtype.key
        ScheduledMessage.subtype_key Workspace.time_zone Station.name Station.host Station.version
        Station.instance ScheduledAction.key ScheduledAction.time_zone ScheduledAction.lease
        ScheduledAction.last_counts ScheduledAction.positions UnusedFile.name Counter.series
        Sample.name Sample.label
    """,
    "worked out of a field that is tried": """
        Rendition.reverse_path Rendition.from_addr_spec Rendition.return_domain Email.redirected_to
        Installation.capture_to MessageIdAlias.alias ScheduledMessage.subject ScheduledMessage.body
        ScheduledMessage.text ScheduledMessage.named ScheduledMessage.files
    """,
    "never said in a mail": """
        Installation.capture_allowed Workspace.capture_allowed LimitRequest.reason LimitRequest.answer
        SystemParameter.key SystemParameter.value ApiKey.name IdempotentRequest.key
        IdempotentRequest.body Subtype.name Alias.model Alias.defaults Event.detail
        ScheduledMessage.failure_text ScheduledAction.last_error Email.failure_text ReceivedEmail.peer
        ReceivedEmail.helo
        ReceivedEmail.reverse_path ReceivedEmail.forward_path ReceivedEmail.from_header
        ReceivedEmail.subject ReceivedEmail.message_id_header MailServer.name
        MailServer.last_failure Attempt.addr_spec Attempt.server_name Attempt.reverse_path
        Attempt.remote_id Attempt.text
    """,
    "said to servers alone, by code of its own with tests of its own": """
        MailServer.host MailServer.user MailServer.password MailServer.client_certificate
        MailServer.client_key MailServer.oauth MailServer.esp_options MailServer.from_filter
    """,
    "said to whom a mail is refused, in a reply that is one line": "Alias.bounced_text",
}


def text_fields() -> Iterator[str]:
    for model in apps.get_app_config("postroom").get_models():
        for field in model._meta.local_fields:
            if (
                isinstance(field, models.CharField | models.TextField | models.JSONField)
                and not field.choices
            ):
                yield f"{model.__name__}.{field.name}"


def test_every_text_that_is_stored_is_tried_or_known_to_stay_out_of_mail() -> None:
    listed = {name.partition(" ")[0] for name in REACH_MAIL if "." in name}
    passed_over = {name for names in NOT_IN_MAIL.values() for name in names.split()}
    assert set(text_fields()) == listed | passed_over
    assert not listed & passed_over


OURS = {
    *("date", "from", "to", "reply-to", "subject", "message-id", "references", "in-reply-to"),
    *("x-postroom-copy", "mime-version", "content-type", "content-transfer-encoding"),
    *("list-unsubscribe", "list-unsubscribe-post", "auto-submitted", "x-auto-response-suppress"),
    *("dkim-signature", "x-postroom-original-recipient"),
}
OF_PROGRAMS = {"cc", "sender", "x-anything"}
OF_PARTS = {"content-type", "content-transfer-encoding", "content-disposition", "content-id"}


def check(content: bytes, allowed: set[str]) -> None:
    """Read a mail line by line as a relay does, and its addresses as a mail program does."""
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\x00", content)
    assert max(map(len, content.split(b"\r\n"))) <= 998
    head, gap, _ = content.partition(b"\r\n\r\n")
    assert gap
    assert head.isascii()
    lines = head.split(b"\r\n")
    assert all(line.strip(b" \t") for line in lines)
    names = [line.partition(b":")[0].decode().lower() for line in lines if line[:1] not in b" \t"]
    assert set(names) <= allowed
    assert len(names) == len(set(names))
    mail = email.message_from_bytes(content, policy=email.policy.SMTP)
    for name in ("From", "Reply-To", "To"):
        assert name not in mail or allowed is not OURS or len(mail[name].addresses) == 1
    assert len(mail["From"].addresses) == 1
    assert "evil@example.org" not in [address.addr_spec for address in mail["From"].addresses]
    for part in list(mail.walk())[1:]:
        assert {name.lower() for name in part} <= OF_PARTS


def sent_over_a_socket(settings: Any) -> ScriptedRelay:
    async def story() -> ScriptedRelay:
        async with ScriptedRelay().serve() as relay:
            settings.POSTROOM_RELAY_URL = f"smtp://127.0.0.1:{relay.port}"
            await asyncio.wait_for(sending.drain(name), 60)
            return relay

    name = shared_server().engine_lane
    return asyncio.run(story())


@pytest.mark.parametrize("field", REACH_MAIL)
def test_no_value_of_a_field_makes_a_header_of_its_own(field: str, data_folder: Any, settings: Any) -> None:
    settings.POSTROOM_BASE_URL = "https://post.example"
    people, count = cast(), 0
    for value in HOSTILE.values():
        try:
            REACH_MAIL[field](people, value)
            count += 1
        except REFUSALS:
            continue
    assert count
    emails = Email.objects.count()
    relay = sent_over_a_socket(settings)
    refused = Email.objects.filter(state="failed").count()
    assert emails == 0 or relay.contents
    assert len(relay.contents) == emails - refused
    allowed = OURS | OF_PROGRAMS if field.startswith("submitted") else OURS
    for content in relay.contents:
        check(content, allowed)
    for line in relay.lines:
        assert re.fullmatch(rb"(EHLO|HELO|MAIL FROM|RCPT TO|DATA|RSET|QUIT)\b[ -~]*", line)
        assert b"evil@example.org" not in line
