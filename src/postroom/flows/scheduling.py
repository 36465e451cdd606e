"""What is said later: it waits in the table, is changed or called off, and is posted once when it is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime, timedelta

from django.db import DatabaseError, connections, transaction
from django.db.models import Min, Q, QuerySet
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from postroom import engine
from postroom.conversations import sanitise, storage
from postroom.conversations.models import Contact, Message, Notification, Record, ScheduledMessage
from postroom.conversations.models.scheduled import ScheduledMessageQuerySet
from postroom.conversations.storage import StoredFile, Upload
from postroom.diagnostics.events import EventKind, note
from postroom.engine import LaneKind
from postroom.flows import posting
from postroom.flows.drafts import Draft, PostRefused
from postroom.flows.due_times import still_to_come
from postroom.schedule.work import Run
from postroom.wire.address import AddressError
from postroom.workspaces.models import Member, Role
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers

log = logging.getLogger("postroom.scheduling")
LANE = "scheduled:"
FAILED_NOTICE = "scheduled_failed"
TRY_AGAIN = timedelta(minutes=1)
GIVE_UP_AFTER = timedelta(hours=1)
SETTLED_KEPT = timedelta(days=14)
UNDONE_KEPT = timedelta(days=7)
LATE, STUCK = "messages that were due", "of them not put together"
State = ScheduledMessage.State


def schedule(draft: Draft, post_at: datetime, *, is_undo_window: bool = False) -> ScheduledMessage:
    """Say it at `post_at`, in the name of the draft's member; its files are stored now.

    Raises what posting it now would raise, and PostRefused for a time that has passed or lies too far ahead;
    then nothing is stored.
    """
    member, at = draft.member, still_to_come(post_at)
    if member is None or draft.server is not None or draft.record is None:
        raise PostRefused(_("Only a member can say something later, on a record."))
    if at is None:
        raise PostRefused(_("That time has passed. Choose one that lies ahead."))
    _refuse_early(draft.send_at, at)
    posting.check(draft)
    files = [asdict(storage.put_aside(draft.workspace.pk, upload)) for upload in draft.attachments]
    with transaction.atomic():
        row = ScheduledMessage.objects.create(
            workspace=draft.workspace,
            member=member,
            author=draft.author or Contact.objects.filter(member=member).first(),
            files=files,
            post_at=at,
            is_undo_window=is_undo_window,
            **_said(draft, draft.record),
        )
        _wake()
    return row


def _refuse_early(send_at: datetime | None, post_at: datetime) -> None:
    """Emails cannot leave before what they say is said."""
    if send_at is not None and send_at < post_at:
        raise PostRefused(_("Its emails cannot leave before it is said. Choose a later time for them."))


def _said(draft: Draft, record: Record) -> dict[str, object]:
    body = sanitise.clean_html(draft.body) if draft.body.strip() else ""
    return {
        "record": record,
        "subject": " ".join(sanitise.showable(draft.subject).split())[:998],
        "body": body,
        "text": sanitise.text_of(body) if body else draft.text,
        "subtype_key": draft.subtype_key,
        "stream": str(draft.stream or ""),
        "named": [contact.pk for contact in draft.named],
        "are_outsiders_confirmed": draft.are_outsiders_confirmed,
        "send_at": still_to_come(draft.send_at),
    }


def may_change(member: Member, scheduled: ScheduledMessage) -> bool:
    """May this member move it, call it off or post it now? Its writer and administrators may."""
    is_here = member.workspace_id == scheduled.workspace_id
    return is_here and (member.is_admin or scheduled.member_id == member.pk)


def may_rewrite(member: Member, scheduled: ScheduledMessage) -> bool:
    """May this member change what it says? Only its writer may: it is said in their name."""
    return scheduled.member_id == member.pk


def reschedule(scheduled: ScheduledMessage, post_at: datetime, by: Member) -> Message | None:
    """Say it at another time; one that has passed says it at once and returns the message.

    One that could not be posted waits again. Emails that were to leave before it is said now leave with it.
    Raises RequestRefused, with nothing changed.
    """
    at = still_to_come(post_at)
    if at is None:
        return post_now(scheduled, by)
    with transaction.atomic():
        row = _locked(scheduled, by)
        row.post_at, row.state, row.failure_text, row.is_undo_window = at, State.WAITING, "", False
        row.send_at = row.send_at if row.send_at and row.send_at > at else None
        row.save(update_fields=["post_at", "send_at", "state", "failure_text", "is_undo_window"])
        _calm(row)
        _wake()
    return None


def post_now(scheduled: ScheduledMessage, by: Member) -> Message:
    """Say it at once. Raises RequestRefused with the reason why it cannot be said; then it stays as it is."""
    with transaction.atomic():
        row = _locked(scheduled, by)
        message = posting.post(draft_of(row))
        _settle(row, message)
    return message


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different of something that is said later; None leaves something as it is."""

    subject: str | None = None
    body: str | None = None
    text: str | None = None
    send_at: datetime | None = None
    post_at: datetime | None = None

    @property
    def is_of_words(self) -> bool:
        """Is anything else to be different than when it is said?"""
        return any(value is not None for value in (self.subject, self.body, self.text, self.send_at))


