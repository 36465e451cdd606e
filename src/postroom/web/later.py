"""What waits to be said on a record, as the page lists it, and the composer that takes it back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from postroom.conversations.models import Contact, Record, ScheduledMessage
from postroom.conversations.storage import StoredFile
from postroom.flows import scheduling
from postroom.flows.showing_later import named_contacts, scheduled_to_show
from postroom.web.later_forms import LaterComposerForm
from postroom.workspaces.models import Member

SHOWN = 50


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something that is said later; `seconds_left` counts its undo window (None: it has none)."""

    row: ScheduledMessage
    named: list[Contact]
    files: list[StoredFile]
    may_change: bool
    may_edit: bool
    seconds_left: int | None

    @property
    def is_failed(self) -> bool:
        """Could it not be posted?"""
        return self.row.state == ScheduledMessage.State.FAILED


def waiting_on(record: Record, member: Member) -> list[Waiting]:
    """What waits on a record, as far as this member may see it, the first to be said first."""
    rows = scheduled_to_show(ScheduledMessage.objects.for_member(member).open().filter(record=record))
    return _listed(list(rows.order_by("post_at", "pk")[:SHOWN]), member)


def taken_back_on(record: Record, member: Member) -> list[ScheduledMessage]:
    """What this member took back on a record and neither wrote on nor discarded, the latest first."""
    mine = ScheduledMessage.objects.for_member(member).taken_back().filter(record=record, member=member)
    return list(mine.order_by("-pk")[:SHOWN])


def waiting_as(row: ScheduledMessage, member: Member) -> Waiting:
    """One of them."""
    return _listed([row], member)[0]


def _listed(rows: Sequence[ScheduledMessage], member: Member) -> list[Waiting]:
    contacts = {
        contact.pk: contact for contact in named_contacts(rows, {pk for row in rows for pk in row.named})
    }
    now = timezone.now()
    return [_waiting(row, [contacts[pk] for pk in row.named if pk in contacts], member, now) for row in rows]


def _waiting(row: ScheduledMessage, named: list[Contact], member: Member, now: datetime) -> Waiting:
    is_undoable = row.is_undo_window and row.state == ScheduledMessage.State.WAITING
    return Waiting(
        row,
        named,
        scheduling.files_of(row),
        may_change=row.is_open and scheduling.may_change(member, row),
        may_edit=row.record_id is not None and may_take_back(member, row),
        seconds_left=max(1, math.ceil((row.post_at - now).total_seconds()) + 1) if is_undoable else None,
    )


def may_take_back(member: Member, row: ScheduledMessage) -> bool:
    """May it go back into this member's composer? Its own writer's may, unless it is more than plain text."""
    return scheduling.may_rewrite(member, row) and not row.body and row.state != ScheduledMessage.State.POSTED


def taken_back(member: Member, record: Record, pk: str | int | None) -> ScheduledMessage | None:
    """The one that is to be changed in the composer of a record; None if there is none, or not for them."""
    if not pk or not str(pk).isdecimal() or len(str(pk)) > 18:
        return None
    rows = ScheduledMessage.objects.for_member(member).filter(record=record, pk=int(pk))
    row = rows.select_related("member").first()
    return row if row is not None and may_take_back(member, row) else None


def composer_for(row: ScheduledMessage) -> LaterComposerForm:
    """The composer with all that was written."""
    is_posted_later = not row.is_undo_window and row.state != ScheduledMessage.State.CANCELLED
    initial: dict[str, Any] = {
        "kind": row.subtype_key,
        "body": row.text,
        "named": ", ".join(contact.addr_spec for contact in named_contacts([row], set(row.named))),
        "stream": row.stream,
        "when": LaterComposerForm.POST if is_posted_later else LaterComposerForm.SEND,
        "at": row.post_at if is_posted_later else row.send_at,
        "replaces": row.pk,
    }
    return LaterComposerForm(initial=initial)
