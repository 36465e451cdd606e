"""What was received is posted: to its record's conversation, or as the beginning of a new one."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.db import InterfaceError, OperationalError, close_old_connections, connections, transaction
from django.db.models import Min, Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from postroom.conversations.models import Address, Alias, Contact, Follower, Message, Record
from postroom.conversations.models.messages import Kind
from postroom.conversations.models.records import AliasStatus
from postroom.diagnostics import events, mail_log
from postroom.diagnostics.events import EventKind
from postroom.flows.notices import tell_admins
from postroom.flows.posting import Draft, Upload, post
from postroom.flows.recording import contact_for, put_record
from postroom.incoming.lookup import Addresses, WorkspaceFiles
from postroom.incoming.models import ReceivedEmail, ReceivedState
from postroom.incoming.places import is_nobodys
from postroom.outgoing.models import Email, State
from postroom.wire.parse import ParsedEmail, parse
from postroom.workspaces.models import MailDomain, Member

log = logging.getLogger("postroom.filing")
LANE = "inbound:"
MOST_TRIES = 3
BATCH = 50
LEASE = timedelta(seconds=60)
GAP = timedelta(seconds=30)
LONGEST_GAP = timedelta(minutes=15)
#: The disk or the database is away: that says nothing about the mail. Bad values are the mail's own fault.
TROUBLES = (OSError, OperationalError, InterfaceError)


class RecordGone(Exception):
    """The record that the mail answers was removed after the mail had been taken."""


def due() -> list[str]:
    """The lane, if something stored waits to be posted now."""
    return [LANE] if _waiting().filter(_is_due()).exists() else []


async def post_stored(lane: str) -> datetime | None:
    """Post everything that is due; returns when the next try of what could not be posted is due.

    A mail is posted and marked as posted in one transaction, so a crash posts nothing twice. What fails
    three times is set aside with its reason, and the administrators get a notice. Trouble with the disk or
    the database does not count: the mail is tried, ever less often, until it is over.
    """
    return await asyncio.to_thread(_post_all)


def _post_all() -> datetime | None:
    close_old_connections()
    try:
        while post_batch():
            pass
        next_at: datetime | None = _waiting().aggregate(at=Min("leased_until"))["at"]
        return next_at
    finally:
        connections.close_all()  # the thread belongs to the event loop and ends without a word


def post_batch() -> int:
    """Post up to fifty mails that are due, oldest first; returns how many there were."""
    lease = secrets.token_hex(16)
    rows = _claim(lease)
    for pk in rows:
        _post_or_put_off(pk, lease)
    return len(rows)


def _waiting() -> Any:
    return ReceivedEmail.objects.filter(state=ReceivedState.STORED)


def _is_due() -> Q:
    return Q(leased_until=None) | Q(leased_until__lte=Now())


def _claim(lease: str) -> Sequence[int]:
    with transaction.atomic():
        rows = _waiting().select_for_update(skip_locked=True).filter(_is_due()).order_by("pk")
        keys = list(rows.values_list("pk", flat=True)[:BATCH])
        ReceivedEmail.objects.filter(pk__in=keys).update(lease=lease, leased_until=Now() + LEASE)
    return keys


def _post_or_put_off(pk: int, lease: str) -> None:
    try:
        _post(pk, lease)
    except Exception as error:  # one mail that cannot be posted must not hold up the others
        log.exception("Could not post received mail %s", pk)
        _put_off(pk, lease, error)


def _put_off(pk: int, lease: str, error: Exception) -> None:
    with transaction.atomic():
        row = _locked(pk, lease)
        if row is None or row.workspace is None:
            return
        row.lease, row.reason = "", type(error).__name__[:40]
        if isinstance(error, TROUBLES):
            _wait_out(row)
        else:
            row.attempt_count += 1
            row.leased_until = Now() + GAP * row.attempt_count
        if row.attempt_count >= MOST_TRIES:
            row.state, row.leased_until = ReceivedState.SET_ASIDE, None
            tell_admins(row.workspace, "set_aside")
        row.save(update_fields=["attempt_count", "lease", "leased_until", "reason", "route", "state"])
        if row.state == ReceivedState.SET_ASIDE:
            mail_log.arrived(row, "set_aside")


def _wait_out(row: ReceivedEmail) -> None:
    """Try again later, each time twice as late, for as long as the trouble lasts."""
    count = row.route.get("troubles", 0)
    row.route["troubles"] = count + 1
    row.leased_until = Now() + min(LONGEST_GAP, GAP * 2 ** min(count, 10))


def repost(row: ReceivedEmail) -> bool:
    """Have a mail that was set aside tried again, now; False if it is not set aside."""
    aside = ReceivedEmail.objects.filter(pk=row.pk, state=ReceivedState.SET_ASIDE)
    return bool(
        aside.update(state=ReceivedState.STORED, attempt_count=0, lease="", leased_until=None, reason="")
    )


def _locked(pk: int, lease: str) -> ReceivedEmail | None:
    rows = ReceivedEmail.objects.select_for_update(of=("self",)).select_related("workspace", "record")
    return rows.filter(pk=pk, lease=lease, state=ReceivedState.STORED).first()


def octets_of(row: ReceivedEmail) -> bytes:
    """The raw mail, from the spool table or the storage. Raises OSError if the storage has lost it."""
    spooled = row.spooled
    if spooled is None:
        raise OSError(f"There are no octets kept of received mail {row.pk}.")
    if spooled.octets is not None:
        return bytes(spooled.octets)
    with default_storage.open(spooled.storage_name) as file:
        content: bytes = file.read()
    return content


def _post(pk: int, lease: str) -> None:
    parsed = parse(octets_of(ReceivedEmail.objects.select_related("spooled").get(pk=pk)))
    with transaction.atomic():
        row = _locked(pk, lease)
        if row is None or row.workspace is None:
            return
        alias = Alias.objects.filter(workspace=row.workspace, pk=row.route.get("alias")).first()
        is_new = row.target.startswith("alias:")
        record = _open(row, parsed, alias) if is_new else _continued(row)
        draft = _draft(row, parsed, record, is_new=is_new)
        message = post(draft)
        _finish(row, record, message, alias)
        mail_log.arrived(row, "filed", message)
        _note(row, parsed, message, is_unproven=bool(draft.author_name))
        _note_not_following(row, draft, message)


def _continued(row: ReceivedEmail) -> Record:
    if row.record is None:
        raise RecordGone
    return row.record


def _open(row: ReceivedEmail, parsed: ParsedEmail, alias: Alias | None) -> Record:
    assert row.workspace is not None
    if alias is None:
        raise RecordGone
    record, _is_new = put_record(
        row.workspace,
        alias.model,
        f"mail-{row.pk}",
        title=" ".join(parsed.subject.split()) or "…",
        responsible=_responsible(alias),
        by=None,
    )
    return record


def _responsible(alias: Alias) -> Member | None:
    """Who is responsible for what this alias opens: the member whose address its defaults name."""
    address = str(alias.defaults.get("responsible", "")).strip().lower() if alias.defaults else ""
    if not address:
        return None
    members = Member.objects.active().filter(workspace_id=alias.workspace_id)
    return members.filter(contact__address__addr_spec=address).first()


def _draft(row: ReceivedEmail, parsed: ParsedEmail, record: Record, *, is_new: bool) -> Draft:
    assert row.workspace is not None
    author = _author(row, parsed)
    claimed = _unproven(row, author)
    author = None if claimed else author
    told = {mailbox.addr_spec for mailbox in parsed.recipients_seen}
    parent = Message.objects.filter(record=record, pk=row.route.get("parent")).first()
    is_automatic = row.route.get("automatic") is not None and not is_new
    is_internal = parent is not None and parent.is_internal
    return Draft(
        workspace=row.workspace,
        record=record,
        author=author,
        author_name=_("%(name)s (unverified)") % {"name": claimed} if claimed else "",
        body=parsed.html or "",
        text=parsed.text,
        subject=parsed.subject,
        subtype_key="note" if is_automatic or is_internal else "discussions",
        named=_asked(parent) if is_internal else (),
        attachments=[
            Upload(part.name, part.content_type, part.content, part.content_id or "")
            for part in parsed.attachments
        ],
        parent=parent,
        kind=Kind.EMAIL,
        message_id=_own_message_id(row, parsed),
        already_told=frozenset(told | {claimed.addr_spec} if claimed else told),
        is_quiet=is_automatic,
        may_author_follow=not row.route.get("by_references") or _has_been_told(record, author),
    )


def _unproven(row: ReceivedEmail, author: Contact | None) -> Contact | None:
    """The member whom From names, unless a signed reply address led here: anybody can write a From."""
    is_unproven = author is not None and author.is_insider and not row.route.get("signed")
    return author if is_unproven else None


def _own_message_id(row: ReceivedEmail, parsed: ParsedEmail) -> str | None:
    """The mail's own, unless another message has it already: then answers would not know which is meant."""
    assert row.workspace_id is not None
    named = parsed.message_id
    return None if named and WorkspaceFiles(row.workspace_id).is_message_id_known(named) else named