def change(scheduled: ScheduledMessage, by: Member, wanted: Change) -> None:
    """Do all of it (`rewrite`, `reschedule`) or, where one thing is refused, none. Raises RequestRefused."""
    with transaction.atomic():
        if wanted.is_of_words:
            rewrite(
                scheduled,
                by,
                subject=wanted.subject,
                body=wanted.body,
                text=wanted.text,
                send_at=wanted.send_at,
                post_at=wanted.post_at,
            )
        if wanted.post_at is not None:
            reschedule(scheduled, wanted.post_at, by)


def rewrite(
    scheduled: ScheduledMessage,
    by: Member,
    *,
    subject: str | None = None,
    body: str | None = None,
    text: str | None = None,
    send_at: datetime | None = None,
    post_at: datetime | None = None,
) -> ScheduledMessage:
    """Change what it will say, or when its emails leave; None leaves something as it is.

    `post_at` is when it is going to be said, if that is about to change too. Raises RequestRefused, with
    nothing changed, for anybody but its writer, for emails that would leave before it is said, and for what
    cannot be said.
    """
    with transaction.atomic():
        row = _locked(scheduled, by)
        if not may_rewrite(by, row):
            raise RequestRefused(_("Only who wrote this may change what it says."))
        _take_over(row, subject, body, text)
        if send_at is not None:
            row.send_at = still_to_come(send_at)
            _refuse_early(row.send_at, post_at or row.post_at)
        posting.check(draft_of(row))
        row.save(update_fields=["subject", "body", "text", "send_at"])
    return row


def _take_over(row: ScheduledMessage, subject: str | None, body: str | None, text: str | None) -> None:
    if subject is not None:
        row.subject = " ".join(sanitise.showable(subject).split())[:998]
    if body is not None:
        row.body = sanitise.clean_html(body)
        row.text = sanitise.text_of(row.body)
    elif text is not None:
        row.body, row.text = "", text


def cancel(scheduled: ScheduledMessage, by: Member) -> ScheduledMessage:
    """Call it off: it is never posted, and what it said is kept for two weeks.

    What is taken back in its undo window is seen by its writer alone, and kept for a week. Raises
    RequestRefused, with nothing changed, if it was posted or called off meanwhile.
    """
    with transaction.atomic():
        row = _locked(scheduled, by)
        row.is_undo_window = row.is_undo_window and row.state == State.WAITING
        row.state = State.CANCELLED
        row.save(update_fields=["state", "is_undo_window"])
        _calm(row)
    return row


def make_way(scheduled: ScheduledMessage, by: Member) -> None:
    """Call it off for what is said in its place; what was only waiting to be undone leaves nothing behind.

    Raises RequestRefused, with nothing changed, if it was posted meanwhile: it would be said twice.
    """
    with transaction.atomic():
        row = scheduled if scheduled.state == State.CANCELLED else cancel(scheduled, by)
        if row.is_undo_window:
            row.delete()


def discard(scheduled: ScheduledMessage, by: Member) -> None:
    """Drop what its writer took back; as good as nothing if it is gone or was not taken back."""
    mine = ScheduledMessage.objects.for_member(by).taken_back().filter(member=by, pk=scheduled.pk)
    mine.delete()


