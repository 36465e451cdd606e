"""What people do about Emails: Retry, Send Now, Cancel Email, correct an address, ignore."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from postroom import engine
from postroom.conversations.models import Address, Contact, Message, Notification
from postroom.conversations.recipients import own_addresses
from postroom.diagnostics import mail_log
from postroom.diagnostics.events import EventKind, note, told_as
from postroom.diagnostics.log_lines import MessageId, Own
from postroom.diagnostics.models import Event
from postroom.flows import hurrying, mailing_turns, releasing, rerouting
from postroom.outgoing import gates, holds, tallies
from postroom.outgoing.capturing import SECRET_LAYOUT
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Email, MailServer, Rendition, State, Tally
from postroom.outgoing.queue import EmailQuerySet
from postroom.outgoing.tallies import Move, count_of
from postroom.wire.address import AddressError, normalise
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

GROUP = 500
Emails = EmailQuerySet | Iterable[int]


@dataclass(frozen=True, slots=True)
class Retried:
    """How many Emails leave again, and why others do not: a sentence with its remedy by the Email's id.

    `kept_by` are the names of the switched-off actions that keep some of those that leave again, with how
    many each.
    """

    count: int
    left: Mapping[int, str]
    kept_by: Mapping[str, int] = field(default_factory=dict)


def retry_what_can(emails: Emails, by: Member) -> Retried:
    """Send Emails again that are in Delivery Failed or Cancelled, but those stranded at archived servers."""
    count, left, kept_by = 0, dict[int, str](), Counter[str]()
    for group in _groups(_of_workspace(emails, by).retryable()):
        stranded = rerouting.stranded(group)
        left |= stranded
        again = group.exclude(pk__in=list(stranded))
        count += _send_again(again, by, EventKind.RETRIED)
        kept_by.update(hurrying.kept_by_what_is_off(again))
    return Retried(count, left, kept_by)


def retry(emails: Emails, by: Member) -> int:
    """Send Emails again that are in Delivery Failed or Cancelled; others are passed over. Return how many.

    Each leaves over the server that would be chosen now, as long as its From and return path stay what they
    are. Raises RequestRefused, and then nothing was changed, if one is stranded at an archived server.
    """
    chosen = _of_workspace(emails, by).retryable()
    rerouting.refuse_stranded(chosen)
    return sum(_send_again(group, by, EventKind.RETRIED) for group in _groups(chosen))


def send_now(emails: Emails, by: Member) -> int:
    """Let Outgoing Emails leave at once, even from a lane that waits for its server. Return how many.

    What a pause or a limit keeps in is passed over, because no hurry helps there. Raises RequestRefused,
    and then nothing was changed, if that is all that was asked for: with the reason and what helps.
    """
    done = send_now_what_can(emails, by)
    if done.left and not done.count:
        raise RequestRefused(next(iter(done.left.values())))
    return done.count


def send_now_what_can(emails: Emails, by: Member) -> Retried:
    """As `send_now`, but what a pause or a limit keeps in is named with the reason; nothing is refused."""
    count, chosen = 0, _of_workspace(emails, by).waiting()
    left = hurrying.kept(chosen)
    for group in _groups(chosen.exclude(pk__in=list(left))):
        group.update(due_at=gates.in_front(database_time()), is_listed=True)
        holds.reopen_lanes(list(group.values_list("lane_id", flat=True).distinct()))
        count += _note_all(group, by, EventKind.SENT_NOW)
        _wake(group)
    return Retried(count, left)


def cancel(emails: Emails, by: Member) -> int:
    """Take Outgoing Emails that no worker has in hand out of the queue. Return how many."""
    count = 0
    for group in _groups(_of_workspace(emails, by).waiting()):
        tallies.move(Move(message_id, State.OUTGOING, State.CANCELLED) for message_id in _message_ids(group))
        count += _note_all(group, by, EventKind.CANCELLED)
        group.update(state=State.CANCELLED, cancelled_because="member", is_listed=True)
        mailing_turns.ask_for_turns(group)
    return count


def ignore_all(message: Message, by: Member) -> int:
    """Leave every failure of a message as it is; its envelope is red no more. Return how many."""
    refuse_strangers(by.workspace_id, [message])
    with transaction.atomic():
        count = sum(_ignore(group, by) for group in _groups(Email.objects.filter(message=message).failed()))
        _calm(message)
    return count


def send_and_close(
    message: Message,
    by: Member,
    *,
    again: Mapping[int, str],
    ignored: Collection[int] = (),
    update_contacts: Collection[int] = (),
) -> int:
    """Send the failed Emails named in `again` once more and ignore those in `ignored`.

    `again` gives each Email's address, empty for unchanged; `update_contacts` names the Emails whose contact
    gets the corrected address as well. What is named in neither stays as it is: it may have failed after the
    member looked. Returns how many are sent again. Raises RequestRefused, and then
    nothing was changed, for an address that cannot be used or that this member may not correct, and for an
    Email stranded at an archived server.
    """
    refuse_strangers(by.workspace_id, [message])
    with transaction.atomic():
        failed = Email.objects.filter(message=message).failed()
        wanted = failed.filter(pk__in=list(again)).select_related("address", "contact")
        for email in wanted.select_for_update(of=("self",)).order_by("pk"):
            _correct(email, again[email.pk], by, is_for_contact=email.pk in update_contacts)
        for group in _groups(failed.filter(pk__in=set(ignored) - set(again))):
            _ignore(group, by)
        count = sum(_send_again(group, by, EventKind.RETRIED) for group in _groups(wanted))
        _calm(message)
    return count


def may_correct(member: Member, email: Email) -> bool:
    """May this member correct its address? Admins, the message's author and the record's responsible may."""
    if member.workspace_id != email.workspace_id:
        return False
    author, record = email.message.author, email.message.record
    is_author = author is not None and author.member_id == member.pk
    is_responsible = record is not None and record.responsible_id == member.pk
    return member.is_admin or is_author or is_responsible


# Groups of rows, each locked in the transaction that changes it.


def _of_workspace(emails: Emails, by: Member) -> EmailQuerySet:
    chosen = emails if isinstance(emails, EmailQuerySet) else Email.objects.filter(pk__in=list(emails))
    return chosen.filter(workspace_id=by.workspace_id)


def _groups(emails: EmailQuerySet) -> Iterator[EmailQuerySet]:
    """Locked groups in the order of ids, each inside a transaction of its own."""
    after = 0
    while True:
        with transaction.atomic():
            rows = emails.select_for_update(of=("self",)).order_by("pk").filter(pk__gt=after)
            email_ids = list(rows.values_list("pk", flat=True)[:GROUP])
            if not email_ids:
                return
            yield Email.objects.filter(pk__in=email_ids)
        after = email_ids[-1]


def _message_ids(group: EmailQuerySet) -> list[int]:
    return list(group.values_list("message_id", flat=True))


def _send_again(group: EmailQuerySet, by: Member, kind: EventKind) -> int:
    rerouting.reroute(group)
    before = group.values_list("message_id", "state", "ignored_at")
    tallies.move(
        Move(message_id, count_of(state, is_ignored=ignored_at is not None), State.OUTGOING)
        for message_id, state, ignored_at in before
    )
    group.update(
        state=State.OUTGOING,
        failure_kind="",
        failure_text="",
        cancelled_because="",
        due_at=Now(),
        first_attempt_at=None,
        uncertain_count=0,
        bounced_at=None,
        ignored_at=None,
        is_listed=True,
    )
    _wake(group)
    count = _note_all(group, by, kind)
    releasing.ask_for_release(group)
    return count


def _ignore(group: EmailQuerySet, by: Member) -> int:
    tallies.move(Move(message_id, State.FAILED, tallies.IGNORED) for message_id in _message_ids(group))
    group.update(ignored_at=timezone.now())
    return _note_all(group, by, EventKind.IGNORED)


def _note_all(group: EmailQuerySet, by: Member, kind: EventKind) -> int:
    columns = ("pk", "message_id", "contact_id", "workspace_id", "message__message_id")
    rows = list(group.order_by("pk").values_list(*columns))
    events = [
        Event(
            kind=kind,
            workspace_id=workspace_id,
            message_id=message_id,
            contact_id=contact_id,
            email_id=pk,
            member=by,
        )
        for pk, message_id, contact_id, workspace_id, _ in rows
    ]
    slug, who = Own(by.workspace.slug), told_as(by)
    mail_log.told_all(
        str(kind),
        [
            (("message", MessageId(row[4])), ("workspace", slug), ("email", row[0]), ("by", who))
            for row in rows
        ],
    )
    return len(Event.objects.bulk_create(events))


def _wake(group: EmailQuerySet) -> None:
    servers = MailServer.objects.filter(lanes__in=group.values("lane_id")).distinct()
    for name in [server.engine_lane for server in servers]:
        transaction.on_commit(lambda name=name: engine.wake(name))  # type: ignore[misc]


def _calm(message: Message) -> None:
    """Nothing of the message is red any more: what members were told of it is settled."""
    if not Tally.objects.filter(pk=message.pk, failed_count__gt=0).exists():
        told = Notification.objects.filter(message=message, kind=Notification.Kind.FAILURE, read_at=None)
        told.update(read_at=timezone.now())


# Corrections.


def _correct(email: Email, wanted: str, by: Member, *, is_for_contact: bool) -> None:
    before = email.address.addr_spec
    after = _normalised(wanted) if wanted.strip() else before
    if after == before:
        return
    if not may_correct(by, email):
        raise RequestRefused(
            _("Only an administrator, the author or the responsible may correct this address.")
        )
    if Rendition.objects.filter(emails=email, layout=SECRET_LAYOUT).exists():
        raise RequestRefused(_("This mail is for %(address)s alone.") % {"address": before})
    if after in own_addresses(email.workspace_id):
        raise RequestRefused(
            _("%(address)s leads back here. Leave this one out, or correct it to another address.")
            % {"address": after}
        )
    address = Address.objects.get_or_create(workspace_id=email.workspace_id, addr_spec=after)[0]
    if Email.objects.filter(message_id=email.message_id, address=address).exists():
        raise RequestRefused(
            _(
                "This message already goes to %(address)s. "
                "Leave this one out, or correct it to another address."
            )
            % {"address": after}
        )
    Email.objects.filter(pk=email.pk).update(address=address)
    if is_for_contact and email.contact_id:
        Contact.objects.filter(pk=email.contact_id, workspace_id=email.workspace_id).update(address=address)
    _note_correction(email, by, before, after)


def _normalised(text: str) -> str:
    try:
        return normalise(text)
    except AddressError as error:
        raise RequestRefused(str(error)) from error


def _note_correction(email: Email, by: Member, before: str, after: str) -> None:
    note(
        EventKind.CORRECTED,
        workspace=by.workspace,
        message=email.message,
        contact=email.contact,
        email_id=email.pk,
        member=by,
        before=before,
        after=after,
    )