def _has_been_told(record: Record, author: Contact | None) -> bool:
    """Is it a member, a follower, or somebody to whom a message of this record was addressed?

    Without an author there is nobody to keep from following.
    """
    if author is None or author.is_insider:
        return True
    if Follower.objects.filter(record=record, contact=author).exists():
        return True
    emails = Email.objects.filter(message__record=record).exclude(state=State.CANCELLED)
    return emails.filter(Q(contact=author) | Q(address=author.address)).exists()


def _asked(parent: Message | None) -> tuple[Contact, ...]:
    """Whoever of the house asked is told the answer, though nobody follows notes."""
    author = parent.author if parent else None
    return (author,) if author is not None and author.is_insider else ()


def _author(row: ReceivedEmail, parsed: ParsedEmail) -> Contact | None:
    """The contact behind From; None without one, or if it is an address of ours that no person has."""
    assert row.workspace is not None
    sender = parsed.from_
    if sender is None:
        return None
    members = Contact.objects.filter(workspace=row.workspace, member__isnull=False)
    is_member = members.filter(address__addr_spec=sender.addr_spec).exists()
    if not is_member and is_nobodys(sender.addr_spec, Addresses(row.workspace.pk)):
        return None
    return contact_for(row.workspace, sender.addr_spec, sender.display_name)