def _locked(scheduled: ScheduledMessage, by: Member) -> ScheduledMessage:
    """The row as it is now, locked; whoever posts it has either finished or waits for us."""
    refuse_strangers(by.workspace_id, [scheduled])
    row = _with_people().select_for_update(of=("self",)).get(pk=scheduled.pk)
    if row.state == State.POSTED:
        raise RequestRefused(_("It has been posted already, so it can no longer be changed."))
    if not row.is_open:
        raise RequestRefused(_("It was called off already."))
    if not may_change(by, row):
        raise RequestRefused(_("Only who wrote this, or an administrator, may change it."))
    return row


def _with_people() -> ScheduledMessageQuerySet:
    return ScheduledMessage.objects.select_related("workspace", "record", "member__user", "author__address")


def draft_of(row: ScheduledMessage) -> Draft:
    """What is to be said, as it stands now. Raises PostRefused with the reason why it no longer may be."""
    member, record, author = row.member, row.record, row.author
    if not (member.is_active and member.user.is_active):
        raise PostRefused(_("%(name)s, who wrote it, may no longer log in.") % {"name": author or member})
    if record is None:
        raise PostRefused(_("The record it was written on is no longer there."))
    if author is None or not author.is_active:
        raise PostRefused(_("The contact it was to be said as is no longer active."))
    return Draft(
        workspace=row.workspace,
        record=record,
        author=author,
        member=member,
        subject=row.subject,
        body=row.body,
        text=row.text,
        subtype_key=row.subtype_key,
        stream=row.stream or None,
        named=_named_in(row),
        attachments=uploads_of(row),
        are_outsiders_confirmed=row.are_outsiders_confirmed,
        send_at=row.send_at,
    )


def _named_in(row: ScheduledMessage) -> list[Contact]:
    found = list(Contact.objects.filter(workspace_id=row.workspace_id, pk__in=row.named))
    gone = [contact for contact in found if not contact.is_active]
    if gone:
        names = ", ".join(map(str, gone))
        raise PostRefused(_("It names somebody who is no longer active: %(names)s.") % {"names": names})
    if len(found) < len(row.named):
        raise PostRefused(_("It names somebody who is no longer there."))
    return found


def files_of(row: ScheduledMessage) -> list[StoredFile]:
    """The files that go along."""
    names = {field.name for field in fields(StoredFile)}
    return [StoredFile(**{name: file[name] for name in names}) for file in row.files]


def uploads_of(row: ScheduledMessage) -> list[Upload]:
    """The same with their octets. Raises PostRefused, naming the file, if the storage has lost one."""
    return [_upload(row.workspace_id, file) for file in files_of(row)]


def _upload(workspace_id: int, file: StoredFile) -> Upload:
    try:
        return storage.taken_up(workspace_id, file)
    except FileNotFoundError as error:
        raise PostRefused(
            _("The file %(name)s is no longer in the storage. Write it again.") % {"name": file.name}
        ) from error


# What is due.


async def drain(lane: str) -> datetime | None:
    """Post what is due; return when the next one is (None: nothing waits)."""
    return await asyncio.to_thread(_drain)


def due() -> list[str]:
    """The one lane, while anything waits: its drain then says when to come back."""
    try:
        return [LANE] if ScheduledMessage.objects.waiting().exists() else []
    finally:
        connections.close_all()


KIND = LaneKind(LANE, drain, due)


def _drain() -> datetime | None:
    try:
        stuck = post_due()
        waiting = ScheduledMessage.objects.waiting().exclude(pk__in=stuck)
        first = waiting.order_by("post_at").values_list("post_at", flat=True).first()
        again = [timezone.now() + TRY_AGAIN] if stuck else []
        return min([*again, *([first] if first else [])], default=None)
    finally:
        connections.close_all()


def post_due() -> list[int]:
    """Post everything that is due, each in a transaction of its own with the change of its state.

    So each is posted exactly once, whoever is killed when and however many workers there are. Workspaces take
    turns: what one has due in hundreds delays nobody else's by more than one. What is refused has failed, and
    its writer is told. Returns those that could not even be tried: they wait.
    """
    stuck: list[int] = []
    while _post_one_each(stuck):
        continue
    return stuck


def _post_one_each(stuck: list[int]) -> bool:
    """Post the first of each workspace that has something due; False if there was nothing to take in hand."""
    taken_count = 0
    for workspace_id in _workspaces_due(stuck):
        if not engine.is_stopping():
            taken_count += _post_next(stuck, _of(workspace_id))
    return taken_count > 0


