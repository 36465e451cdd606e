"""The emails of a message that was posted already leave at another time, or not at all."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from postroom import engine
from postroom.conversations.models import Message
from postroom.diagnostics.events import EventKind, note
from postroom.flows import releasing, retrying
from postroom.flows.due_times import still_to_come
from postroom.outgoing import gates
from postroom.outgoing.dialects import database_time
from postroom.outgoing.models import Email, MailServer
from postroom.outgoing.queue import EmailQuerySet
from postroom.workspaces.models import Member
from postroom.workspaces.refusals import RequestRefused
from postroom.workspaces.walls import refuse_strangers


def move_emails(message: Message, send_at: datetime | None, by: Member) -> int:
    """Let the emails of a message leave at another time; None, or a time that has passed, is at once.

    Those that were tried, or are in hand, stay as they are. Returns how many were moved. Raises
    RequestRefused, with nothing changed, if there are none, or for a time more than a year ahead.
    """
    refuse_strangers(by.workspace_id, [message])
    at = still_to_come(send_at)
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=message.pk)
        emails = _untried(row)
        count = emails.update(due_at=at or gates.in_front(database_time()), is_listed=True)
        if not count:
            raise RequestRefused(_("These emails have left already, or were called off."))
        before, row.send_at = row.send_at, at
        row.save(update_fields=["send_at"])
        note(
            EventKind.MOVED,
            workspace=by.workspace,
            message=row,
            member=by,
            before=_spelled(before),
            after=_spelled(at),
        )
        _wake_for(row)
        releasing.ask_at(row)
    return count


def call_off_emails(message: Message, by: Member) -> int:
    """Cancel the emails of a message that have not left; what was said stays. Returns how many.

    Raises RequestRefused, with nothing changed, if there are none.
    """
    refuse_strangers(by.workspace_id, [message])
    with transaction.atomic():
        row = Message.objects.select_for_update().get(pk=message.pk)
        count = retrying.cancel(_untried(row), by)
        if not count:
            raise RequestRefused(_("These emails have left already, or were called off."))
        Message.objects.filter(pk=row.pk).update(send_at=None)
    return count


def _untried(message: Message) -> EmailQuerySet:
    return Email.objects.filter(message=message, attempt_count=0).waiting()


def _spelled(at: datetime | None) -> str:
    return at.isoformat(timespec="minutes") if at else ""


def _wake_for(message: Message) -> None:
    servers = MailServer.objects.filter(lanes__emails__message=message).distinct()
    for name in [server.engine_lane for server in servers]:
        transaction.on_commit(lambda name=name: engine.wake(name))  # type: ignore[misc]