def _finish(row: ReceivedEmail, record: Record, message: Message, alias: Alias | None) -> None:
    row.state, row.record, row.message, row.reason = ReceivedState.POSTED, record, message, ""
    row.lease, row.leased_until = "", None
    row.save(update_fields=["state", "record", "message", "reason", "lease", "leased_until"])
    if alias is not None and alias.status != AliasStatus.VALID:
        Alias.objects.filter(pk=alias.pk).update(status=AliasStatus.VALID)


def _note(row: ReceivedEmail, parsed: ParsedEmail, message: Message, *, is_unproven: bool) -> None:
    """What the conversation itself does not show: a robot, or an author nobody vouches for."""
    sender = parsed.from_
    automatic = row.route.get("automatic")
    if automatic is not None:
        _note_one(EventKind.AUTOMATIC_REPLY, row, message, why=automatic)
    elif sender is not None:
        addresses = Address.objects.filter(workspace=message.workspace, addr_spec=sender.addr_spec)
        addresses.filter(bounce_score__gt=0).update(bounce_score=0)
    if sender is None:
        return
    if is_unproven or MailDomain.objects.filter(domain=sender.domain).exists():
        _note_one(EventKind.UNVERIFIED_AUTHOR, row, message, claimed=sender.addr_spec)


def _note_not_following(row: ReceivedEmail, draft: Draft, message: Message) -> None:
    if draft.may_author_follow or draft.is_quiet or draft.author is None:
        return
    _note_one(EventKind.NOT_FOLLOWING, row, message, claimed=draft.author.addr_spec, why="by_references")


def _note_one(kind: EventKind, row: ReceivedEmail, message: Message, **detail: Any) -> None:
    events.note(
        kind,
        workspace=message.workspace,
        message=message,
        record=message.record,
        received=row.pk,
        **detail,
    )
