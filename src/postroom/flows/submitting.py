"""A program hands over a mail that is ready: it is kept as a message and sent as it is."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom import engine
from postroom.conversations import message_names, sanitise, storage
from postroom.conversations.models import Address, Attachment, Contact, Message, Record
from postroom.conversations.models.messages import Kind
from postroom.conversations.models.records import Stream
from postroom.conversations.storage import Upload
from postroom.diagnostics import mail_log
from postroom.diagnostics.events import EventKind, note
from postroom.flows import recording
from postroom.flows.drafts import PostRefused
from postroom.outgoing import fan_out, origin, raw_mail, relays
from postroom.outgoing.capturing import SECRET_LAYOUT
from postroom.outgoing.models import Email, MailServer
from postroom.outgoing.routes import Crossroads, Route
from postroom.wire.address import Mailbox, is_plainly, normalise, without_addresses
from postroom.wire.header_lines import date_line
from postroom.wire.parse import ParsedEmail, parse
from postroom.wire.threads import mint_message_id
from postroom.workspaces.insert_selected import insert_selected, select
from postroom.workspaces.models import Member, Workspace
from postroom.workspaces.walls import refuse_strangers

LONGEST_LIST = 10_000


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who the mail is from, how it leaves, and the header lines that have to change for it."""

    contact: Contact
    route: Route
    added: tuple[bytes, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ways:
    """How mails of one member's program may leave. `is_secret`: only over the shared relay."""

    workspace: Workspace
    member: Member
    is_secret: bool

    def author_of(self, given: Mailbox) -> Contact:
        """Who has that address; whoever may not use it speaks for nobody but themselves."""
        if self.is_anothers(given):
            return self.own_contact()
        return recording.contact_for(self.workspace, given.addr_spec, given.display_name)

    def own_contact(self) -> Contact:
        """The member who answers for the mail."""
        return Contact.objects.select_related("address").get(member=self.member)

    def is_anothers(self, given: Mailbox | None) -> bool:
        """Is it another member's address? Administrators' programs may send in everybody's name."""
        if given is None or self.member.is_admin:
            return False
        members = Contact.objects.filter(workspace=self.workspace, address__addr_spec=given.addr_spec)
        return members.exclude(member=None).exclude(member=self.member).exists()

    def route_of(self, contact: Contact, wanted: Mailbox | None, fixed: MailServer | None = None) -> Route:
        """The way of a mail with this From (None: the contact's own)."""
        crossroads = Crossroads(self.workspace)
        if self.is_secret:
            return crossroads.secret_route(wanted)
        # A program acts as one member: nobody else's personal server is its to use, whatever From says.
        return crossroads.route_of(
            contact,
            wanted=wanted,
            fixed=fixed,
            may_be_personal=contact.member_id == self.member.pk,
            is_anothers=self.is_anothers(wanted),
        )


def submit(
    workspace: Workspace,
    raw: bytes,
    *,
    reverse_path: str,
    forward_paths: Sequence[str],
    member: Member,
    record: Record | None = None,
    stream: Stream | str = Stream.URGENT,
    shown: str | None = None,
) -> Message:
    """Send a ready-made mail to every forward-path, each with an Email of its own.

    The octets stay as they are, but for the header block: Bcc goes, a missing Message-ID or Date is added,
    and a From that the chosen server does not let us use, or that is another member's, becomes the default
    one, with the author's address as Reply-To. A Sender stays if it might be From; what steers a provider
    goes.
    Bounces come back to us, whatever `reverse_path` says; it only stands in for a missing From.
    `shown` is kept instead of what the mail says, for a mail that only its recipients may read and that
    leaves over no server but the shared relay.
    Raises PostRefused, AddressError or AcrossTheWall, each with nothing stored.
    """
    refuse_strangers(workspace, [member, record])
    recipients = _recipients(forward_paths)
    parsed = parse(raw)
    domain = origin.default_domain(workspace)
    ways = _Ways(workspace, member, shown is not None)
    sender = _sender(ways, parsed, reverse_path=reverse_path)
    message_id = message_names.usable(parsed.message_id)
    message_id = message_id or mint_message_id(uuid.uuid4().hex, domain.domain)
    kept = parsed if shown is None else replace(parsed, html=None, text=shown, attachments=[])
    attachments = _kept_files(workspace, kept)
    layout = "literal" if shown is None else SECRET_LAYOUT
    with transaction.atomic():
        while not relays.stays_in_use(sender.route.server):  # somebody archived it in this moment
            sender = _sender(ways, parsed, reverse_path=reverse_path)
        message = _write(workspace, kept, message_id, sender=sender, record=record, stream=str(stream))
        message_names.remember(message, parsed.message_id)
        Attachment.objects.bulk_create(_hung_on(message, attachments))
        template = _template(raw, parsed, message_id, sender=sender)
        _tell(message, template, recipients, layout=layout, route=sender.route)
    return message


def _recipients(forward_paths: Iterable[str]) -> list[str]:
    recipients = list(dict.fromkeys(normalise(path) for path in forward_paths))
    if not recipients:
        raise PostRefused(_("Nobody is named who should get this mail. Name at least one address."))
    if len(recipients) > LONGEST_LIST:
        raise PostRefused(_("One mail may go to %(limit)s addresses at most.") % {"limit": LONGEST_LIST})
    return recipients


def _sender(ways: _Ways, parsed: ParsedEmail, *, reverse_path: str) -> _Sender:
    given = parsed.from_ or (Mailbox("", normalise(reverse_path)) if reverse_path else None)
    if given is None:
        contact = ways.own_contact()
        route = ways.route_of(contact, None)
        return _Sender(contact, route, _from_line(route.from_), ("from", "sender"))
    contact = ways.author_of(given)
    route = ways.route_of(contact, given)
    sent_by = _sent_by(ways, parsed, contact, route)
    if route.from_.addr_spec == given.addr_spec:
        is_there = len(parsed.headers.get_all("From")) == 1 and is_plainly(given, parsed.headers.get("From"))
        if is_there:
            return _Sender(contact, route, sent_by, ("sender",))
        return _Sender(contact, route, (*_from_line(_clear(given)), *sent_by), ("from", "sender"))
    added = _from_line(route.from_)
    if "Reply-To" not in parsed.headers and given.addr_spec.isascii():
        added += (b"Reply-To: " + _clear(given).header(),)
    return _Sender(contact, route, added, ("from", "sender"))


def _sent_by(ways: _Ways, parsed: ParsedEmail, contact: Contact, route: Route) -> tuple[bytes, ...]:
    """The Sender (RFC 5322 §3.6.2), where it names one mailbox that might be From on the same way."""
    named = parsed.headers.mailboxes("Sender", 2)
    if (
        len(named) != 1
        or ways.route_of(contact, named[0], route.server).from_.addr_spec != named[0].addr_spec
    ):
        return ()
    return (b"Sender: " + _clear(named[0]).header(),)


def _clear(mailbox: Mailbox) -> Mailbox:
    """With a name that shows no other address."""
    return Mailbox(without_addresses(mailbox.display_name), mailbox.addr_spec)


def _from_line(mailbox: Mailbox) -> tuple[bytes, ...]:
    return (b"From: " + mailbox.header(),)


def _kept_files(workspace: Workspace, parsed: ParsedEmail) -> list[Attachment]:
    uploads = [
        Upload(part.name, part.content_type, part.content, part.content_id or "")
        for part in parsed.attachments
    ]
    return [storage.keep(workspace.pk, upload) for upload in uploads]


def _hung_on(message: Message, attachments: list[Attachment]) -> list[Attachment]:
    for attachment in attachments:
        attachment.message = message
    return attachments


def _write(
    workspace: Workspace,
    parsed: ParsedEmail,
    message_id: str,
    *,
    sender: _Sender,
    record: Record | None,
    stream: str,
) -> Message:
    if record is not None:
        Record.objects.filter(pk=record.pk).update(last_message_at=Now())
    body = sanitise.clean_html(parsed.html) if parsed.html else sanitise.html_of(parsed.text)
    return Message.objects.create(
        workspace=workspace,
        record=record,
        author=sender.contact,
        author_name=str(sender.contact)[:200],
        kind=Kind.SUBMISSION,
        stream=stream,
        subject=" ".join(sanitise.showable(parsed.subject).split())[:998],
        body=body,
        text=sanitise.text_of(body),
        message_id=message_id,
    )


def _template(raw: bytes, parsed: ParsedEmail, message_id: str, *, sender: _Sender) -> raw_mail.Template:
    added, dropped = [*sender.added], [*sender.dropped]
    if parsed.message_id != message_id:
        added.append(b"Message-ID: " + message_id.encode("ascii"))
        dropped.append("message-id")
    if parsed.date is None:
        added.append(date_line("Date", timezone.now()).encode("ascii"))
        dropped.append("date")
    return raw_mail.template_of(raw, added=added, dropped=dropped)


def _tell(
    message: Message, template: raw_mail.Template, recipients: list[str], *, layout: str, route: Route
) -> None:
    lane = relays.lane_of(
        message.workspace, message.stream, route.server, has_foreign_from=route.has_foreign_from
    )
    rendition = fan_out.rendition_of(message, template, route, ("en", layout))
    rendition.save()
    note(EventKind.ROUTE, workspace=message.workspace, message=message, **route.detail())
    alike = {**fan_out.alike(message, lane), "rendition": rendition.pk, "why_told": "named"}
    addresses = _addresses(message.workspace, recipients)
    of_each = {"address": F("pk"), "contact": Subquery(_oldest_contact())}
    count = insert_selected(Email, select(addresses, of_each), alike=alike)
    fan_out.write_tally(message, count)
    mail_log.posted(message, emails=count, over=lane.server.name)
    transaction.on_commit(lambda: engine.wake(lane.server.engine_lane))


def _addresses(workspace: Workspace, recipients: list[str]) -> QuerySet[Address]:
    rows = [Address(workspace=workspace, addr_spec=addr_spec) for addr_spec in recipients]
    Address.objects.bulk_create(rows, ignore_conflicts=True)
    return Address.objects.filter(workspace=workspace, addr_spec__in=recipients)


def _oldest_contact() -> QuerySet[Contact, dict[str, int]]:
    found = Contact.objects.filter(address=OuterRef("pk")).order_by(F("member").asc(nulls_last=True), "pk")
    return found.values("pk")[:1]  # type: ignore[return-value]
