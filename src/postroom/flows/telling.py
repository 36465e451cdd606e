"""Telling people inside Postroom that something of theirs failed."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import Q
from django.utils import timezone

from postroom.conversations.models import Message, Notification
from postroom.workspaces.models import Member, Role


def tell_failures(messages: Iterable[Message]) -> None:
    """Tell the author, the record's responsible and the workspace's admins and operators of failed Emails.

    One notification per member and message: a further failure makes it unread again and counts up to what
    has failed now. Call it in, or right after, the transaction that failed them.
    """
    wanted = Message.objects.filter(pk__in=[message.pk for message in messages])
    rows = [
        Notification(
            workspace_id=message.workspace_id,
            member=member,
            message=message,
            kind=Notification.Kind.FAILURE,
            reason="failure",
            count=max(1, message.tally.failed_count),
            created_at=timezone.now(),
        )
        for message in wanted.select_related("tally", "record", "author")
        for member in _concerned(message)
    ]
    Notification.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["member", "message", "kind"],
        update_fields=["count", "created_at", "read_at"],
    )


def _concerned(message: Message) -> Iterable[Member]:
    named = [
        message.author.member_id if message.author else None,
        message.record.responsible_id if message.record else None,
    ]
    in_charge = Q(role__in=(Role.ADMIN, Role.OPERATOR)) | Q(pk__in=[pk for pk in named if pk])
    return Member.objects.filter(in_charge, workspace_id=message.workspace_id, is_active=True)