def _workspaces_due(stuck: list[int]) -> list[int]:
    """The workspaces in which something is due, the one that has waited longest first."""
    rows = _due(ScheduledMessage.objects.all(), stuck).order_by().values("workspace_id")
    return list(rows.annotate(first=Min("post_at")).order_by("first").values_list("workspace_id", flat=True))


def post_overdue(run: Run) -> Iterator[Mapping[str, int]]:
    """The work of the scheduled action: a safety net for what missed its own time, of one workspace."""
    stuck: list[int] = []
    while _post_next(stuck, _of(run.workspace.pk)):
        yield {LATE: 1}
    if stuck:
        yield {STUCK: len(stuck)}


def _of(workspace_id: int) -> ScheduledMessageQuerySet:
    return _with_people().filter(workspace=workspace_id)


def _due(among: ScheduledMessageQuerySet, stuck: list[int]) -> ScheduledMessageQuerySet:
    return among.waiting().filter(post_at__lte=timezone.now()).exclude(pk__in=stuck)


def _post_next(stuck: list[int], among: ScheduledMessageQuerySet) -> bool:
    with transaction.atomic():
        locked = _due(among, stuck).select_for_update(of=("self",), skip_locked=True)
        row = locked.order_by("post_at", "pk").first()
        if row is not None and not _post(row):
            stuck.append(row.pk)
    return row is not None


def _post(row: ScheduledMessage) -> bool:
    """Post one, or let it fail; False if it is to be tried again."""
    try:
        with transaction.atomic(), translation.override(row.member.language):
            message = posting.post(draft_of(row))
    except (RequestRefused, AddressError) as refusal:
        _fail(row, str(refusal))
        return True
    except DatabaseError:  # nothing is known of any row: the engine comes back to all of them
        raise
    except Exception:  # one that cannot be read must not keep the others waiting
        log.exception("Could not post scheduled message %s", row.pk)
        return _give_up(row)
    _settle(row, message)
    return True


def _give_up(row: ScheduledMessage) -> bool:
    if timezone.now() < row.post_at + GIVE_UP_AFTER:
        return False
    with translation.override(row.member.language):
        _fail(row, _("It could not be put together for an hour. The log of the server says why."))
    return True


def _settle(row: ScheduledMessage, message: Message) -> None:
    row.state, row.message, row.failure_text = State.POSTED, message, ""
    row.save(update_fields=["state", "message", "failure_text"])
    _calm(row)
    if not row.is_undo_window:
        written_at = row.created_at.isoformat(timespec="seconds")
        note(
            EventKind.SCHEDULED,
            workspace=row.workspace,
            message=message,
            member=row.member,
            written_at=written_at,
        )


def _fail(row: ScheduledMessage, words: str) -> None:
    """It stays as it is, with the reason; its writer is told, or the administrators in their place."""
    row.state, row.failure_text = State.FAILED, words
    row.save(update_fields=["state", "failure_text"])
    log.warning("Scheduled message %s could not be posted", row.pk)
    Notification.objects.bulk_create(
        Notification(
            workspace_id=row.workspace_id,
            member=member,
            scheduled=row,
            kind=Notification.Kind.NOTICE,
            reason=FAILED_NOTICE,
        )
        for member in _told_of(row)
    )


def _told_of(row: ScheduledMessage) -> Iterable[Member]:
    if row.member.is_active and row.member.user.is_active:
        return [row.member]
    admins = Member.objects.active().filter(workspace_id=row.workspace_id)
    return admins.filter(role__in=(Role.ADMIN, Role.OPERATOR)).order_by("pk")


def _calm(row: ScheduledMessage) -> None:
    """Somebody has acted: the notice of its failure is settled."""
    Notification.objects.filter(scheduled=row, read_at=None).update(read_at=timezone.now())


def _wake() -> None:
    transaction.on_commit(lambda: engine.wake(LANE))


def settled_long_ago(workspace_id: int) -> QuerySet[ScheduledMessage]:
    """What was posted or called off two weeks ago, or undone a week ago: Auto-Vacuum drops it."""
    settled, now = ScheduledMessage.objects.exclude(state__in=(State.WAITING, State.FAILED)), timezone.now()
    is_undone = Q(state=State.CANCELLED, is_undo_window=True, post_at__lt=now - UNDONE_KEPT)
    long_ago = settled.filter(is_undone | Q(post_at__lt=now - SETTLED_KEPT))
    return long_ago.filter(workspace_id=workspace_id)
