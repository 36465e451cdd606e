"""Puts rows into the shapes that programs are shown (`shapes`)."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db.models import Prefetch, Q, QuerySet

from postroom.conversations.models import Attachment, Contact, Follower, Message, Record
from postroom.diagnostics.wait_words import in_short
from postroom.diagnostics.wording import why_lane_held
from postroom.flows.shapes import (
    AttemptShape,
    DeliveryShape,
    DeliveryState,
    EmailShape,
    EmailWithAttemptsShape,
    FileShape,
    KeyShape,
    MemberShape,
    MessageShape,
    PersonShape,
    ReceivedShape,
    RecordShape,
    WorkspaceShape,
)
from postroom.incoming.models import ReceivedEmail
from postroom.outgoing.expecting import Expected, expected
from postroom.outgoing.models import Attempt, Email, Tally
from postroom.workspaces.models import ApiKey, Member, Workspace


def record_id(record: Record) -> str:
    """How programs name a record."""
    return f"rec_{record.pk}"


def message_id(message_pk: int) -> str:
    """How programs name a message."""
    return f"msg_{message_pk}"


def email_id(email_pk: int) -> str:
    """How programs name one message to one recipient."""
    return f"em_{email_pk}"


def number_in(text: str, prefix: str) -> int | None:
    """The number in an id such as em_12; None if it is not one with this prefix."""
    kind, _, number = text.strip().partition("_")
    is_well_formed = kind == prefix and number.isascii() and number.isdigit() and len(number) <= 18
    return int(number) if is_well_formed else None


def shape_of_person(contact: Contact) -> PersonShape:
    """A contact, whose `address` should be loaded."""
    return PersonShape(contact.name, contact.addr_spec or None, contact.is_insider)


def records_to_show(records: QuerySet[Record]) -> QuerySet[Record]:
    """The same records, with what `shape_of_record` reads loaded along."""
    followers = Follower.objects.select_related("contact__address").order_by("pk")
    return records.select_related("responsible__contact__address").prefetch_related(
        Prefetch("followers", queryset=followers)
    )


def shape_of_record(record: Record) -> RecordShape:
    """A record from `records_to_show`."""
    return RecordShape(
        id=record_id(record),
        model=record.model,
        external_id=record.external_id,
        title=record.title,
        url=record.url or None,
        page=f"{settings.POSTROOM_BASE_URL}/records/{record.pk}",
        responsible=_person_behind(record.responsible),
        followers=[shape_of_person(follower.contact) for follower in record.followers.all()],
        created_at=record.created_at,
        last_message_at=record.last_message_at,
    )


def _person_behind(member: Member | None) -> PersonShape | None:
    contact: Contact | None = getattr(member, "contact", None) if member else None
    return shape_of_person(contact) if contact else None


def messages_to_show(messages: QuerySet[Message]) -> QuerySet[Message]:
    """The same messages, with what `shape_of_message` reads loaded along."""
    return messages.select_related("record", "author__address", "subtype", "tally").prefetch_related(
        Prefetch("attachments", queryset=Attachment.objects.order_by("pk")),
        Prefetch("emails", queryset=emails_to_show(Email.objects.order_by("pk"))),
    )


def shape_of_message(message: Message) -> MessageShape:
    """A message from `messages_to_show`."""
    return MessageShape(
        id=message_id(message.pk),
        record=message.record.key if message.record else None,
        author=shape_of_person(message.author) if message.author else None,
        kind=message.kind,
        is_note=message.is_internal,
        stream=message.stream,
        subject=message.subject,
        html=message.body,
        text=message.text,
        message_id=message.message_id,
        created_at=message.created_at,
        send_at=message.send_at,
        attachments=[
            FileShape(file.name, file.content_type, file.size) for file in message.attachments.all()
        ],
        delivery=shape_of_delivery(getattr(message, "tally", None)),
        recipients=shapes_of_emails(message.emails.all()),
    )


def shape_of_delivery(tally: Tally | None) -> DeliveryShape:
    """The counts of a message; all are 0 if nobody was mailed."""
    if tally is None:
        return DeliveryShape("none", 0, 0, 0, 0, 0, 0)
    counts = (
        tally.outgoing_count,
        tally.sent_count,
        tally.failed_count,
        tally.ignored_count,
        tally.cancelled_count,
    )
    return DeliveryShape(_state_of(tally), tally.total_count, *counts)


def _state_of(tally: Tally) -> DeliveryState:
    if tally.failed_count:
        return "failed"
    if tally.outgoing_count:
        return "waiting"
    if tally.sent_count or tally.ignored_count:
        return "sent"
    return "cancelled" if tally.cancelled_count else "none"


def emails_to_show(emails: QuerySet[Email]) -> QuerySet[Email]:
    """The same emails, with what `shape_of_email` reads loaded along and the letters left in the table."""
    return emails.select_related("address", "contact", "lane__workspace", "lane__server", "lane__via")


def shapes_of_emails(emails: Iterable[Email]) -> list[EmailShape]:
    """Emails from `emails_to_show`, in their order."""
    rows = list(emails)
    when = expected(rows)
    return [_shape_of_email(email, when.get(email.pk)) for email in rows]


def shape_of_email(email: Email) -> EmailShape:
    """An email from `emails_to_show`."""
    return shapes_of_emails([email])[0]


def _shape_of_email(email: Email, when: Expected | None) -> EmailShape:
    is_waiting, wait = email.state == "outgoing", when.wait if when else None
    return EmailShape(
        id=email_id(email.pk),
        message=message_id(email.message_id),
        address=email.address.addr_spec,
        name=email.contact.name if email.contact else "",
        state=email.state,
        failure_kind=email.failure_kind or None,
        failure_text=email.failure_text or None,
        cancelled_because=email.cancelled_because or None,
        redirected_to=email.redirected_to or None,
        due_at=email.due_at if is_waiting else None,
        held_until=email.lane.held_until if is_waiting else None,
        held_because=(email.lane.held_because or None) if is_waiting else None,
        held_reason=(why_lane_held(email.lane) or None) if is_waiting else None,
        expected_at=when.at if when else None,
        waits_for=wait.key if wait else None,
        waits_reason=in_short(wait) if wait else None,
        in_hand_until=email.leased_until if is_waiting and email.lease else None,
        attempt_count=email.attempt_count,
        sent_at=email.sent_at,
        bounced_at=email.bounced_at,
        ignored_at=email.ignored_at,
        why_told=email.why_told,
        created_at=email.created_at,
    )


def shape_with_attempts(email: Email) -> EmailWithAttemptsShape:
    """An email from `emails_to_show` with its history."""
    attempts = email.attempts.order_by("pk")
    return EmailWithAttemptsShape(shape_of_email(email), [shape_of_attempt(attempt) for attempt in attempts])


def shape_of_attempt(attempt: Attempt) -> AttemptShape:
    """One attempt."""
    return AttemptShape(
        number=attempt.number,
        at=attempt.at,
        address=attempt.addr_spec,
        server=attempt.server_name,
        outcome=attempt.outcome,
        code=attempt.code,
        enhanced=attempt.enhanced or None,
        text=attempt.text,
        seconds=round(attempt.seconds, 3),
        is_tls=attempt.is_tls,
        is_unverified=attempt.is_unverified,
    )


def shape_of_received(received: ReceivedEmail) -> ReceivedShape:
    """A line of the incoming log; its `record` should be loaded."""
    return ReceivedShape(
        id=f"in_{received.pk}",
        received_at=received.received_at,
        source=received.source,
        reverse_path=received.reverse_path,
        forward_path=received.forward_path,
        subject=received.subject,
        message_id=received.message_id_header,
        state=received.state,
        reason=received.reason or None,
        reply_code=received.reply_code,
        reply_text=received.reply_text or None,
        record=received.record.key if received.record else None,
        message=message_id(received.message_id) if received.message_id else None,
    )


def shape_of_workspace(workspace: Workspace) -> WorkspaceShape:
    """A workspace."""
    domains = [domain.domain for domain in workspace.mail_domains.order_by("-is_default", "domain")]
    return WorkspaceShape(
        slug=workspace.slug,
        name=workspace.name,
        mail_domains=domains,
        is_capturing=workspace.is_capturing,
        created_at=workspace.created_at,
        time_zone=workspace.time_zone,
    )


def shape_of_member(member: Member) -> MemberShape:
    """A member; `user` and `contact` should be loaded."""
    contact: Contact | None = getattr(member, "contact", None)
    return MemberShape(
        address=member.user.email,
        name=contact.name if contact else "",
        role=member.role,
        language=member.language,
        channel=member.channel,
        is_active=member.is_active,
        has_placeholder_address=member.has_placeholder_address,
        joined_at=member.joined_at,
    )


def shape_of_key(key: ApiKey) -> KeyShape:
    """An API key; `member.user` should be loaded."""
    return KeyShape(
        f"key_{key.pk}",
        key.name,
        key.prefix,
        key.member.user.email,
        key.created_at,
        key.last_used_at,
        key.revoked_at,
    )


def emails_of(
    workspace: Workspace, *, state: str = "", search: str = "", capture: str = ""
) -> QuerySet[Email]:
    """The emails of a workspace, newest first; with `search` only those that have it in their
    address, their subject or the title of their record.

    `capture` asks for those that capture mode kept in (captured) or sent to another address (redirected).
    """
    emails = Email.objects.filter(workspace=workspace).order_by("-pk")
    if state:
        emails = emails.filter(state=state)
    if capture:
        emails = emails.captured() if capture == "captured" else emails.redirected()
    if search:
        emails = emails.filter(
            Q(address__addr_spec__icontains=search)
            | Q(message__subject__icontains=search)
            | Q(message__record__title__icontains=search)
        )
    return emails
